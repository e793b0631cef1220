//! Claims without a volume, and folders that are not there.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Snapshot;
use super::snapshot::{list, name, namespace, text};
use crate::doctor::finding::{Finding, Severity};

pub fn look(snapshot: &Snapshot) -> Vec<Finding> {
    let mut found = claims(snapshot);
    found.extend(snapshot.our_pods().filter_map(|pod| folder(snapshot, pod)));
    found
}

/// Claims that pods of ours mount.
fn claims(snapshot: &Snapshot) -> Vec<Finding> {
    let of_pod = |pod| list(pod, "/spec/volumes").iter().map(move |v| (namespace(pod), text(v, "/persistentVolumeClaim/claimName")));
    let wanted: BTreeSet<(&str, &str)> = snapshot.our_pods().flat_map(of_pod).filter(|(_, claim)| !claim.is_empty()).collect();
    let mut found = Vec::new();
    for (namespace_of, claim) in wanted {
        let describe = format!("kubectl describe pvc {claim} -n {namespace_of}");
        let Some(object) = snapshot.claims.iter().find(|c| name(c) == claim && namespace(c) == namespace_of) else {
            let what = format!("the claim {claim} that the pods want is not there");
            found.push(Finding::error("claim-missing", what).command(format!("kubectl get pvc -n {namespace_of}")));
            continue;
        };
        let phase = text(object, "/status/phase");
        if phase == "Bound" {
            continue;
        }
        let reasons = ["FailedBinding", "ProvisioningFailed", "WaitForFirstConsumer", "ExternalProvisioning"];
        let event = snapshot.event("PersistentVolumeClaim", object, &reasons);
        let why = event.map_or("", |event| text(event, "/message"));
        // Then it is the pod that waits for something else.
        if event.is_some_and(|event| text(event, "/reason") == "WaitForFirstConsumer") {
            let what = format!("the claim {claim} is bound when the first pod that wants it has a node");
            found.push(Finding::new(Severity::Note, "claim-waits", what));
            continue;
        }
        let what = format!("the claim {claim} has no volume ({phase}{}{why})", if why.is_empty() { "" } else { ": " });
        found.push(Finding::error("claim-unbound", what).command("kubectl get pv,pvc").command(describe));
    }
    found
}

/// A folder of the host that a pod mounts and that is not there.
fn folder(snapshot: &Snapshot, pod: &Value) -> Option<Finding> {
    if text(pod, "/status/phase") == "Running" {
        return None;
    }
    let message = text(snapshot.event("Pod", pod, &["FailedMount"])?, "/message");
    let (_, rest) = message.split_once("hostPath type check failed: ")?;
    let (path, _) = rest.split_once(" is not ")?;
    let node = text(pod, "/spec/nodeName");
    let what = format!("pod {} cannot start: there is no folder {path} on node {node}", name(pod));
    Some(
        Finding::error("path-missing", what)
            .command(format!("sudo mkdir -p {path}        # on {node}"))
            .command(format!("sudo ls -la {path}")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(kind: &str, name: &str, reason: &str, message: &str) -> Value {
        json!({"involvedObject": {"kind": kind, "name": name, "namespace": "n"}, "reason": reason, "message": message})
    }

    fn snapshot(phase: &str, events: Vec<Value>) -> Snapshot {
        let volumes = json!([{"persistentVolumeClaim": {"claimName": "yolo"}}, {"emptyDir": {}}]);
        let pod = json!({"metadata": {"name": "p", "namespace": "n", "labels": {"app": "edge-inference"}},
            "spec": {"volumes": volumes, "nodeName": "edge-7"}, "status": {"phase": "Pending"}});
        let claim = json!({"metadata": {"name": "yolo", "namespace": "n"}, "status": {"phase": phase}});
        Snapshot { pods: vec![pod], claims: vec![claim], events, ..Snapshot::default() }
    }

    #[test]
    fn a_claim_without_a_volume_says_why() {
        let found = look(&snapshot("Pending", vec![event("PersistentVolumeClaim", "yolo", "ProvisioningFailed", "no class \"fast\"")]));
        assert_eq!(found[0].check, "claim-unbound");
        assert!(found[0].what.contains("no class \"fast\"") && found[0].commands[0] == "kubectl get pv,pvc", "{found:?}");
        assert_eq!(look(&snapshot("Bound", vec![])), []);
        assert_eq!(look(&snapshot("Lost", vec![]))[0].check, "claim-unbound");
    }

    #[test]
    fn a_claim_that_waits_for_its_first_pod_is_as_it_should_be() {
        let found = look(&snapshot("Pending", vec![event("PersistentVolumeClaim", "yolo", "WaitForFirstConsumer", "waiting")]));
        assert_eq!((found[0].check, found[0].severity), ("claim-waits", Severity::Note));
    }

    #[test]
    fn a_claim_that_nobody_made_is_told() {
        let found = look(&Snapshot { claims: vec![], ..snapshot("", vec![]) });
        assert_eq!(found[0].check, "claim-missing");
    }

    #[test]
    fn a_folder_that_is_not_there_is_named_with_its_node() {
        let message = "MountVolume.SetUp failed for volume \"pv\" : hostPath type check failed: /mnt/data/yolo is not a directory";
        let found = look(&snapshot("Bound", vec![event("Pod", "p", "FailedMount", message)]));
        assert_eq!(found[0].check, "path-missing");
        assert!(found[0].commands[0].starts_with("sudo mkdir -p /mnt/data/yolo") && found[0].what.contains("edge-7"), "{found:?}");
    }
}
