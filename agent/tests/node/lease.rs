//! The Lease: written first, for its node, and left for the next agent.

use std::sync::Arc;
use std::time::Duration;

use edgeloop_agent::cluster::{LeaseKeeper, LeaseTimes, Seen, keep};
use edgeloop_agent::sink::{Sink, SinkError};
use edgeloop_service::admin::Health;
use edgeloop_service::shutdown::Shutdown;
use http::StatusCode;
use tokio::sync::{Mutex, watch};

use crate::api::{Api, Call, PATIENCE, next};
use crate::{metrics, online, sink};

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/edge/leases";

fn times(interval: Duration) -> LeaseTimes {
    LeaseTimes { interval, length: Duration::from_secs(45), on_stop: Duration::from_secs(300) }
}

fn keeper(client: &kube::Client, interval: Duration) -> Arc<Mutex<LeaseKeeper>> {
    let seen = watch::channel(Seen::Unknown).1;
    Arc::new(Mutex::new(LeaseKeeper::new(client.clone(), "edge", "edge-7".to_owned(), times(interval), seen, metrics())))
}

fn seconds(call: &Call) -> i64 {
    call.body["spec"]["leaseDurationSeconds"].as_i64().unwrap()
}

#[tokio::test]
async fn it_is_made_when_it_is_not_there_and_renewed_when_it_is() {
    let (client, mut calls) = Api::default().start();
    let keeper = keeper(&client, Duration::from_millis(5));
    let (shutdown, health) = (Shutdown::new(), Health::new());
    let beat = health.heartbeat("loop", PATIENCE);
    let task = tokio::spawn(keep(keeper, beat, PATIENCE, watch::channel(()).0, shutdown.clone()));
    let missing = next(&mut calls).await;
    assert_eq!((missing.method.as_str(), missing.path.as_str()), ("PATCH", &*format!("{LEASES}/edgeloop-agent-edge-7")));
    let made = next(&mut calls).await;
    assert_eq!((made.method.as_str(), made.path.as_str()), ("POST", LEASES));
    assert_eq!((made.body["metadata"]["ownerReferences"][0]["uid"].as_str(), seconds(&made)), (Some("u-7"), 45));
    for _ in 0..3 {
        let renewed = next(&mut calls).await;
        assert_eq!(
            (renewed.method.as_str(), renewed.content_type.as_str(), seconds(&renewed)),
            ("PATCH", "application/merge-patch+json", 45)
        );
    }
    shutdown.trigger();
    tokio::time::timeout(PATIENCE, task).await.expect("it ends").unwrap();
    let mut last = None;
    while let Ok(call) = calls.try_recv() {
        last = Some(call);
    }
    assert_eq!(seconds(&last.unwrap()), 300, "the next agent has time to start");
}

#[tokio::test]
async fn no_label_is_written_that_no_lease_stands_behind() {
    let (client, mut calls) = Api::default().lease_answers(&[StatusCode::FORBIDDEN]).start();
    let mut sink = sink(client.clone()).behind(keeper(&client, PATIENCE));
    let error = sink.tell(&online()).await.unwrap_err();
    assert!(matches!(error, SinkError::Lease { .. }) && error.to_string().contains("edgeloop-agent-edge-7"), "{error}");
    assert!(next(&mut calls).await.path.contains("/leases/"));
    assert!(calls.try_recv().is_err(), "nothing else was tried");
    sink.tell(&online()).await.unwrap();
    let paths: Vec<String> = std::iter::from_fn(|| calls.try_recv().ok()).map(|call| call.path).collect();
    let (lease, node) = (paths.iter().position(|path| path == LEASES), paths.iter().position(|path| path.contains("/nodes/")));
    assert!(lease < node && lease.is_some(), "{paths:?}");
    // Renewed just now: not again.
    sink.tell(&online()).await.unwrap();
    assert!(next(&mut calls).await.path.contains("/nodes/"));
}

#[tokio::test]
async fn an_agent_that_no_longer_probes_lets_its_lease_run_out() {
    let (client, mut calls) = Api::default().start();
    let health = Health::new();
    let beat = health.heartbeat("loop", PATIENCE);
    while beat.age().is_zero() {
        tokio::task::yield_now().await;
    }
    let task =
        tokio::spawn(keep(keeper(&client, Duration::from_millis(1)), beat.clone(), Duration::ZERO, watch::channel(()).0, Shutdown::new()));
    assert!(tokio::time::timeout(Duration::from_millis(50), calls.recv()).await.is_err(), "no renewal");
    task.abort();
}

#[tokio::test]
async fn the_return_of_the_api_server_is_told() {
    let (client, _calls) = Api::default().lease_answers(&[StatusCode::SERVICE_UNAVAILABLE; 3]).start();
    let (recovered, mut rings) = watch::channel(());
    let health = Health::new();
    let beat = health.heartbeat("loop", PATIENCE);
    tokio::spawn(keep(keeper(&client, Duration::from_millis(2)), beat, PATIENCE, recovered, Shutdown::new()));
    tokio::time::timeout(PATIENCE, rings.changed()).await.expect("in time").unwrap();
}
