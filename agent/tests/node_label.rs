//! The node label against a fake API server: method, URL and body of every call.
#![allow(clippy::unwrap_used)]

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use edgeloop_agent::metrics::Metrics;
use edgeloop_agent::probe::{Method, Round};
use edgeloop_agent::sink::{NodeLabel, Pace, Sink, SinkError, drive};
use edgeloop_agent::status::Status;
use edgeloop_agent::verdict::{Reason, Verdict};
use http::{Request, Response, StatusCode};
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

const PATIENCE: Duration = Duration::from_secs(20);

struct Call {
    method: String,
    path: String,
    query: String,
    content_type: String,
    body: Value,
}

/// Answers with `answers` in turn (the last one again and again) and hands over every call.
fn api_server(answers: Vec<StatusCode>) -> (kube::Client, mpsc::UnboundedReceiver<Call>) {
    let (sender, calls) = mpsc::unbounded_channel();
    let left = Arc::new(Mutex::new(answers));
    let service = tower::service_fn(move |request: Request<Body>| {
        let (sender, left) = (sender.clone(), left.clone());
        async move {
            let (head, body) = request.into_parts();
            let body = serde_json::from_slice(&body.collect_bytes().await.unwrap()).unwrap_or(Value::Null);
            let call = Call {
                method: head.method.to_string(),
                path: head.uri.path().to_owned(),
                query: head.uri.query().unwrap_or_default().to_owned(),
                content_type: head.headers["content-type"].to_str().unwrap().to_owned(),
                body,
            };
            sender.send(call).unwrap();
            let status = {
                let mut left = left.lock().unwrap();
                if left.len() > 1 { left.remove(0) } else { left[0] }
            };
            let answer = if status.is_success() {
                json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": {"name": "edge-7"}})
            } else {
                json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": status.as_u16(), "message": "no", "reason": "No"})
            };
            Ok::<_, Infallible>(Response::builder().status(status).body(Body::from(answer.to_string().into_bytes())).unwrap())
        }
    });
    (kube::Client::new(service, "default"), calls)
}

fn sink(client: kube::Client) -> NodeLabel {
    NodeLabel::new(client, "edge-7".to_owned(), "myapp.com/network-status".parse().unwrap())
}

fn status(verdict: Verdict, reason: Reason, rtt: Option<Duration>) -> Status {
    let now = "2026-11-21T03:00:00.5Z".parse().unwrap();
    let round = Round { reason, rtt, sent: 3, answered: u16::from(rtt.is_some()), method: Method::Icmp };
    Status::starting(&IpAddr::V4(Ipv4Addr::LOCALHOST).into(), Method::Icmp, now).checked(&round, now).changed(verdict, reason)
}

fn online() -> Status {
    status(Verdict::Online, Reason::GatewayReplied, Some(Duration::from_micros(1_500)))
}

fn offline() -> Status {
    status(Verdict::Offline, Reason::NoReply, None)
}

async fn next(calls: &mut mpsc::UnboundedReceiver<Call>) -> Call {
    tokio::time::timeout(PATIENCE, calls.recv()).await.expect("a call in time").expect("a call")
}

#[tokio::test]
async fn online_is_applied_with_our_field_manager_and_only_our_keys() {
    let (client, mut calls) = api_server(vec![StatusCode::OK]);
    sink(client).tell(&online()).await.unwrap();
    let call = next(&mut calls).await;
    assert_eq!((call.method.as_str(), call.path.as_str()), ("PATCH", "/api/v1/nodes/edge-7"));
    assert_eq!(call.content_type, "application/apply-patch+yaml");
    assert!(call.query.contains("fieldManager=edgeloop-agent") && call.query.contains("force=true"), "{}", call.query);
    let expected = json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "labels": {"myapp.com/network-status": "online"},
            "annotations": {
                "myapp.com/network-status-since": "2026-11-21T03:00:00Z",
                "myapp.com/network-status-reason": "gateway_replied",
                "myapp.com/network-status-rtt-ms": "1.500",
            },
        },
    });
    assert_eq!(call.body, expected);
}

#[tokio::test]
async fn offline_takes_the_round_trip_away() {
    let (client, mut calls) = api_server(vec![StatusCode::OK]);
    sink(client).tell(&offline()).await.unwrap();
    let metadata = next(&mut calls).await.body["metadata"].clone();
    assert_eq!(metadata["labels"], json!({"myapp.com/network-status": "offline"}));
    let keys: Vec<_> = metadata["annotations"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys, ["myapp.com/network-status-reason", "myapp.com/network-status-since"]);
}

#[tokio::test]
async fn a_refusal_says_what_to_look_at() {
    for (code, hint) in [(403, "`patch` on nodes"), (404, "spec.nodeName"), (500, "refuses")] {
        let (client, _calls) = api_server(vec![StatusCode::from_u16(code).unwrap()]);
        let error = sink(client).tell(&online()).await.unwrap_err();
        assert!(matches!(error, SinkError::Node { .. }));
        assert!(error.to_string().contains("edge-7") && error.to_string().contains(hint), "{error}");
    }
}

#[tokio::test]
async fn nothing_is_written_before_the_first_verdict_nor_while_it_stands() {
    let (client, _calls) = api_server(vec![StatusCode::OK]);
    let sink = sink(client);
    let unknown = status(Verdict::Unknown, Reason::Starting, None);
    assert!(!sink.wants(None, &unknown));
    assert!(sink.wants(None, &online()));
    assert!(!sink.wants(Some(&online()), &status(Verdict::Online, Reason::GatewayReplied, Some(Duration::from_secs(1)))));
    assert!(sink.wants(Some(&online()), &offline()));
}

#[tokio::test]
async fn an_api_server_that_comes_back_hears_the_newest_verdict_once() {
    let failures = [StatusCode::SERVICE_UNAVAILABLE, StatusCode::CONFLICT, StatusCode::INTERNAL_SERVER_ERROR];
    let (client, mut calls) = api_server([&failures[..], &[StatusCode::OK]].concat());
    let (sender, receiver) = watch::channel(online());
    let pace = Pace { first_retry: Duration::from_millis(1), last_retry: Duration::from_millis(2), attempt: PATIENCE };
    let task = tokio::spawn(drive(sink(client), receiver, pace, Metrics::register(&prometheus::Registry::new()).unwrap()));
    assert_eq!(next(&mut calls).await.body["metadata"]["labels"]["myapp.com/network-status"], "online");
    sender.send(offline()).unwrap();
    let mut last = Value::Null;
    for _ in 0..3 {
        last = next(&mut calls).await.body["metadata"]["labels"]["myapp.com/network-status"].clone();
    }
    assert_eq!(last, "offline");
    drop(sender);
    tokio::time::timeout(PATIENCE, task).await.expect("the task ends").unwrap();
    assert!(calls.try_recv().is_err(), "told once is enough");
}
