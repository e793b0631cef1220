//! A renewal of a node's Lease as its agent would make it, by a clock that may be off.

use chrono::{SecondsFormat, TimeDelta, Utc};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use crate::cluster::NAMESPACE;
use crate::node::LEASE;

pub async fn renew(client: &kube::Client, node: &str, skew: TimeDelta) {
    let name = format!("edgeloop-agent-{node}");
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"app.kubernetes.io/managed-by": "edgeloop-agent"}},
        "spec": {
            "holderIdentity": node, "leaseDurationSeconds": LEASE as u64,
            "renewTime": (Utc::now() + skew).to_rfc3339_opts(SecondsFormat::Micros, true),
        },
    });
    let leases: Api<Lease> = Api::namespaced(client.clone(), NAMESPACE);
    leases.patch(&name, &PatchParams::apply("pretended").force(), &Patch::Apply(&lease)).await.unwrap();
}
