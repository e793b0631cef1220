//! Pods of ours that do not start, do not stay, or wait.

use serde_json::Value;

use super::Snapshot;
use super::snapshot::{label, list, name, namespace, text};
use crate::doctor::finding::{Finding, Severity};

/// Why a container waits when its image is not there.
const NO_IMAGE: [&str; 5] = ["ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError"];

pub fn look(snapshot: &Snapshot) -> Vec<Finding> {
    let mut found: Vec<Finding> = snapshot.our_pods().flat_map(|pod| of_pod(snapshot, pod)).collect();
    found.extend(model(snapshot));
    found.extend(trainings(snapshot));
    found
}

fn of_pod(snapshot: &Snapshot, pod: &Value) -> Vec<Finding> {
    let states = ["/status/initContainerStatuses", "/status/containerStatuses"].into_iter().flat_map(|list_of| list(pod, list_of));
    states.filter_map(|container| of_container(pod, container)).chain(unscheduled(snapshot, pod)).collect()
}

fn of_container(pod: &Value, container: &Value) -> Option<Finding> {
    let (name, namespace, node) = (name(pod), namespace(pod), text(pod, "/spec/nodeName"));
    let waits = text(container, "/state/waiting/reason");
    if NO_IMAGE.contains(&waits) {
        let image = text(container, "/image");
        let what =
            format!("pod {name}: the image {image} is not there for node {node} ({waits}: {})", text(container, "/state/waiting/message"));
        return Some(
            Finding::error("image-missing", what)
                .command("make images        # then bring them to every node:")
                .command(format!("docker save {image} | sudo k3s ctr images import -        # on {node}")),
        );
    }
    let last = ["/state/terminated", "/lastState/terminated"].into_iter().find_map(|state| container.pointer(state))?;
    let reason = text(last, "/reason");
    if reason == "OOMKilled" {
        let what = format!("pod {name} was ended because it took more memory than its limit");
        let finding = Finding::error("out-of-memory", what);
        return Some(match label(pod, "app") {
            "edge-training-job" => finding.command("helm upgrade yolo-app ./chart --reuse-values --set training.batchSize=2        # or a higher training.resources.limits.memory"),
            _ => finding.command(format!("kubectl describe pod {name} -n {namespace}        # then raise its resources.limits.memory")),
        });
    }
    if waits == "CrashLoopBackOff" {
        let code = last["exitCode"].as_i64().unwrap_or(-1);
        let what = format!(
            "pod {name} ends again and again, the last time with exit code {code}{}",
            if code == 2 { ": its settings must be changed" } else { "" }
        );
        return Some(Finding::error("crash-loop", what).command(format!("kubectl logs {name} -n {namespace} --previous --tail=20")));
    }
    None
}

fn unscheduled(snapshot: &Snapshot, pod: &Value) -> Option<Finding> {
    let condition = list(pod, "/status/conditions").iter().find(|c| text(c, "/type") == "PodScheduled" && text(c, "/status") == "False")?;
    let (name, message) = (name(pod), text(condition, "/message"));
    if message.contains("Insufficient nvidia.com/") || message.contains("Insufficient amd.com/") {
        let what = format!("pod {name} finds no free GPU: {message}");
        return Some(
            Finding::error("gpu-missing", what)
                .command("kubectl get nodes -o custom-columns=NODE:.metadata.name,GPU:.status.allocatable.nvidia\\\\.com/gpu")
                .command("kubectl logs -n gpu-operator -l app=nvidia-device-plugin-daemonset"),
        );
    }
    if label(pod, "app") == "edge-training-job" && message.contains("affinity") {
        let what = format!("the training {name} waits until a node is online: {message}");
        return Some(Finding::warning("training-waits", what).command(format!("kubectl get nodes -L {}", snapshot.key)));
    }
    // A claim that is not bound says so itself.
    if message.contains("PersistentVolumeClaim") {
        return None;
    }
    Some(
        Finding::error("unschedulable", format!("pod {name} finds no node: {message}"))
            .command(format!("kubectl describe pod {name} -n {}", namespace(pod))),
    )
}

/// An inferer that runs and is not ready has no model.
fn model(snapshot: &Snapshot) -> Option<Finding> {
    let is =
        |pod: &Value, kind: &str| list(pod, "/status/conditions").iter().any(|c| text(c, "/type") == kind && text(c, "/status") == "True");
    let running: Vec<&Value> = snapshot.pods_of("app", "edge-inference").filter(|pod| text(pod, "/status/phase") == "Running").collect();
    let first = running.first()?;
    if running.iter().any(|pod| is(pod, "Ready")) {
        return None;
    }
    let (name, namespace) = (name(first), namespace(first));
    let what = format!("the inferer {name} runs and is not ready: no model serves yet");
    Some(
        Finding::warning("no-model", what)
            .command(format!("kubectl logs {name} -n {namespace} --tail=5        # what it waits for"))
            .command(format!(
                "kubectl create job --from=cronjob/edge-training-job train-now -n {namespace}        # do not wait for the schedule"
            )),
    )
}

