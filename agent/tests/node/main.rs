//! The node label and the Lease behind it against a fake API server: method, URL and body of every call.
#![allow(clippy::unwrap_used)]

mod api;
mod lease;

use std::time::Duration;

use edgeloop_agent::cluster::{Node, Seen};
use edgeloop_agent::metrics::Metrics;
use edgeloop_agent::probe::{Method, Round};
use edgeloop_agent::sink::{NodeLabel, Pace, Sink, SinkError, drive};
use edgeloop_agent::status::Status;
use edgeloop_agent::verdict::{Reason, Verdict};
use http::StatusCode;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use api::{Api, Call, PATIENCE, next, next_of_node};

/// Nobody watches the node.
fn sink(client: kube::Client) -> NodeLabel {
    watched(client, watch::channel(Seen::Unknown).1)
}

fn watched(client: kube::Client, seen: watch::Receiver<Seen>) -> NodeLabel {
    NodeLabel::new(client, "edge-7".to_owned(), "myapp.com/network-status".parse().unwrap(), seen, watch::channel(()).1)
}

fn status(verdict: Verdict, reason: Reason, rtt: Option<Duration>) -> Status {
    let now = "2026-11-21T03:00:00.5Z".parse().unwrap();
    let round = Round { reason, rtt, sent: 3, answered: u16::from(rtt.is_some()), method: Method::Icmp };
    Status::starting("127.0.0.1".to_owned(), Method::Icmp, now).checked(&round, now).changed(verdict, reason)
}

fn online() -> Status {
    status(Verdict::Online, Reason::GatewayReplied, Some(Duration::from_micros(1_500)))
}

fn offline() -> Status {
    status(Verdict::Offline, Reason::NoReply, None)
}

fn pace() -> Pace {
    let millis = Duration::from_millis;
    Pace { first_retry: millis(1), last_retry: millis(2), attempt: PATIENCE, put_right: millis(1), last_put_right: millis(2) }
}

fn metrics() -> Metrics {
    Metrics::register(&prometheus::Registry::new()).unwrap()
}

#[tokio::test]
async fn online_is_applied_with_our_field_manager_and_only_our_keys() {
    let (client, mut calls) = Api::default().start();
    sink(client).tell(&online()).await.unwrap();
    let call = next(&mut calls).await;
    assert_eq!((call.method.as_str(), call.path.as_str()), ("PATCH", "/api/v1/nodes/edge-7"));
    assert_eq!(call.content_type, "application/apply-patch+yaml");
    // The key is in the manager's name: with one name for all, an agent of another key would take this label away.
    assert!(
        call.query.contains("fieldManager=edgeloop-agent%2Fmyapp.com%2Fnetwork-status") && call.query.contains("force=true"),
        "{}",
        call.query
    );
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
    let (client, mut calls) = Api::default().start();
    sink(client).tell(&offline()).await.unwrap();
    let metadata = next(&mut calls).await.body["metadata"].clone();
    assert_eq!(metadata["labels"], json!({"myapp.com/network-status": "offline"}));
    let keys: Vec<_> = metadata["annotations"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys, ["myapp.com/network-status-reason", "myapp.com/network-status-since"]);
}

#[tokio::test]
async fn a_change_has_an_event_and_a_repetition_has_none() {
    let (client, mut calls) = Api::default().start();
    let mut sink = sink(client);
    for status in [online(), online(), offline()] {
        sink.tell(&status).await.unwrap();
    }
    assert_eq!(
        events(&mut calls),
        [("Normal".into(), "NetworkOnline".into(), "u-7".into()), ("Warning".into(), "NetworkOffline".into(), "u-7".into())]
    );
}

/// Type, reason and the Node's UID of the Events so far.
fn events(calls: &mut mpsc::UnboundedReceiver<Call>) -> Vec<(Value, Value, Value)> {
    let mut events = Vec::new();
    while let Ok(call) = calls.try_recv() {
        if call.path == "/apis/events.k8s.io/v1/namespaces/default/events" {
            assert_eq!(call.body["regarding"]["name"], "edge-7");
            events.push((call.body["type"].clone(), call.body["reason"].clone(), call.body["regarding"]["uid"].clone()));
        }
    }
    events
}

