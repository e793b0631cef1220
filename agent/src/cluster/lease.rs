use std::sync::Arc;
use std::time::Duration;

use chrono::{SecondsFormat, Utc};
use edgeloop_service::admin::Beat;
use edgeloop_service::shutdown::Shutdown;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node as ApiNode;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::core::PartialObjectMeta;
use serde_json::{Value, json};
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, sleep, timeout};

use super::{FIELD_MANAGER, REQUEST_TIMEOUT, Seen};
use crate::jitter::{Backoff, Jitter};
use crate::metrics::Metrics;

const PREFIX: &str = "edgeloop-agent-";

/// What all Leases of ours carry.
pub const LEASE_SELECTOR: &str = "app.kubernetes.io/managed-by=edgeloop-agent";

/// Name of a node's Lease; the admission policy ties it to the node's name.
#[must_use]
pub fn lease_name(node: &str) -> String {
    format!("{PREFIX}{node}")
}

/// Whose Lease it is.
#[must_use]
pub fn node_of_lease(lease: &str) -> Option<&str> {
    lease.strip_prefix(PREFIX).filter(|node| !node.is_empty())
}

/// How long a Lease lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTimes {
    /// Between two renewals.
    pub interval: Duration,
    /// Without a renewal.
    pub length: Duration,
    /// After a stop that was asked for: whoever stops an agent most often starts the next one, and images are pulled in between.
    pub on_stop: Duration,
}

/// Renews the Lease of our own node: the sign that somebody there could say that it is online.
pub struct LeaseKeeper {
    leases: Api<Lease>,
    nodes: Api<PartialObjectMeta<ApiNode>>,
    node: String,
    times: LeaseTimes,
    seen: watch::Receiver<Seen>,
    renewed: Option<Instant>,
    metrics: Metrics,
}

impl LeaseKeeper {
    /// For `node`, in `namespace`; `seen` is where the owner's UID comes from.
    #[must_use]
    pub fn new(
        client: kube::Client,
        namespace: &str,
        node: String,
        times: LeaseTimes,
        seen: watch::Receiver<Seen>,
        metrics: Metrics,
    ) -> Self {
        let leases = Api::namespaced(client.clone(), namespace);
        LeaseKeeper { leases, nodes: Api::all(client), node, times, seen, renewed: None, metrics }
    }

    /// Renews it unless that has just been done: a label is written only where a Lease stands behind it.
    ///
    /// # Errors
    /// What the API server, or the way there, said.
    pub async fn ensure(&mut self) -> Result<(), kube::Error> {
        match self.renewed {
            Some(at) if at.elapsed() < self.times.interval => Ok(()),
            _ => self.renew(self.times.length).await,
        }
    }

    async fn renew(&mut self, length: Duration) -> Result<(), kube::Error> {
        let result = self.write(length).await;
        self.metrics.lease(result.is_ok(), Utc::now().timestamp_millis() as f64 / 1000.0);
        if result.is_ok() {
            self.renewed = Some(Instant::now());
        }
        result
    }

    async fn write(&self, length: Duration) -> Result<(), kube::Error> {
        let name = lease_name(&self.node);
        let seen = match &*self.seen.borrow() {
            Seen::Present(node) => Some(node.uid.clone()),
            Seen::Absent | Seen::Unknown => None,
        };
        let uid = match seen {
            Some(uid) => uid,
            // A Lease of a node that is not there would be left behind: first the node.
            None => self.nodes.get(&self.node).await?.metadata.uid.unwrap_or_default(),
        };
        let body = body(&self.node, &uid, length);
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        match self.leases.patch(&name, &params, &Patch::Merge(&body)).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => {
                let lease: Lease = serde_json::from_value(body).map_err(kube::Error::SerdeError)?;
                let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
                self.leases.create(&params, &lease).await.map(|_| ())
            }
            Err(error) => Err(error),
        }
    }
}

