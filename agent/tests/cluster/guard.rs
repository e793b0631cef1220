//! What an agent's own token may write, and what not.

use serde_json::json;

use crate::cluster::{Cluster, KEY, NAMESPACE};
use crate::node::EdgeBox;

pub fn tokens(cluster: &mut Cluster) -> String {
    let (edge, other) = (EdgeBox::started(cluster), EdgeBox::started(cluster));
    edge.online(cluster);
    other.online(cluster);
    let token = cluster.token(&edge.name);
    let own = format!("/api/v1/nodes/{}", edge.name);
    let foreign = format!("/api/v1/nodes/{}", other.name);
    let lease = |name: &str| format!("/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/edgeloop-agent-{name}");
    let labels = |key: &str, value: &str| json!({"metadata": {"labels": {key: value}}});
    let renewal = json!({"spec": {"leaseDurationSeconds": 100_000}});
    let event = |name: &str| {
        json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": format!("{name}.forged"), "namespace": "default"},
            "eventTime": "2026-11-21T03:00:00.000000Z", "type": "Normal", "reason": "NetworkOnline", "action": "x",
            "reportingController": "edgeloop.dev/agent", "reportingInstance": "x", "regarding": {"apiVersion": "v1", "kind": "Node", "name": name},
        })
    };
    let events = "/apis/events.k8s.io/v1/namespaces/default/events";

    for (what, patch, path) in [
        ("another node's label", labels(KEY, "offline"), &foreign),
        ("another key on the own node", labels("node-role.kubernetes.io/master", ""), &own),
        ("a foreign key taken away", json!({"metadata": {"labels": {"somebody": null}}}), &own),
        ("a foreign annotation", json!({"metadata": {"annotations": {"x": "y"}}}), &own),
        ("a value that is none", labels(KEY, "sometimes"), &own),
        ("a taint", json!({"spec": {"taints": [{"key": "x", "effect": "NoSchedule"}]}}), &own),
        ("a cordon", json!({"spec": {"unschedulable": true}}), &own),
        ("another node's lease", renewal.clone(), &lease(&other.name)),
    ] {
        let (status, body) = cluster.patch_as(&token, path, &patch);
        assert!(matches!(status, 403 | 422), "{what}: {status} {body}");
        assert!(body.contains("edgeloop-agent-"), "{what}: the policy refuses, not something else: {body}");
    }
    let (status, body) = cluster.request_as(&token, "POST", events, Some(&event(&other.name)));
    assert_eq!(status, 403, "an Event about another node: {body}");
    for (method, path) in [("DELETE", own.as_str()), ("DELETE", &lease(&edge.name)), ("GET", "/api/v1/secrets"), ("GET", "/api/v1/pods")] {
        assert_eq!(cluster.request_as(&token, method, path, None).0, 403, "{method} {path}");
    }
    // A token that is bound to no pod names no node.
    let (status, body) = cluster.patch_as(&cluster.account_token("edgeloop-agent"), &own, &labels(KEY, "offline"));
    assert_eq!(status, 403, "an unbound token: {body}");

    // And what it is for: allowed.
    assert_eq!(cluster.patch_as(&token, &own, &labels(KEY, "online")).0, 200);
    assert_eq!(cluster.patch_as(&token, &lease(&edge.name), &json!({"spec": {"leaseDurationSeconds": 60}})).0, 200);
    let (status, body) = cluster.request_as(&token, "POST", events, Some(&event(&edge.name)));
    assert_eq!(status, 201, "{body}");

    // The reaper: any node, our keys only; nobody's lease.
    let reaper = cluster.account_token("edgeloop-reaper");
    assert_eq!(cluster.patch_as(&reaper, &own, &labels("x", "y")).0, 403);
    assert_eq!(cluster.patch_as(&reaper, &own, &labels(KEY, "offline")).0, 200);
    assert_eq!(cluster.patch_as(&reaper, &lease(&edge.name), &renewal).0, 403);
    "8 writes, 5 other requests and an unbound token refused; own label, lease and Event allowed".to_owned()
}