#[tokio::test]
async fn a_label_that_is_undone_again_and_again_has_one_event() {
    let (client, mut calls) = Api::default().start();
    let mut sink = sink(client.clone());
    let nodes: kube::Api<k8s_openapi::api::core::v1::Node> = kube::Api::all(client);
    let undo = || async {
        let none = kube::api::Patch::Merge(json!({"metadata": {"labels": {}}}));
        nodes.patch_metadata("edge-7", &Default::default(), &none).await.unwrap();
    };
    sink.tell(&online()).await.unwrap();
    for _ in 0..10 {
        undo().await;
        sink.tell(&online()).await.unwrap();
    }
    assert_eq!(events(&mut calls).len(), 2, "the verdict, and that somebody undid it");
    sink.tell(&offline()).await.unwrap();
    assert_eq!(events(&mut calls).len(), 1, "another verdict is told at once");
}

#[tokio::test]
async fn an_agent_that_has_just_started_goes_on_where_its_predecessor_stopped() {
    let left = json!({
        "labels": {"myapp.com/network-status": "online"},
        "annotations": {"myapp.com/network-status-since": "2026-11-01T00:00:00Z", "myapp.com/network-status-reason": "gateway_refused"},
    });
    let (client, mut calls) = Api::default().with_metadata(left).start();
    let mut sink = sink(client);
    sink.tell(&online()).await.unwrap();
    let annotations = next(&mut calls).await.body["metadata"]["annotations"].clone();
    assert_eq!(annotations["myapp.com/network-status-since"], "2026-11-01T00:00:00Z");
    assert_eq!(annotations["myapp.com/network-status-reason"], "gateway_refused");
    // A change is a beginning.
    sink.tell(&offline()).await.unwrap();
    assert_eq!(next(&mut calls).await.body["metadata"]["annotations"]["myapp.com/network-status-since"], "2026-11-21T03:00:00Z");
}

#[tokio::test]
async fn a_refusal_says_what_to_look_at() {
    for (code, hint) in [(403, "the account's rights"), (404, "spec.nodeName"), (500, "refuses")] {
        let (client, _calls) = Api::default().node_answers(&[StatusCode::from_u16(code).unwrap()]).start();
        let error = sink(client).tell(&online()).await.unwrap_err();
        assert!(matches!(error, SinkError::Node { .. }));
        assert!(error.to_string().contains("edge-7") && error.to_string().contains(hint), "{error}");
    }
}

#[tokio::test]
async fn nothing_is_written_before_the_first_verdict_nor_while_it_stands() {
    let (client, _calls) = Api::default().start();
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
    let (client, mut calls) = Api::default().node_answers(&failures).start();
    let (sender, receiver) = watch::channel(online());
    let task = tokio::spawn(drive(sink(client), receiver, pace(), metrics()));
    assert_eq!(next(&mut calls).await.body["metadata"]["labels"]["myapp.com/network-status"], "online");
    sender.send(offline()).unwrap();
    let mut last = Value::Null;
    for _ in 0..3 {
        last = next(&mut calls).await.body["metadata"]["labels"]["myapp.com/network-status"].clone();
    }
    assert_eq!(last, "offline");
    assert!(next(&mut calls).await.path.ends_with("/events"));
    drop(sender);
    tokio::time::timeout(PATIENCE, task).await.expect("the task ends").unwrap();
    assert!(calls.try_recv().is_err(), "told once is enough");
}

fn seen(uid: &str, label: Option<&str>) -> Seen {
    Seen::Present(Node { uid: uid.to_owned(), label: label.map(str::to_owned), since: None, reason: None })
}

#[tokio::test]
async fn what_somebody_did_to_the_node_is_put_right() {
    let (client, mut calls) = Api::default().start();
    let (watcher, watched_node) = watch::channel(Seen::Unknown);
    let (_sender, receiver) = watch::channel(online());
    tokio::spawn(drive(watched(client, watched_node), receiver, pace(), metrics()));
    next_of_node(&mut calls).await;
    for undone in [seen("u-7", Some("offline")), seen("u-7", None), seen("another", Some("online"))] {
        // As we left it: nothing to do.
        watcher.send(seen("u-7", Some("online"))).unwrap();
        watcher.send(Seen::Absent).unwrap();
        watcher.send(undone).unwrap();
        assert_eq!(next_of_node(&mut calls).await.body["metadata"]["labels"]["myapp.com/network-status"], "online");
    }
}

#[tokio::test]
async fn what_stands_as_we_left_it_is_left_alone() {
    let (client, mut calls) = Api::default().start();
    let (watcher, watched_node) = watch::channel(Seen::Unknown);
    let mut sink = watched(client, watched_node);
    sink.tell(&online()).await.unwrap();
    while calls.try_recv().is_ok() {}
    for as_left in [seen("u-7", Some("online")), Seen::Absent, seen("u-7", Some("online"))] {
        watcher.send(as_left).unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(20), sink.undone()).await.is_err());
    }
}
