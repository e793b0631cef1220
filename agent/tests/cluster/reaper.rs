//! The reaper's doubts: what it sees may be a picture, and what is gone may be gone for good.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use serde_json::json;

use crate::cluster::{Cluster, KEY, NAMESPACE, PATIENCE, wait};
use crate::node::{EdgeBox, LEASE, reap_limit};
use crate::renewal::renew;

const MISTAKEN: &str = "edgeloop_reaper_second_looks_total{result=\"mistaken\"}";
const CONFIRMED: &str = "edgeloop_reaper_second_looks_total{result=\"confirmed\"}";
const ONLINE: &str = "edgeloop_reaper_nodes{label=\"online\"}";

/// The connection with the reaper's watch of leases goes silent while the agents go on renewing: first few of them, who are looked at one by
/// one, then a fleet, which is looked at a second time. Nobody is turned offline; when the renewals stop for real, all are.
pub fn mistaken(cluster: &mut Cluster) -> String {
    cluster.delete_nodes();
    let mut figures = Vec::new();
    for (nodes, looks) in [(4_usize, 0.0), (6, 1.0)] {
        let names: Vec<String> = (0..nodes).map(|_| cluster.fresh_name()).collect();
        for name in &names {
            cluster.make_node(name);
            cluster.patch_node(name, json!({"labels": {KEY: "online"}}));
        }
        let renewals = Renewals::start(cluster, &names);
        let relay = cluster.relay("127.0.0.1");
        cluster.start_reaper_with(&relay.addr.to_string(), &[("LEASE_SECONDS", "20")]);
        let metric = |cluster: &Cluster, name: &str| cluster.reaper().metric(name).unwrap_or_default();
        wait("all are known", PATIENCE, || (metric(cluster, ONLINE) == nodes as f64).then_some(()));
        // Its lists came on others.
        wait("one connection talks, that of the watch", PATIENCE, || (relay.busy() == 1).then_some(()));
        relay.freeze_busy();
        let lost = cluster.reaper().log("contact with the API server is lost");
        assert_eq!(lost["why"], "leases have moved that the watch did not show");
        assert_eq!((metric(cluster, MISTAKEN), metric(cluster, CONFIRMED)), (looks, 0.0));
        wait("it is in contact again", PATIENCE, || (metric(cluster, "edgeloop_reaper_in_contact") == 1.0).then_some(()));
        let begin = Instant::now();
        wait("and for two leases more nobody is offline", Duration::from_secs_f64(LEASE * 3.0), || {
            assert!(names.iter().all(|name| cluster.label(name).as_deref() == Some("online")));
            (begin.elapsed().as_secs_f64() > LEASE * 2.0).then_some(())
        });

        drop(renewals);
        let stopped = Instant::now();
        let last = names.iter().map(|name| cluster.label_within(name, "offline", stopped, reap_limit())).max().unwrap();
        assert_eq!((metric(cluster, MISTAKEN), metric(cluster, CONFIRMED)), (looks, looks));
        figures.push(format!(
            "watch frozen: none of {nodes} flipped; renewals stopped: all offline after {:.2} s (limit {:.0})",
            last.as_secs_f64(),
            reap_limit().as_secs_f64()
        ));
        cluster.stop_reaper();
        cluster.delete_nodes();
    }
    figures.join("; ")
}

/// Keeps leases alive.
struct Renewals {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Renewals {
    /// The first round is over when it returns.
    fn start(cluster: &Cluster, names: &[String]) -> Self {
        let (client, names, stop) = (cluster.client.clone(), names.to_vec(), Arc::<AtomicBool>::default());
        names.iter().for_each(|name| cluster.block_on(renew(&client, name, TimeDelta::zero())));
        let (handle, ended) = (cluster.handle(), stop.clone());
        let thread = std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                names.iter().for_each(|name| handle.block_on(renew(&client, name, TimeDelta::zero())));
                std::thread::park_timeout(Duration::from_millis(300));
            }
        });
        Renewals { stop, thread: Some(thread) }
    }
}

impl Drop for Renewals {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

pub fn forgotten(cluster: &mut Cluster) -> String {
    let forget = 12.0;
    let mut edge = EdgeBox::started(cluster);
    edge.online(cluster);
    let server = cluster.server.clone();
    cluster.start_reaper_with(&server, &[("LEASE_SECONDS", "20"), ("FORGET_SECONDS", &forget.to_string())]);
    let killed = Instant::now();
    edge.agent().kill();
    cluster.label_within(&edge.name, "offline", killed, reap_limit());
    let limit = Duration::from_secs_f64(forget + 5.0);
    wait("all of it goes", limit.saturating_sub(killed.elapsed()), || {
        let node = cluster.node(&edge.name)?.metadata;
        let ours = [node.labels, node.annotations].into_iter().flatten().flatten().any(|(key, _)| key.starts_with(KEY));
        let lease =
            cluster.kubectl_out(&["get", "lease", "-n", NAMESPACE, "-o", "name"]).contains(&format!("edgeloop-agent-{}\n", edge.name));
        (!ours && !lease).then_some(())
    });
    let gone = killed.elapsed();
    assert_eq!(cluster.node(&edge.name).unwrap().metadata.labels.unwrap()["somebody"], "else", "what others set stays");
    // Nor is it gone for good.
    edge.start(cluster);
    edge.online(cluster);
    format!("silent for {forget} s: label, annotations and lease gone after {:.2} s; the agent back: online", gone.as_secs_f64())
}
