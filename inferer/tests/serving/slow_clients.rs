//! Clients that are slow, silent or curious: each is cut, none is waited for, nothing of theirs is in the log.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use edgeloop_store::Store;

use crate::program::Program;
use crate::support::*;

fn start(more: &[&str]) -> (tempfile::TempDir, Inferer) {
    let dir = tempfile::tempdir().unwrap();
    publish(&Store::create(dir.path()).unwrap(), 0.5);
    let inferer = Inferer::ready(dir.path(), &[&["--inference-folder", "false"], more].concat());
    (dir, inferer)
}

fn connect(inferer: &Inferer) -> TcpStream {
    let stream = TcpStream::connect(inferer.serving).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

/// Reads until the other end closes or resets.
fn rest(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    match stream.read_to_end(&mut text) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("it is still open"),
        _ => String::from_utf8_lossy(&text).into_owned(),
    }
}

#[test]
fn a_head_that_does_not_come_to_an_end_is_cut() {
    let (_dir, inferer) = start(&["--head-timeout", "0.2"]);
    let (mut half, mut silent) = (connect(&inferer), connect(&inferer));
    half.write_all(b"POST /infer HTTP/1.1\r\nhost: x\r\nx-a: ").unwrap();
    let began = Instant::now();
    rest(&mut half);
    rest(&mut silent);
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_head_of_megabytes_is_refused() {
    let (_dir, inferer) = start(&[]);
    let mut stream = connect(&inferer);
    stream.write_all(b"GET /v1/model HTTP/1.1\r\nx-a: ").unwrap();
    // It may be cut while we write.
    for _ in 0..100 {
        if stream.write_all(&[b'a'; 10_000]).is_err() {
            break;
        }
    }
    let answer = rest(&mut stream);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    assert!(inferer.version().is_some());
}

#[test]
fn senders_that_trickle_take_no_place_and_are_cut_with_408() {
    // Two places: with one, a sender whose head is read while the good request is inside is rightly told to come again.
    let (_dir, inferer) = start(&["--queue", "2", "--body-timeout", "2"]);
    let mut slow: Vec<_> = (0..8).map(|_| connect(&inferer)).collect();
    for stream in &mut slow {
        stream.write_all(b"POST /infer HTTP/1.1\r\nhost: x\r\ncontent-type: image/jpeg\r\ncontent-length: 1000\r\n\r\nabc").unwrap();
    }
    let (status, answer) = inferer.post("image/jpeg", &jpeg(&quarter(64, 64, 0)));
    assert_eq!(status, 200, "eight senders that send nothing took the two places: {answer}");
    for stream in &mut slow {
        let answer = rest(stream);
        assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("body_timeout"), "{answer}");
    }
}

#[test]
fn bodies_together_take_no_more_memory_than_they_may() {
    let (_dir, inferer) = start(&["--max-body-bytes", "1000000", "--body-memory", "1000000"]);
    let most_of_a_body = || {
        let mut stream = connect(&inferer);
        stream.write_all(b"POST /infer HTTP/1.1\r\nhost: x\r\ncontent-type: image/jpeg\r\ncontent-length: 900000\r\n\r\n").unwrap();
        stream.write_all(&[0; 800_000]).unwrap();
        stream
    };
    let is_answered = |stream: &TcpStream| {
        stream.set_nonblocking(true).unwrap();
        let answered = stream.peek(&mut [0]).is_ok();
        stream.set_nonblocking(false).unwrap();
        answered
    };
    let mut first = most_of_a_body();
    wait_for("a refusal for want of memory", || {
        // The one below may have come first to the memory: then this one was refused.
        if is_answered(&first) {
            first = most_of_a_body();
        }
        let (status, answer) = inferer.post("image/jpeg", &[0xff; 700_000]);
        (status == 429 && answer["error"] == "busy").then_some(())
    });
    first.write_all(&[0; 100_000]).unwrap();
    let mut head = [0; 12];
    first.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 415", "the one that had its memory was read to the end");
    assert!(inferer.metric("edgeloop_infer_dropped_total", "memory") >= 1.0);
    wait_for("the memory back", || (inferer.post("image/jpeg", &[0xff; 700_000]).0 == 415).then_some(()));
}

#[test]
fn a_client_that_reads_no_answers_is_cut() {
    let (_dir, inferer) = start(&["--write-timeout", "0.2"]);
    let mut stream = connect(&inferer);
    // Answers pile up until the kernel takes no more of them, and then nothing of ours is read either.
    stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
    let requests = b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n".repeat(100);
    let error = (0..10_000).find_map(|_| stream.write_all(&requests).err()).expect("a million unread answers");
    assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{error}");
    assert!(inferer.version().is_some());
}

#[test]
fn a_request_keeps_its_id_and_secrets_stay_out_of_the_log() {
    let dir = tempfile::tempdir().unwrap();
    publish(&Store::create(dir.path().join("models")).unwrap(), 0.5);
    let tokens = dir.path().join("tokens");
    std::fs::write(&tokens, "cam infer very-secret-token-1\n").unwrap();
    let program = Program::ready(&dir.path().join("models"), &["--log-level", "trace", "--auth-tokens-file", tokens.to_str().unwrap()]);
    let ask = |token: &str, id: &str| {
        let request = agent()
            .post(format!("http://{}/infer?secret=in-the-query", program.serving))
            .header("authorization", format!("Bearer {token}"));
        request.header("x-request-id", id).header("content-type", "image/png").send(&b"no picture"[..]).unwrap()
    };
    let answer = ask("very-secret-token-1", "cam-1:0042");
    assert_eq!((answer.status().as_u16(), &answer.headers()["x-request-id"]), (415, &"cam-1:0042".parse().unwrap()));
    let refused = ask("wrong-secret-token-2", "two words");
    assert_eq!(refused.status().as_u16(), 401);
    assert_eq!(refused.headers()["www-authenticate"], "Bearer realm=\"edgeloop\"");
    let made = refused.headers()["x-request-id"].to_str().unwrap().to_owned();
    assert!(made.len() == 16 && made != "two words");
    let log = wait_for("both requests in the log", || {
        let log = program.log();
        (log.contains("cam-1:0042") && log.contains(&made)).then_some(log)
    });
    for secret in ["secret-token", "in-the-query"] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}
