//! Nothing of ours stays.

use serde_json::Value;

use crate::cluster::{Cluster, NAMESPACE, PATIENCE, wait};
use crate::node::EdgeBox;

pub fn leaves_nothing(cluster: &mut Cluster) -> String {
    let mut edges = [EdgeBox::started(cluster), EdgeBox::started(cluster)];
    edges.iter().for_each(|edge| edge.online(cluster));
    cluster.kubectl(&["apply", "-f", &Cluster::deploy_file("uninstall.yaml")]);
    cluster.stop_reaper();
    let arguments = ["uninstall", "--quiet-seconds", "4", "--wait-seconds", "6"];

    // Agents that still write are not run over.
    let early = cluster.run_agent("edgeloop-uninstall", &arguments);
    let said = String::from_utf8_lossy(&early.stderr).into_owned();
    assert_eq!(early.status.code(), Some(75), "{said}");
    assert!(said.contains("agents still renew their leases") && said.contains(&edges[0].name), "{said}");
    assert_eq!(cluster.label(&edges[0].name).as_deref(), Some("online"));

    for edge in &mut edges {
        edge.agent().stop();
    }
    for file in ["policy.yaml", "rbac.yaml"] {
        cluster.kubectl(&["delete", "-f", &Cluster::deploy_file(file)]);
    }
    let done = cluster.run_agent("edgeloop-uninstall", &["uninstall", "--quiet-seconds", "4", "--wait-seconds", "60"]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    cluster.kubectl(&["delete", "-f", &Cluster::deploy_file("uninstall.yaml"), "--wait=false"]);

    wait("all is gone", PATIENCE, || (traces(cluster).is_empty()).then_some(()));
    let node = cluster.node(&edges[0].name).unwrap();
    assert_eq!(node.metadata.labels.unwrap()["somebody"], "else", "what others set stays");
    "while agents write: exit 75; after: no label, annotation, lease, policy, role or account of ours is left".to_owned()
}

/// What there is of ours anywhere.
fn traces(cluster: &Cluster) -> Vec<String> {
    let list = |kind: &str| -> Vec<Value> {
        let text = cluster.kubectl_out(&["get", kind, "-A", "-o", "json"]);
        serde_json::from_str::<Value>(&text).unwrap()["items"].as_array().unwrap().clone()
    };
    let mut traces = Vec::new();
    for node in list("nodes") {
        let metadata = &node["metadata"];
        let keys = [&metadata["labels"], &metadata["annotations"]].into_iter().filter_map(Value::as_object).flat_map(|map| map.keys());
        traces.extend(keys.filter(|key| key.starts_with("myapp.com/")).map(|key| format!("{}: {key}", metadata["name"])));
    }
    for kind in [
        "leases",
        "serviceaccounts",
        "roles",
        "rolebindings",
        "clusterroles",
        "clusterrolebindings",
        "validatingadmissionpolicies",
        "validatingadmissionpolicybindings",
    ] {
        let ours = list(kind).into_iter().filter_map(|item| item["metadata"]["name"].as_str().map(str::to_owned));
        traces.extend(ours.filter(|name| name.starts_with("edgeloop") && name != NAMESPACE).map(|name| format!("{kind}/{name}")));
    }
    traces
}
