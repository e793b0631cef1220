//! Which nodes are online, and why not.

use serde_json::Value;

use super::Snapshot;
use super::snapshot::{annotation, label, list, name, text};
use crate::doctor::finding::{Finding, Severity};

/// The gateway was asked and did not answer.
const SILENT: [&str; 3] = ["no_reply", "host_unreachable", "no_route"];

pub fn look(snapshot: &Snapshot) -> Vec<Finding> {
    let key = &snapshot.key;
    let labels = format!("kubectl get nodes -L {key}");
    if snapshot.pods_of("component", "monitor").next().is_none() {
        let what = "no agent runs: there is no pod with the label component=monitor, so no node is ever labelled";
        return vec![Finding::error("no-agent", what).command("kubectl get daemonset -A | grep edge-ml-monitor").command("helm list -A")];
    }
    let labelled: Vec<&Value> = snapshot.nodes.iter().filter(|node| !label(node, key).is_empty()).collect();
    if labelled.is_empty() {
        let what = format!("no node has the label {key}: the agents have not come to a verdict or may not write it");
        return vec![Finding::error("no-node-labelled", what).command(labels).command("kubectl logs -l component=monitor --tail=20")];
    }
    let offline: Vec<&Value> = labelled.iter().copied().filter(|node| label(node, key) != "online").collect();
    let reason = |node: &Value| annotation(node, &format!("{key}-reason")).to_owned();
    if offline.len() < labelled.len() {
        let told = |node: &&Value| format!("{} ({})", name(node), reason(node));
        let note = |node| Finding::new(Severity::Note, "node-offline", format!("node {} is offline; nothing trains there", told(node)));
        return offline.iter().map(note).collect();
    }
    let mut reasons: Vec<String> = offline.iter().map(|node| reason(node)).collect();
    reasons.sort();
    reasons.dedup();
    let why = reasons.join(", ");
    let targets = targets(snapshot);
    if reasons.iter().all(|reason| SILENT.contains(&reason.as_str())) {
        let what = format!(
            "no node is online: the gateway {targets} does not answer any of {} nodes ({why}); is it the right one?",
            offline.len()
        );
        return vec![
            Finding::error("wrong-gateway", what)
                .command("ip route show default        # on a node: what its gateway is")
                .command("helm upgrade yolo-app ./chart --reuse-values --set monitor.heartbeatIp=GATEWAY"),
        ];
    }
    let finding = Finding::error("no-node-online", format!("no node is online ({why}); nothing trains")).command(labels);
    vec![match reasons.iter().any(|reason| reason == "lease_expired") {
        true => finding.command("kubectl get pods -l component=monitor -o wide        # their agents are silent: do they run?"),
        false => finding.command("kubectl logs -l component=monitor --tail=20"),
    }]
}

/// What the agents were told to ask.
fn targets(snapshot: &Snapshot) -> String {
    let env = snapshot.pods_of("component", "monitor").flat_map(|pod| list(pod, "/spec/containers")).flat_map(|c| list(c, "/env"));
    let value = |variable: &Value| text(variable, "/value").to_owned();
    env.filter(|variable| text(variable, "/name") == "HEARTBEAT_IP").map(value).next().unwrap_or_else(|| "192.168.1.1 (the default)".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const KEY: &str = "myapp.com/network-status";

    fn snapshot(nodes: &[(&str, &str, &str)]) -> Snapshot {
        let node = |(name, status, reason): &(&str, &str, &str)| {
            let labels = if status.is_empty() { json!({}) } else { json!({KEY: status}) };
            json!({"metadata": {"name": name, "labels": labels, "annotations": {format!("{KEY}-reason"): reason}}})
        };
        let env = json!([{"name": "HEARTBEAT_IP", "value": "10.9.8.7"}]);
        let agent = json!({"metadata": {"name": "m", "labels": {"component": "monitor"}}, "spec": {"containers": [{"env": env}]}});
        Snapshot { key: KEY.into(), nodes: nodes.iter().map(node).collect(), pods: vec![agent], ..Snapshot::default() }
    }

    fn checks(snapshot: &Snapshot) -> Vec<(&'static str, Severity)> {
        look(snapshot).iter().map(|finding| (finding.check, finding.severity)).collect()
    }

    #[test]
    fn a_node_that_is_cut_off_is_no_trouble_while_another_is_online() {
        assert_eq!(checks(&snapshot(&[("a", "online", "gateway_replied")])), []);
        let one = snapshot(&[("a", "online", "gateway_replied"), ("b", "offline", "no_reply"), ("c", "", "")]);
        assert_eq!(checks(&one), [("node-offline", Severity::Note)]);
        assert!(look(&one)[0].what.contains("b (no_reply)"));
    }

    #[test]
    fn without_agents_or_labels_nothing_can_be_online() {
        assert_eq!(checks(&snapshot(&[("a", "", "")])), [("no-node-labelled", Severity::Error)]);
        let none = Snapshot { pods: vec![], ..snapshot(&[("a", "online", "gateway_replied")]) };
        assert_eq!(checks(&none), [("no-agent", Severity::Error)]);
    }

    #[test]
    fn a_gateway_that_answers_nobody_is_the_wrong_one() {
        let found = look(&snapshot(&[("a", "offline", "no_reply"), ("b", "offline", "no_route")]));
        assert_eq!((found.len(), found[0].check), (1, "wrong-gateway"));
        assert!(found[0].what.contains("10.9.8.7") && found[0].what.contains("2 nodes"), "{found:?}");
        assert!(found[0].commands.iter().any(|c| c.contains("monitor.heartbeatIp=")));
    }

    #[test]
    fn silent_agents_are_looked_for_first() {
        let found = look(&snapshot(&[("a", "offline", "lease_expired"), ("b", "offline", "no_reply")]));
        assert_eq!(found[0].check, "no-node-online");
        assert!(found[0].commands.iter().any(|c| c.contains("silent")), "{found:?}");
        assert_eq!(checks(&snapshot(&[("a", "offline", "probe_failed")])), [("no-node-online", Severity::Error)]);
    }
}
