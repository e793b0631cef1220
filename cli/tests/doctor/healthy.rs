//! A release that is well, as objects.

use serde_json::{Value, json};

pub const KEY: &str = "myapp.com/network-status";

/// All of them.
pub fn objects() -> Vec<Value> {
    let ready = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
    vec![
        node(),
        agent(),
        pod("inferer", "app", "edge-inference", "yolo", ready),
        claim("Bound"),
        cronjob(false, json!({"lastScheduleTime": "2026-11-22T00:00:00Z", "lastSuccessfulTime": "2026-11-22T00:20:00Z"})),
        service("edge-inference", json!({}), "10.0.0.9"),
    ]
}

pub fn node() -> Value {
    json!({"kind": "Node", "metadata": {"name": "edge-1", "labels": {KEY: "online"}, "annotations": {format!("{KEY}-reason"): "gateway_replied"}}})
}

pub fn agent() -> Value {
    let mut agent =
        pod("agent", "component", "monitor", "", json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}));
    agent["spec"]["containers"][0]["env"] = json!([{"name": "HEARTBEAT_IP", "value": "192.168.1.1"}]);
    agent
}

pub fn pod(name: &str, key: &str, value: &str, claim: &str, status: Value) -> Value {
    let volumes = if claim.is_empty() { json!([]) } else { json!([{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]) };
    json!({
        "kind": "Pod", "metadata": {"name": name, "namespace": "default", "labels": {key: value}}, "status": status,
        "spec": {"containers": [{"name": "c", "image": "docker.io/library/edge-inference:latest"}], "volumes": volumes},
    })
}

pub fn claim(phase: &str) -> Value {
    json!({
        "kind": "PersistentVolumeClaim", "metadata": {"name": "yolo", "namespace": "default"}, "status": {"phase": phase},
        "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "3Gi"}}},
    })
}

pub fn cronjob(suspend: bool, status: Value) -> Value {
    let pod = json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "docker.io/library/edge-trainer:latest"}]}});
    json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "edge-training-job", "namespace": "default"}, "status": status,
        "spec": {"schedule": "0 */3 * * *", "suspend": suspend, "jobTemplate": {"spec": {"template": pod}}},
    })
}

pub fn service(name: &str, annotations: Value, address: &str) -> Value {
    let has = if address.is_empty() { json!([]) } else { json!([{"ip": address}]) };
    json!({
        "kind": "Service", "metadata": {"name": name, "namespace": "default", "annotations": annotations},
        "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}, "status": {"loadBalancer": {"ingress": has}},
    })
}

pub fn event(kind: &str, name: &str, reason: &str, message: &str) -> Value {
    json!({
        "kind": "Event", "metadata": {"name": format!("{name}.event"), "namespace": "default"}, "type": "Warning", "reason": reason, "message": message,
        "involvedObject": {"kind": kind, "name": name, "namespace": "default"},
    })
}