/// A Lease whose owner is the Node: it goes when the node goes. The times in it are for people; the reaper counts renewals.
fn body(node: &str, uid: &str, length: Duration) -> Value {
    json!({
        "metadata": {
            "name": lease_name(node),
            "labels": {"app.kubernetes.io/managed-by": "edgeloop-agent"},
            "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": node, "uid": uid}],
        },
        "spec": {
            "holderIdentity": node,
            "leaseDurationSeconds": length.as_secs_f64().ceil() as i64,
            "renewTime": Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true),
        },
    })
}

/// Renews once an interval until `shutdown`, and then once more for longer. `loop_beat` is that of the probe's rounds: an agent that has
/// stopped probing must not claim to be alive. `recovered` is told when the API server answers again after it did not.
pub async fn keep(
    keeper: Arc<Mutex<LeaseKeeper>>,
    loop_beat: Beat,
    loop_limit: Duration,
    recovered: watch::Sender<()>,
    shutdown: Shutdown,
) {
    let (times, node) = {
        let keeper = keeper.lock().await;
        (keeper.times, keeper.node.clone())
    };
    let mut jitter = Jitter::new();
    // Never slower than the renewals themselves: what the API server's outage leaves of the lease is all that there is.
    let mut backoff = Backoff::new(Duration::from_secs(1).min(times.interval), times.interval, jitter.clone());
    let mut failing = false;
    loop {
        let delay = if loop_beat.age() > loop_limit {
            tracing::error!(age_s = loop_beat.age().as_secs_f64(), "no round has ended for too long: the lease is not renewed");
            times.interval
        } else {
            let renewal = async { keeper.lock().await.renew(times.length).await };
            let renewal = tokio::select! {
                renewal = timeout(REQUEST_TIMEOUT.min(times.interval.max(Duration::from_secs(2))), renewal) => renewal,
                () = shutdown.cancelled() => break,
            };
            match renewal {
                Ok(Ok(())) => {
                    if std::mem::take(&mut failing) {
                        tracing::info!(node, "the lease is renewed again");
                        recovered.send_replace(());
                    }
                    backoff.reset();
                    jitter.around(times.interval, 0.1)
                }
                failure => {
                    let delay = backoff.delay().min(times.interval);
                    let error = match failure {
                        Ok(Err(error)) => format!("{}: {error}", super::hint(&error)),
                        _ => "no answer in time".to_owned(),
                    };
                    // Hours of this are ordinary at the edge: once is enough.
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(node, error, "the lease could not be renewed; trying on");
                    }
                    delay
                }
            }
        };
        tokio::select! { () = sleep(delay) => {}, () = shutdown.cancelled() => break }
    }
    let mut keeper = keeper.lock().await;
    if keeper.renewed.is_none() {
        return;
    }
    match keeper.renew(times.on_stop).await {
        Ok(()) => tracing::info!(node, seconds = times.on_stop.as_secs(), "the lease is left for the next agent"),
        Err(error) => tracing::warn!(node, %error, "the lease could not be renewed for the stop"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_lease_names_its_node() {
        assert_eq!(node_of_lease(&lease_name("edge-7.example")), Some("edge-7.example"));
        assert_eq!(node_of_lease("edge-7"), None);
        assert_eq!(node_of_lease("edgeloop-agent-"), None);
    }

    #[test]
    fn the_body_is_a_lease_that_the_node_owns() {
        let lease: Lease = serde_json::from_value(body("edge-7", "u-1", Duration::from_millis(1500))).unwrap();
        let spec = lease.spec.unwrap();
        // Seconds are whole: never shorter than was asked for.
        assert_eq!((spec.lease_duration_seconds, spec.renew_time.is_some()), (Some(2), true));
        let owner = &lease.metadata.owner_references.unwrap()[0];
        assert_eq!((owner.kind.as_str(), owner.name.as_str(), owner.uid.as_str()), ("Node", "edge-7", "u-1"));
    }
}
