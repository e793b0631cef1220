#![allow(clippy::unwrap_used)]
use super::*;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream as Client};
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What becomes of one connection after the other until nobody listens: each is answered whole.
fn ask(address: SocketAddr, closing: &AtomicBool) -> usize {
    for answered in 0.. {
        let mut stream = match Client::connect_timeout(&address, Duration::from_secs(30)) {
            Ok(stream) => stream,
            Err(error) => {
                assert!(closing.load(Ordering::SeqCst) && error.kind() == ErrorKind::ConnectionRefused, "{error}");
                return answered;
            }
        };
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(b"?").expect("whoever took the connection reads it");
        let mut answer = [0];
        stream.read_exact(&mut answer).unwrap_or_else(|error| panic!("connected, and then after {answered} answers: {error}"));
    }
    0
}

async fn answer(mut stream: TcpStream) {
    let mut byte = [0];
    if stream.read_exact(&mut byte).await.is_ok() {
        let _ = stream.write_all(&byte).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_who_was_connected_is_reset() {
    for _ in 0..10 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, closing) = (listener.local_addr().unwrap(), std::sync::Arc::new(AtomicBool::new(false)));
        let clients: Vec<_> = (0..8)
            .map(|_| {
                let closing = closing.clone();
                std::thread::spawn(move || ask(address, &closing))
            })
            .collect();
        for _ in 0..50 {
            tokio::spawn(answer(listener.accept().await.unwrap().0));
        }
        closing.store(true, Ordering::SeqCst);
        accept_the_last(listener, |stream| drop(tokio::spawn(answer(stream)))).await;
        let answered = tokio::task::spawn_blocking(|| clients.into_iter().map(|client| client.join().unwrap()).sum::<usize>());
        assert!(answered.await.unwrap() >= 50);
    }
}
