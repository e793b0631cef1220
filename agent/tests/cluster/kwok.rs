//! Nodes that kwok pretends: it says Ready for each, and renews the lease that a kubelet would.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use chrono::Utc;
use futures::{StreamExt, stream};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, ListParams, PostParams};
use serde_json::json;

use crate::cluster::{Cluster, KEY, PATIENCE, SCRIPT, wait_at_leisure};
use crate::node::Process;

/// Of the nodes, beside those of all pretended ones.
pub const FLEET: &str = "edgeloop-fleet=pretended";
/// A kubelet's: renewed each quarter of it.
const NODE_LEASE: Duration = Duration::from_secs(40);
/// A page of nodes of 20 kB is 4 MB.
const PAGE: u32 = 200;

/// Where the program is; it is built where it is missing. `None`: it cannot be.
pub fn program() -> Option<PathBuf> {
    let output = Command::new(SCRIPT).arg("kwok").stdin(Stdio::null()).stderr(Stdio::inherit()).output().unwrap();
    output.status.success().then(|| PathBuf::from(String::from_utf8(output.stdout).unwrap().trim()))
}

/// Ends with this.
pub struct Kwok {
    _process: Process,
}

impl Kwok {
    /// Makes nodes of 20 kB, tainted, with the label as their agents would have left it; until kwok keeps each.
    pub fn with_nodes(cluster: &Cluster, names: &[String]) -> Self {
        let mut command = Command::new(program().expect("the promise is left out where there is no kwok"));
        command.arg("--kubeconfig").arg(cluster.admin_file()).args(["--manage-all-nodes=false", "--v=WARN"]);
        command.args(["--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake", "--cidr=10.245.0.1/16", "--node-ip=127.0.0.1"]);
        command.arg(format!("--node-lease-duration-seconds={}", NODE_LEASE.as_secs()));
        // Settings that somebody keeps for kwok are not for us.
        command.env("HOME", cluster.dir.path());
        let kwok = Kwok { _process: Process::start("kwok", command) };
        cluster.block_on(create(&cluster.client, names));
        let limit = PATIENCE * 3;
        wait_at_leisure("kwok says Ready for each", limit, Duration::from_secs(2), || {
            (cluster.block_on(ready(&cluster.client)).ok()? == names.len()).then_some(())
        });
        wait_at_leisure("kwok renews a lease for each", limit, Duration::from_secs(1), || {
            (kept(cluster, names) == names.len()).then_some(())
        });
        kwok
    }
}

/// For how many of them kwok has renewed the kubelet's lease in time.
pub fn kept(cluster: &Cluster, names: &[String]) -> usize {
    let leases: Api<Lease> = Api::namespaced(cluster.client.clone(), "kube-node-lease");
    let list = cluster.block_on(leases.list(&ListParams::default())).unwrap();
    let fresh = |lease: &Lease| {
        let renewed = lease.spec.as_ref()?.renew_time.as_ref()?.0.as_second();
        (Utc::now().timestamp() - renewed <= NODE_LEASE.as_secs().cast_signed()).then(|| lease.metadata.name.clone())?
    };
    let fresh: BTreeSet<String> = list.items.iter().filter_map(fresh).collect();
    names.iter().filter(|name| fresh.contains(*name)).count()
}

async fn create(client: &kube::Client, names: &[String]) {
    let api: Api<Node> = Api::all(client.clone());
    let padding = "x".repeat(20_000);
    let params = PostParams::default();
    let nodes = names.iter().map(|name| {
        let node = json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {
                "name": name, "labels": {KEY: "online", "edgeloop-fleet": "pretended", "edgeloop-test": "pretended", "type": "kwok"},
                "annotations": {"kwok.x-k8s.io/node": "fake", "padding": padding},
            },
            "spec": {"taints": [{"key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule"}]},
        });
        let (api, params) = (api.clone(), params.clone());
        async move { api.create(&params, &serde_json::from_value(node).unwrap()).await.map(|_| ()) }
    });
    let made: Vec<_> = stream::iter(nodes).buffer_unordered(16).collect().await;
    made.into_iter().for_each(|result| result.unwrap());
}

/// How many of them have a kwok that says Ready.
async fn ready(client: &kube::Client) -> kube::Result<usize> {
    let api: Api<Node> = Api::all(client.clone());
    let mut params = ListParams::default().labels(FLEET).limit(PAGE);
    let mut ready = 0;
    loop {
        let page = api.list(&params).await?;
        let statuses = page.items.iter().filter_map(|node| node.status.as_ref());
        ready += statuses
            .filter(|status| {
                let kwok = status.node_info.as_ref().is_some_and(|info| info.kubelet_version.starts_with("kwok"));
                let conditions = status.conditions.as_deref().unwrap_or_default();
                kwok && conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
            })
            .count();
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(ready),
        }
    }
}
