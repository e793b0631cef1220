//! Requests of the reaper alone, by the API server's own count: its account gets a flow schema of its own, and dispatched requests are
//! counted by schema. Nothing else tells them from those of whoever else is there: load, kwok, the tests themselves.

use serde_json::json;

use crate::cluster::{Cluster, NAMESPACE, PATIENCE, wait};

pub const SCHEMA: &str = "edgeloop-test-reaper";

/// From when on they are counted apart. They are treated as before: `workload-low` is where all accounts of services are.
pub fn count_apart(cluster: &Cluster) {
    let everything = json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": true}]);
    let reaper = json!([{"kind": "ServiceAccount", "serviceAccount": {"name": "edgeloop-reaper", "namespace": NAMESPACE}}]);
    let schema = json!({
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "FlowSchema", "metadata": {"name": SCHEMA},
        "spec": {
            "priorityLevelConfiguration": {"name": "workload-low"}, "matchingPrecedence": 500, "distinguisherMethod": {"type": "ByUser"},
            "rules": [{"subjects": reaper, "resourceRules": everything}],
        },
    });
    let file = cluster.dir.path().join("flow-schema.json");
    std::fs::write(&file, schema.to_string()).unwrap();
    cluster.kubectl(&["apply", "-f", file.to_str().unwrap()]);
    let token = cluster.account_token("edgeloop-reaper");
    wait("the API server counts the reaper's requests apart", PATIENCE, || {
        cluster.request_as(&token, "GET", "/api/v1/nodes?limit=1", None);
        (of_reaper(cluster) > 0.0).then_some(())
    });
}

/// How many so far.
pub fn of_reaper(cluster: &Cluster) -> f64 {
    let metrics = cluster.kubectl_out(&["get", "--raw", "/metrics"]);
    let schema = format!("flow_schema=\"{SCHEMA}\"");
    let ours = |line: &&str| line.starts_with("apiserver_flowcontrol_dispatched_requests_total{") && line.contains(&schema);
    metrics.lines().filter(ours).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}
