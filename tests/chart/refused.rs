//! Values that must not be accepted, each with the words that say why.

use crate::tools::{asked_for, template, text};

/// `--set …`, and what the refusal says.
const REFUSED: &[(&str, &[&str])] = &[
    // The schema: what is not there, what is of another kind, what makes no sense.
    ("monitor.heartbeatIP=10.0.0.1", &["monitor", "heartbeatIP"]),
    ("inferrence.replicas=2", &["inferrence"]),
    ("monitor.heartbeatIp=gateway.local", &["monitor/heartbeatIp", "pattern"]),
    ("monitor.heartbeatIp=", &["monitor/heartbeatIp", "pattern"]),
    ("monitor.heartbeatIp=10.0.0.1\\,", &["monitor/heartbeatIp", "pattern"]),
    ("monitor.checkIntervalSeconds=0", &["monitor/checkIntervalSeconds", "minimum"]),
    ("monitor.checkIntervalSeconds=often", &["monitor/checkIntervalSeconds", "number"]),
    ("monitor.nodeLabelKey=a/b/c", &["monitor/nodeLabelKey", "pattern"]),
    ("monitor.probe=arp", &["monitor/probe", "auto"]),
    ("monitor.adminPort=80810", &["monitor/adminPort", "maximum"]),
    ("monitor.settings.hold=1", &["propertyName 'hold'"]),
    ("monitor.image.digest=sha256:12", &["monitor/image/digest", "pattern"]),
    ("monitor.enabled=maybe", &["monitor/enabled", "boolean"]),
    ("image.pullPolicy=Sometimes", &["image/pullPolicy", "IfNotPresent"]),
    ("reaper.massShare=2", &["reaper/massShare", "maximum"]),
    ("storage.type=ceph", &["storage/type", "hostPath"]),
    ("storage.size=lots", &["storage/size", "pattern"]),
    ("storage.hostPath.path=data", &["storage/hostPath/path", "pattern"]),
    ("storage.accessMode=ReadOnlyMany", &["storage/accessMode", "ReadWriteMany"]),
    ("runAs.user=0", &["runAs/user", "minimum"]),
    ("training.schedule=hourly", &["training/schedule", "pattern"]),
    ("training.batchSize=0", &["training/batchSize", "minimum"]),
    ("training.epochs=many", &["training/epochs", "integer"]),
    ("training.device=openvino", &["training/device", "pattern"]),
    ("training.backoffLimit=-1", &["training/backoffLimit", "minimum"]),
    ("training.resources.limit.memory=1Gi", &["training/resources", "limit"]),
    ("inference.device=gpu", &["inference/device", "pattern"]),
    ("inference.intervalSeconds=0", &["inference/intervalSeconds", "exclusiveMinimum"]),
    ("inference.service.type=Headless", &["inference/service/type", "ClusterIP"]),
    ("inference.ingress.paths={infer}", &["inference/ingress/paths", "pattern"]),
    ("inference.service.loadBalancerSourceRanges={10.0.0.1}", &["loadBalancerSourceRanges", "pattern"]),
    ("inference.tolerations[0].effect=Never", &["inference/tolerations", "NoSchedule"]),
    ("metrics.monitors.interval=often", &["metrics/monitors/interval", "pattern"]),
    ("fullnameOverride=Edge", &["fullnameOverride", "pattern"]),
    ("fullnameOverride=a-name-that-is-far-too-long-for-a-cronjob", &["fullnameOverride", "maxLength"]),
    ("training=null", &["missing property 'training'"]),
    ("inference.ingress=null,inference.pdb=null", &["inference'", "ingress", "pdb"]),
    // Combinations: the message says what to type.
    ("storage.type=existingClaim", &["--set storage.existingClaim.name=NAME"]),
    ("storage.existingClaim.name=mine", &["--set storage.type=existingClaim"]),
    ("storage.type=nfs", &["storage.nfs.server=HOST,storage.nfs.path=/EXPORT"]),
    ("storage.nfs.server=nas", &["--set storage.type=nfs"]),
    ("storage.accessMode=ReadWriteOnce,inference.replicas=2", &["ReadWriteOnce", "ReadWriteMany"]),
    ("storage.accessMode=ReadWriteOncePod", &["ReadWriteOncePod", "share the volume"]),
    ("storage.accessMode=ReadWriteOncePod,inference.replicas=2,training.enabled=false", &["ReadWriteOncePod", "several pods"]),
    ("inference.autoscaling.enabled=true", &["--set inference.folder=false"]),
    (
        "inference.autoscaling.enabled=true,inference.folder=false,inference.autoscaling.minReplicas=9",
        &["minReplicas is more than maxReplicas"],
    ),
    ("inference.autoscaling.enabled=true,inference.folder=false,inference.autoscaling.cpuPercent=0", &["cpuPercent, inferFps"]),
    ("inference.resultsDir=/data/results", &["--set inference.storeReadOnly=false"]),
    ("inference.resultsDir=/results,inference.folder=false", &["inference.folder is false"]),
    ("monitor.hostNetwork=false,monitor.heartbeatIp=auto", &["--set monitor.hostNetwork=true"]),
    ("training.settings.EPOCHS=3", &["training.settings.EPOCHS", "its own key"]),
    ("inference.settings.MODEL_DIR=/x", &["inference.settings.MODEL_DIR", "its own key"]),
    ("monitor.settings.NODE_NAME=x", &["monitor.settings.NODE_NAME", "its own key"]),
];

#[test]
fn values_that_make_no_sense_are_refused_with_the_reason() {
    if !asked_for() {
        return;
    }
    let mut wrong = Vec::new();
    for (values, words) in REFUSED {
        let output = template("yolo-app", "default", &["--set", values]);
        let said = text(&output.stderr);
        if output.status.success() {
            wrong.push(format!("{values}: accepted"));
        } else if let Some(word) = words.iter().find(|word| !said.replace("'/", "'").contains(**word)) {
            wrong.push(format!("{values}: refused without «{word}»: {said}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("  {} sets of values refused, each for the reason it should be", REFUSED.len());
}
