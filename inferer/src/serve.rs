//! Connections: a bounded number of them, with limits on how long heads may take and answers may lie unread, and an orderly end.
//!
//! `axum::serve` has none of these limits, so that anybody could hold any number of connections open with one byte each.

mod closing;
mod patient;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use edgeloop_service::shutdown::Shutdown;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::sleep;

use patient::Patient;

/// Longest request head; a longer one is answered with 431. hyper would take 400 kB from each connection.
const LONGEST_HEAD: usize = 64 << 10;
/// Pause after an accept that failed because of us (no file descriptors): trying at once would only burn time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// So long after the stop a connection may still bring the request that was sent before its client could know.
const LAST_WORD: Duration = Duration::from_millis(500);

/// What a client may cost.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at once; later ones wait in the kernel's backlog.
    pub connections: usize,
    /// A request's head must be there after so long; an idle connection is closed after it, too.
    pub head: Duration,
    /// An answer of which nothing is read for so long is given up.
    pub write: Duration,
}

/// Accepts until `stop`, then lets requests in flight finish for at most `patience`. Returns how many were cut off.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, stop: Shutdown, patience: Duration) -> usize {
    let places = Arc::new(Semaphore::new(limits.connections));
    let mut connections = JoinSet::new();
    while let Some((stream, place)) = accept(&listener, &places, &stop).await {
        while connections.try_join_next().is_some() {}
        let (router, stop) = (router.clone(), stop.clone());
        connections.spawn(async move {
            connection(stream, router, limits, stop).await;
            drop(place);
        });
    }
    // Clients whose connection the kernel has taken do not know that nobody has seen it yet: closing would reset them.
    closing::accept_the_last(listener, |stream| {
        let (router, stop, places) = (router.clone(), stop.clone(), places.clone());
        connections.spawn(async move {
            let Ok(_place) = places.acquire_owned().await else { return };
            connection(stream, router, limits, stop).await;
        });
    })
    .await;
    let all = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(patience, all).await;
    connections.len()
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
    stop: &Shutdown,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let accepted = async {
        let place = places.clone().acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok((stream, _)) => return Some((stream, place)),
                Err(error) => {
                    tracing::warn!(%error, "a connection cannot be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => None,
        accepted = accepted => accepted,
    }
}

async fn connection(stream: TcpStream, router: Router, limits: Limits, stop: Shutdown) {
    // Answers are small and written whole: waiting for more to send would only delay them.
    let _ = stream.set_nodelay(true);
    let service = TowerToHyperService::new(router);
    let stream = TokioIo::new(Patient::new(stream, limits.write));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(LONGEST_HEAD)
        .serve_connection(stream, service);
    let mut connection = std::pin::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = stop.cancelled() => {
            // hyper closes what has not spoken yet at once, though its request may be on its way: answers say `Connection: close` by now,
            // so whoever still asks is answered and gone.
            let last_word = tokio::time::timeout(LAST_WORD, connection.as_mut()).await;
            match last_word {
                Ok(result) => result,
                Err(_) => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            }
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection ended early");
    }
}
