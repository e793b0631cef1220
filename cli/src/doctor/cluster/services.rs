//! Services of type LoadBalancer that get no address, and addresses that two of them claim.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Snapshot;
use super::snapshot::{annotation, list, name, namespace, text};
use crate::doctor::finding::Finding;

/// Where people write the address that a Service is to have, besides `spec.loadBalancerIP`: MetalLB's names, new and old.
const WANTED: [&str; 2] = ["metallb.io/loadBalancerIPs", "metallb.universe.tf/loadBalancerIPs"];
/// Services with the same value here may share an address.
const SHARED: [&str; 2] = ["metallb.io/allow-shared-ip", "metallb.universe.tf/allow-shared-ip"];

pub fn look(snapshot: &Snapshot) -> Vec<Finding> {
    let balanced = || snapshot.services.iter().filter(|service| text(service, "/spec/type") == "LoadBalancer");
    let mut found: Vec<Finding> = balanced().filter_map(|service| pending(snapshot, service)).collect();
    let mut claimed: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    for service in balanced() {
        for address in addresses(service) {
            claimed.entry(address).or_default().push(service);
        }
    }
    for (address, services) in claimed {
        let key =
            |service: &Value| SHARED.iter().map(|key| annotation(service, key)).find(|key| !key.is_empty()).unwrap_or_default().to_owned();
        let [first, others @ ..] = services.as_slice() else { continue };
        let share = |other: &&Value| !key(first).is_empty() && key(first) == key(other);
        if others.iter().all(share) {
            continue;
        }
        let names: Vec<String> = services.iter().map(|service| full(service)).collect();
        let what = format!("the address {address} is claimed by {}: whoever comes second gets none", names.join(" and "));
        let last = services.last().unwrap_or(first);
        found.push(
            Finding::error("address-claimed-twice", what)
                .command(format!("kubectl delete svc {} -n {}        # if it is the redundant one", name(last), namespace(last)))
                .command(format!(
                    "kubectl annotate svc -n NAMESPACE NAME {}=KEY        # on each of them: one key if their ports differ",
                    SHARED[0]
                )),
        );
    }
    found
}

/// Those that it has and those that it wants.
fn addresses(service: &Value) -> std::collections::BTreeSet<String> {
    let has = list(service, "/status/loadBalancer/ingress").iter().map(|ingress| text(ingress, "/ip"));
    let wants = WANTED.iter().flat_map(|key| annotation(service, key).split(','));
    has.chain(wants).chain([text(service, "/spec/loadBalancerIP")]).map(str::trim).filter(|a| !a.is_empty()).map(str::to_owned).collect()
}

fn full(service: &Value) -> String {
    format!("{}/{}", namespace(service), name(service))
}

fn pending(snapshot: &Snapshot, service: &Value) -> Option<Finding> {
    if !list(service, "/status/loadBalancer/ingress").is_empty() {
        return None;
    }
    let describe = format!("kubectl describe svc {} -n {}", name(service), namespace(service));
    let Some(event) = snapshot.event("Service", service, &["AllocationFailed"]) else {
        let what = format!("the Service {} waits for an address (<pending>): nothing in this cluster gives it one", full(service));
        let finding = Finding::warning("load-balancer-pending", what).command(describe);
        return Some(finding.command(
            "kubectl get pods -A | grep -i -e svclb -e metallb        # k3s brings its own, elsewhere install MetalLB; or use NodePort",
        ));
    };
    let message = text(event, "/message");
    let finding =
        Finding::error("load-balancer-refused", format!("the Service {} gets no address: {message}", full(service))).command(describe);
    let other = message.split_once("address also in use by ").and_then(|(_, rest)| rest.split([' ', ',', '"']).next()?.split_once('/'));
    Some(match other {
        Some((namespace, name)) => {
            finding.command(format!("kubectl delete svc {name} -n {namespace}        # if it is redundant: it holds the address"))
        }
        None => finding,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn service(namespace: &str, name: &str, wants: &str, has: &str, key: &str) -> Value {
        let ingress = if has.is_empty() { json!([]) } else { json!([{"ip": has}]) };
        json!({"metadata": {"namespace": namespace, "name": name, "annotations": {"metallb.io/loadBalancerIPs": wants, "metallb.io/allow-shared-ip": key}},
            "spec": {"type": "LoadBalancer"}, "status": {"loadBalancer": {"ingress": ingress}}})
    }

    fn found(services: Vec<Value>, events: Vec<Value>) -> Vec<Finding> {
        look(&Snapshot { services, events, ..Snapshot::default() })
    }

    #[test]
    fn a_service_without_an_address_is_told() {
        let all = found(vec![service("d", "edge-inference", "", "", "")], vec![]);
        assert_eq!((all.len(), all[0].check), (1, "load-balancer-pending"));
        let inside = json!({"metadata": {"name": "a"}, "spec": {"type": "ClusterIP"}});
        assert_eq!(found(vec![service("d", "edge-inference", "", "10.0.0.9", ""), inside], vec![]), []);
    }

    #[test]
    fn an_address_that_is_refused_names_who_holds_it() {
        let message = "can't change sharing key for \"kube-system/traefik\", address also in use by frigate/frigate-webrtc-udp";
        let event = json!({"involvedObject": {"kind": "Service", "namespace": "kube-system", "name": "traefik"}, "reason": "AllocationFailed", "message": message});
        let all = found(vec![service("kube-system", "traefik", "", "", "")], vec![event]);
        assert_eq!((all.len(), all[0].check), (1, "load-balancer-refused"));
        assert!(all[0].commands[1].starts_with("kubectl delete svc frigate-webrtc-udp -n frigate"), "{all:?}");
    }

    #[test]
    fn two_services_that_claim_one_address_are_both_named() {
        let (first, second) = (service("a", "x", "10.0.0.9", "10.0.0.9", ""), service("b", "y", "10.0.0.9", "10.0.0.8", ""));
        let all = found(vec![first, second], vec![]);
        assert_eq!((all.len(), all[0].check), (1, "address-claimed-twice"));
        assert!(all[0].what.contains("a/x and b/y"), "{all:?}");
    }

    #[test]
    fn services_with_one_sharing_key_may_share() {
        let shared = |name, key| service("a", name, "10.0.0.9", "10.0.0.9", key);
        assert_eq!(found(vec![shared("tcp", "k"), shared("udp", "k")], vec![]), []);
        assert_eq!(found(vec![shared("tcp", "k"), shared("udp", "other")], vec![]).len(), 1);
    }
}
