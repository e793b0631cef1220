//! `edgeloop doctor --cluster` against a real API server: `make test-cluster`. A release that is well is made of plain objects, with the
//! status that a kubelet and the controllers would write; then one thing after the other goes wrong, and doctor must say so, and nothing else.
#![allow(clippy::unwrap_used)]

mod api;
mod healthy;

use std::process::ExitCode;

use api::Api;
use healthy::{KEY, claim, cronjob, event, pod, service};
use serde_json::{Value, json};

/// A trouble: the check that must be found, how doctor ends, and the objects that cause it.
type Trouble = (&'static str, i32, Vec<Value>);

fn main() -> ExitCode {
    if std::env::var_os("EDGELOOP_TEST_CLUSTER").is_none() {
        println!("doctor in a cluster: not asked for (`make test-cluster` runs it)");
        return ExitCode::SUCCESS;
    }
    if !api::can_start() {
        println!("doctor in a cluster: SKIPPED, building Kubernetes needs Go");
        return ExitCode::from(u8::from(std::env::var("CI").is_ok_and(|ci| ci == "true")));
    }
    let api = Api::start();
    healthy::objects().iter().for_each(|object| api.put(object));
    let well = api.doctor(&api.admin());
    assert_eq!((well.code, well.checks()), (0, vec![]), "{well:?}");

    let troubles = troubles();
    let count = troubles.len();
    for (check, code, objects) in troubles {
        objects.iter().for_each(|object| api.put(object));
        let found = api.doctor(&api.admin());
        assert_eq!((found.code, found.checks()), (code, vec![check]), "{found:?}");
        objects.iter().for_each(|object| api.delete(object));
        healthy::objects().iter().filter(|well| objects.iter().any(|object| api::same(object, well))).for_each(|well| api.put(well));
    }
    assert_eq!(api.doctor(&api.admin()).code, 0, "well again after each");
    let without = without(&api);
    little_rights(&api);
    let gone = api.doctor(&api.nobody_there());
    assert_eq!((gone.code, gone.checks()), (3, vec!["cluster-unreachable"]), "{gone:?}");
    println!("doctor in a cluster: {} troubles told, each alone", count + without + 1);
    ExitCode::SUCCESS
}

/// What is made.
fn troubles() -> Vec<Trouble> {
    let waiting = |reason: &str| {
        json!([{"name": "c", "image": "docker.io/library/edge-inference:latest", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"waiting": {"reason": reason, "message": "not there"}}}])
    };
    let ended = |reason: &str, code: i32| {
        json!([{"name": "c", "image": "i", "imageID": "", "ready": false, "restartCount": 7,
        "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": {"reason": reason, "exitCode": code}}}])
    };
    let inferer = |status: Value| pod("inferer", "app", "edge-inference", "yolo", status);
    let training = |status: Value| pod("training", "app", "edge-training-job", "yolo", status);
    let unscheduled = |why: &str| json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": why}]});
    let node = |name: &str, label: &str, reason: &str| json!({"kind": "Node", "metadata": {"name": name, "labels": {KEY: label}, "annotations": {format!("{KEY}-reason"): reason}}});
    let pending = |status: Value| inferer(json!({"phase": "Pending", "containerStatuses": status}));
    let mount = "MountVolume.SetUp failed for volume \"pv\" : hostPath type check failed: /mnt/data/yolo is not a directory";
    let taken = "Failed to allocate IP for \"default/web\": can't change sharing key, address also in use by frigate/frigate-webrtc-udp";
    vec![
        ("node-offline", 0, vec![node("edge-2", "offline", "no_reply")]),
        ("wrong-gateway", 2, vec![node("edge-1", "offline", "no_reply")]),
        ("no-node-online", 2, vec![node("edge-1", "offline", "lease_expired")]),
        ("image-missing", 2, vec![pending(waiting("ErrImageNeverPull"))]),
        ("crash-loop", 2, vec![pending(ended("Error", 2))]),
        ("out-of-memory", 2, vec![training(json!({"phase": "Running", "containerStatuses": ended("OOMKilled", 137)}))]),
        ("gpu-missing", 2, vec![inferer(unscheduled("0/2 nodes are available: 2 Insufficient nvidia.com/gpu."))]),
        ("unschedulable", 2, vec![inferer(unscheduled("0/2 nodes are available: 2 Insufficient memory."))]),
        ("training-waits", 1, vec![training(unscheduled("0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector."))]),
        ("no-model", 1, vec![inferer(json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}]}))]),
        ("no-training-succeeded", 1, vec![cronjob(false, json!({"lastScheduleTime": "2026-11-22T00:00:00Z"}))]),
        ("training-suspended", 0, vec![cronjob(true, json!({}))]),
        (
            "claim-missing",
            2,
            vec![pod(
                "inferer-2",
                "app",
                "edge-inference",
                "nobodys",
                json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}),
            )],
        ),
        (
            "claim-unbound",
            2,
            vec![
                claim("Pending"),
                event("PersistentVolumeClaim", "yolo", "ProvisioningFailed", "storageclass.storage.k8s.io \"fast\" not found"),
            ],
        ),
        (
            "claim-waits",
            0,
            vec![claim("Pending"), event("PersistentVolumeClaim", "yolo", "WaitForFirstConsumer", "waiting for first consumer")],
        ),
        ("path-missing", 2, vec![inferer(json!({"phase": "Pending"})), event("Pod", "inferer", "FailedMount", mount)]),
        ("load-balancer-pending", 1, vec![service("web", json!({}), "")]),
        ("load-balancer-refused", 2, vec![service("web", json!({}), ""), event("Service", "web", "AllocationFailed", taken)]),
        ("address-claimed-twice", 2, vec![service("web", json!({"metallb.io/loadBalancerIPs": "10.0.0.9"}), "10.0.0.10")]),
    ]
}

/// What is missing.
fn without(api: &Api) -> usize {
    let agent = healthy::agent();
    api.delete(&agent);
    let found = api.doctor(&api.admin());
    assert_eq!((found.code, found.checks()), (2, vec!["no-agent"]), "{found:?}");
    api.put(&agent);
    let node = healthy::node();
    api.put(&json!({"kind": "Node", "metadata": {"name": node["metadata"]["name"]}}));
    let found = api.doctor(&api.admin());
    assert_eq!((found.code, found.checks()), (2, vec!["no-node-labelled"]), "{found:?}");
    api.put(&node);
    2
}

/// An account that may list nodes, and all else in its own namespace only, sees that one.
fn little_rights(api: &Api) {
    for args in [
        "create serviceaccount reader -n default",
        "create clusterrole nodes-reader --verb=list --resource=nodes",
        "create clusterrolebinding nodes-reader --clusterrole=nodes-reader --serviceaccount=default:reader",
        "create role reader -n default --verb=list --resource=pods,persistentvolumeclaims,services,cronjobs.batch,events",
        "create rolebinding reader -n default --role=reader --serviceaccount=default:reader",
    ] {
        api.kubectl(&args.split(' ').collect::<Vec<_>>(), None);
    }
    let token = api.kubectl(&["create", "token", "reader", "-n", "default"], None);
    let found = api.doctor(&api.kubeconfig_with(token.trim()));
    assert_eq!((found.code, found.checks()), (0, vec![]), "{found:?}");
    api.put(&claim("Lost"));
    let found = api.doctor(&api.kubeconfig_with(token.trim()));
    assert_eq!((found.code, found.checks()), (2, vec!["claim-unbound"]), "{found:?}");
}
