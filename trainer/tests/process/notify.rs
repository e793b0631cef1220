//! Whom it tells, and what of the URL it keeps to itself.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    thread::JoinHandle,
};

use serde_json::Value;

use super::support::{images, train};

/// Takes `count` requests, answers each with `status`, and hands over their bodies.
fn receiver(count: usize, status: &'static str) -> (String, JoinHandle<Vec<Value>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://bot:s3cret@{}/hooks/T0KEN?key=K3Y", listener.local_addr().unwrap());
    let thread = std::thread::spawn(move || {
        let take = |_| {
            let (mut stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut length = 0;
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                if let Some(text) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = text.trim().parse().unwrap();
                }
                if line.trim().is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
            serde_json::from_slice(&body).unwrap()
        };
        (0..count).map(take).collect()
    });
    (url, thread)
}

fn assert_secret(text: &str) {
    for part in ["s3cret", "T0KEN", "K3Y"] {
        assert!(!text.contains(part), "`{part}` is in the log:\n{text}");
    }
}

#[test]
fn promotions_and_failures_are_told_and_the_url_is_not() {
    let (images, models) = (images(14), tempfile::tempdir().unwrap());
    let (url, told) = receiver(1, "204 No Content");
    let run = train(images.path(), models.path(), &[("EPOCHS", "1"), ("NOTIFY_URL", &url), ("LOG_LEVEL", "trace")]);
    run.ends(0, &["\"promoted\"", "127.0.0.1"]);
    assert_secret(&run.text);
    let told = told.join().unwrap().remove(0);
    assert_eq!((&told["event"], &told["exit_code"]), (&"promoted".into(), &0.into()));
    assert!(told["version"].is_string() && told["mAP50"].is_number() && told["message"].as_str().unwrap().contains("promoted"), "{told}");

    let (url, told) = receiver(1, "200 OK");
    train(&images.path().join("gone"), models.path(), &[("NOTIFY_URL", &url)]).ends(2, &[]);
    let told = told.join().unwrap().remove(0);
    assert_eq!((&told["event"], &told["exit_code"]), (&"failed".into(), &2.into()));
    assert!(told["message"].as_str().unwrap().contains("gone"), "{told}");
}

#[test]
fn nobody_listening_fails_nothing() {
    let (images, models) = (images(14), tempfile::tempdir().unwrap());
    // Refused twice: an error of the receiver's is worth a second try.
    let (url, told) = receiver(2, "503 Service Unavailable");
    let run = train(images.path(), models.path(), &[("EPOCHS", "1"), ("NOTIFY_URL", &url)]);
    run.ends(0, &["\"promoted\"", "503"]);
    assert_eq!(told.join().unwrap().len(), 2);
    assert_secret(&run.text);
    // The port is closed by now. Nothing new is nothing to tell.
    let run = train(images.path(), models.path(), &[("EPOCHS", "1"), ("NOTIFY_URL", &url)]);
    run.ends(0, &["nothing_new"]);
    assert!(!run.text.contains("NOTIFY_URL"));
    let run = train(images.path(), models.path(), &[("EPOCHS", "2"), ("NOTIFY_URL", &url)]);
    run.ends(0, &["no connection"]);
    assert_secret(&run.text);
    train(images.path(), models.path(), &[("NOTIFY_URL", "hooks/T0KEN")]).ends(2, &["NOTIFY_URL"]);
}