fn trainings(snapshot: &Snapshot) -> Vec<Finding> {
    let ours = snapshot.cronjobs.iter().filter(|job| name(job).contains("edge-training-job"));
    let told = |job: &Value| {
        let (name, namespace) = (name(job), namespace(job));
        if job["spec"]["suspend"] == true {
            return Some(Finding::new(
                Severity::Note,
                "training-suspended",
                format!("trainings are suspended: CronJob {name} in {namespace}"),
            ));
        }
        if text(job, "/status/lastScheduleTime").is_empty() || !text(job, "/status/lastSuccessfulTime").is_empty() {
            return None;
        }
        let what = format!("no training of CronJob {name} has succeeded so far");
        Some(
            Finding::warning("no-training-succeeded", what)
                .command(format!("kubectl logs -l app=edge-training-job -n {namespace} --tail=20")),
        )
    };
    ours.filter_map(told).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(app: &str, status: Value) -> Value {
        json!({"metadata": {"name": "p", "namespace": "default", "labels": {"app": app}}, "spec": {"nodeName": "edge-7"}, "status": status})
    }

    fn found(pods: Vec<Value>) -> Vec<Finding> {
        look(&Snapshot { pods, ..Snapshot::default() })
    }

    fn only(pod: Value) -> Finding {
        let mut all = found(vec![pod]);
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }

    fn unschedulable(message: &str) -> Value {
        json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "message": message}]})
    }

    #[test]
    fn an_image_that_is_not_there_is_named_with_its_node() {
        let status = json!({"containerStatuses": [{"image": "edge-inference:latest", "state": {"waiting": {"reason": "ErrImageNeverPull", "message": "absent"}}}]});
        let finding = only(pod("edge-inference", status.clone()));
        assert_eq!(finding.check, "image-missing");
        assert!(finding.what.contains("edge-inference:latest") && finding.what.contains("edge-7"), "{finding:?}");
        assert!(finding.commands[1].contains("images import"));
        assert_eq!(found(vec![pod("somebody-elses", status)]), []);
    }

    #[test]
    fn memory_that_ran_out_says_which_knob() {
        let status = json!({"containerStatuses": [{"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": {"reason": "OOMKilled", "exitCode": 137}}}]});
        assert!(only(pod("edge-training-job", status.clone())).commands[0].contains("batchSize"));
        let finding = only(pod("edge-inference", status));
        assert_eq!((finding.check, finding.commands[0].contains("limits.memory")), ("out-of-memory", true));
    }

    #[test]
    fn a_pod_that_ends_again_and_again_shows_its_last_words() {
        let status = json!({"containerStatuses": [{"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": {"reason": "Error", "exitCode": 2}}}]});
        let finding = only(pod("edge-inference", status));
        assert_eq!(finding.check, "crash-loop");
        assert!(finding.what.contains("settings") && finding.commands[0].contains("--previous"), "{finding:?}");
    }

    #[test]
    fn a_pod_that_finds_no_node_says_what_it_waits_for() {
        let gpu = only(pod("edge-inference", unschedulable("0/2 nodes are available: 2 Insufficient nvidia.com/gpu.")));
        assert_eq!((gpu.check, gpu.commands[1].contains("nvidia-device-plugin")), ("gpu-missing", true));
        let affinity = "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector.";
        let training = only(pod("edge-training-job", unschedulable(affinity)));
        assert_eq!((training.check, training.severity), ("training-waits", Severity::Warning));
        assert_eq!(only(pod("edge-inference", unschedulable(affinity))).check, "unschedulable");
        assert_eq!(found(vec![pod("edge-inference", unschedulable("pod has unbound immediate PersistentVolumeClaims"))]), []);
    }

    #[test]
    fn an_inferer_without_a_model_is_told_how_to_get_one() {
        let status = |ready: &str| json!({"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]});
        let finding = only(pod("edge-inference", status("False")));
        assert_eq!((finding.check, finding.commands[1].contains("--from=cronjob/edge-training-job")), ("no-model", true));
        assert_eq!(found(vec![pod("edge-inference", status("False")), pod("edge-inference", status("True"))]), []);
    }

    #[test]
    fn trainings_that_never_succeed_are_told() {
        let job = |suspend: bool, status: Value| json!({"metadata": {"name": "edge-training-job", "namespace": "n"}, "spec": {"suspend": suspend}, "status": status});
        let checks =
            |job: Value| look(&Snapshot { cronjobs: vec![job], ..Snapshot::default() }).iter().map(|f| f.check).collect::<Vec<_>>();
        assert_eq!(checks(job(false, json!({"lastScheduleTime": "t"}))), ["no-training-succeeded"]);
        assert_eq!(checks(job(false, json!({"lastScheduleTime": "t", "lastSuccessfulTime": "t"}))), [""; 0]);
        assert_eq!(checks(job(false, json!({}))), [""; 0]);
        assert_eq!(checks(job(true, json!({}))), ["training-suspended"]);
    }
}
