//! The built program and its signals.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use edgeloop_store::Store;
use rustix::process::Signal;

use crate::program::Program;
use crate::support::*;

#[test]
fn without_a_model_it_waits_and_sigterm_ends_it_with_0() {
    let dir = tempfile::tempdir().unwrap();
    let mut program = Program::start(&dir.path().join("not/there/yet"), &[]);
    assert_eq!(program.status(program.admin, "/livez"), Some(200));
    assert_eq!(program.status(program.admin, "/readyz"), Some(503));
    program.signal(Signal::TERM);
    assert_eq!(program.exit_code(), 0);
}

#[test]
fn a_taken_port_is_bad_settings() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_edgeloop-inferer"))
        .args(["--serve-addr", &address, "--admin-addr", "127.0.0.1:0"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("SERVE_ADDR"));
}

#[test]
fn on_sigterm_it_is_unready_closes_connections_answers_what_is_in_flight_and_exits_0() {
    let dir = tempfile::tempdir().unwrap();
    publish(&Store::create(dir.path()).unwrap(), 0.5);
    let mut program = Program::start(dir.path(), &["--drain-delay", "3"]);
    wait_for("readiness", || (program.status(program.admin, "/readyz") == Some(200)).then_some(()));
    let photo = jpeg(&quarter(64, 64, 0));
    let head = format!("POST /infer HTTP/1.1\r\nhost: x\r\ncontent-type: image/jpeg\r\ncontent-length: {}\r\n\r\n", photo.len());
    let mut slow = TcpStream::connect(program.serving).unwrap();
    slow.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    slow.write_all(head.as_bytes()).unwrap();
    slow.write_all(&photo[..10]).unwrap();
    program.signal(Signal::TERM);
    wait_for("unreadiness", || (program.status(program.admin, "/readyz") == Some(503)).then_some(()));
    let response = agent().post(format!("http://{}/infer", program.serving)).header("content-type", "image/jpeg").send(&photo[..]).unwrap();
    assert_eq!((response.status().as_u16(), &response.headers()["connection"]), (200, &"close".parse().unwrap()));
    wait_for("a closed port", || TcpStream::connect(program.serving).is_err().then_some(()));
    slow.write_all(&photo[10..]).unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"detections\""), "{answer}");
    assert_eq!(program.exit_code(), 0);
}

/// What became of one client's requests.
#[derive(Default)]
struct Client {
    answered: usize,
    after_the_signal: usize,
}

impl Client {
    /// Asks over connections that stay open until nobody listens any more. A request whose connection was taken has an answer.
    fn ask(address: SocketAddr, photo: &[u8], signalled: &AtomicBool, answers: &AtomicUsize) -> Self {
        let head = format!("POST /infer HTTP/1.1\r\nhost: x\r\ncontent-type: image/jpeg\r\ncontent-length: {}\r\n\r\n", photo.len());
        let request = [head.as_bytes(), photo].concat();
        let mut client = Self::default();
        let mut connection: Option<BufReader<TcpStream>> = None;
        loop {
            let mut stream = match connection.take() {
                Some(stream) => stream,
                None => match TcpStream::connect(address) {
                    Ok(stream) => BufReader::new(stream),
                    Err(error) => {
                        assert!(signalled.load(Ordering::SeqCst) && error.kind() == ErrorKind::ConnectionRefused, "{error}");
                        return client;
                    }
                },
            };
            stream.get_ref().set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            stream.get_mut().write_all(&request).expect("whoever took the connection reads the request");
            let (mut lines, mut length, mut closes) = (Vec::new(), 0, false);
            loop {
                let mut line = String::new();
                stream.read_line(&mut line).unwrap();
                assert!(!line.is_empty(), "a connection was closed without an answer after {} of them", client.answered);
                let line = line.trim_end().to_ascii_lowercase();
                if line.is_empty() {
                    break;
                }
                length = line.strip_prefix("content-length: ").map_or(length, |text| text.parse().unwrap());
                closes |= line == "connection: close";
                lines.push(line);
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).expect("a whole answer");
            assert_eq!(lines[0], "http/1.1 200 ok", "{}", String::from_utf8_lossy(&body));
            client.answered += 1;
            client.after_the_signal += usize::from(signalled.load(Ordering::SeqCst));
            answers.fetch_add(1, Ordering::SeqCst);
            connection = (!closes).then_some(stream);
        }
    }
}

#[test]
fn under_load_every_request_that_was_taken_is_answered_and_it_exits_0_in_time() {
    let dir = tempfile::tempdir().unwrap();
    publish(&Store::create(dir.path()).unwrap(), 0.5);
    let mut program = Program::ready(dir.path(), &["--drain-delay", "1", "--drain-timeout", "10", "--queue", "64"]);
    let (address, photo) = (program.serving, jpeg(&quarter(640, 480, 0)));
    let (signalled, answers) = (AtomicBool::new(false), AtomicUsize::new(0));
    let clients: Vec<Client> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..16).map(|_| scope.spawn(|| Client::ask(address, &photo, &signalled, &answers))).collect();
        wait_for("load", || (answers.load(Ordering::SeqCst) > 200).then_some(()));
        let asked = Instant::now();
        signalled.store(true, Ordering::SeqCst);
        program.signal(Signal::TERM);
        assert_eq!(program.exit_code(), 0);
        // The grace period that these settings promise: delay, time-out, and five seconds for threads.
        assert!(asked.elapsed() < Duration::from_secs(16), "it took {:?} to end", asked.elapsed());
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    assert!(clients.iter().all(|client| client.answered > 0));
    assert!(clients.iter().map(|client| client.after_the_signal).sum::<usize>() > 0, "nobody asked while it drained");
}
