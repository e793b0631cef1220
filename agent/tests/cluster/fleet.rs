//! A large fleet that is pretended: Nodes of 20 kB each that kwok keeps, and a load generator that renews their agents' Leases. `FLEET`
//! nodes (500).

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::cluster::{Cluster, KEY, NAMESPACE, PATIENCE, wait};
use crate::kwok::{FLEET, Kwok};
use crate::{kwok, requests};

/// As installed: renewed each 15 s, good for 45 s.
const INTERVAL: Duration = Duration::from_secs(15);
const LEASE: Duration = Duration::from_secs(45);
/// Whose leases stop.
const STOPPED: usize = 200;
/// After their leases have run out.
const LIMIT: Duration = Duration::from_secs(10);
const ONLINE: &str = "edgeloop_reaper_nodes{label=\"online\"}";
const RSS_LIMIT_MIB: f64 = 64.0;

pub fn reaped(cluster: &mut Cluster) -> String {
    let nodes: usize = std::env::var("FLEET").ok().map_or(500, |count| count.parse().expect("FLEET is a number"));
    assert!(nodes > STOPPED);
    cluster.stop_reaper();
    let names: Arc<Vec<String>> = Arc::new((0..nodes).map(|i| format!("fleet-{i:05}")).collect());
    let pretender = Kwok::with_nodes(cluster, &names);
    let load = Load::start(cluster, names.clone());
    wait("all leases are there", PATIENCE * 3, || (load.last.lock().unwrap().len() >= nodes).then_some(()));
    requests::count_apart(cluster);
    cluster.start_reaper("45");
    wait("the reaper knows them all", PATIENCE, || {
        let leases = cluster.reaper().metric("edgeloop_reaper_leases")?;
        let online = cluster.reaper().metric(ONLINE)?;
        (leases >= nodes as f64 && online >= nodes as f64).then_some(())
    });

    // At rest.
    let rest = Duration::from_secs(30);
    let before = requests::of_reaper(cluster);
    std::thread::sleep(rest);
    let at_rest = (requests::of_reaper(cluster) - before) / rest.as_secs_f64();
    let (rss_rest, _) = cluster.reaper_memory();

    // The leases of 200 stop. Each has its own moment, so what counts is from the last renewal of the last of them.
    let before = requests::of_reaper(cluster);
    let before_stop = cluster.reaper().metric(ONLINE).unwrap();
    load.stop_some.store(true, Ordering::Relaxed);
    let stopped = Instant::now();
    let limit = INTERVAL + LEASE + LIMIT;
    let mut most = 0.0_f64;
    // By the reaper's own count: a list of so large nodes twice a second would be the larger load.
    let wanted = before_stop - STOPPED as f64;
    let offline = wait(&format!("{STOPPED} are offline"), limit, || {
        most = most.max(cluster.reaper_memory().0);
        (cluster.reaper().metric(ONLINE)? <= wanted).then(Instant::now)
    });
    let (count, wrong) = cluster.block_on(self::offline(&cluster.client, &names));
    assert_eq!((count, wrong), (STOPPED, 0), "those that stopped, and none of those that are renewed");
    // Most had their last renewal before the stop.
    let after = offline.saturating_duration_since(load.last_of_stopped() + LEASE);
    let storm = (requests::of_reaper(cluster) - before) / (offline - stopped).as_secs_f64();
    let (_, peak) = cluster.reaper_memory();
    assert_eq!(kwok::kept(cluster, &names), nodes, "nodes that kwok has kept all the while");
    assert!(after <= LIMIT, "the last one offline {after:?} after its lease ran out");
    assert!(most.max(peak) <= RSS_LIMIT_MIB, "{peak} MiB");
    let report = json!({
        "nodes": nodes, "stopped": STOPPED, "reaper_rss_mib": rss_rest, "reaper_peak_rss_mib": peak, "requests_per_second_at_rest": at_rest,
        "requests_per_second_storm": storm, "offline_seconds_after_lease": after.as_secs_f64(), "limit_seconds": LIMIT.as_secs_f64(),
    });
    crate::save("fleet", &report);
    drop((load, pretender));
    cluster.stop_reaper();
    cluster.kubectl(&["delete", "nodes", "-l", FLEET, "--wait=false"]);
    cluster.kubectl(&["delete", "leases", "-n", NAMESPACE, "-l", FLEET, "--wait=false"]);
    report.to_string()
}

/// How many of those to stop are offline, and how many of the others.
async fn offline(client: &kube::Client, names: &[String]) -> (usize, usize) {
    let api: Api<Node> = Api::all(client.clone());
    let selector = format!("{FLEET},{KEY}=offline");
    let list = api.list_metadata(&ListParams::default().labels(&selector)).await.unwrap();
    let wrong = list.items.iter().filter(|node| node.metadata.name.as_ref().is_some_and(|name| names[STOPPED..].contains(name))).count();
    (list.items.len() - wrong, wrong)
}

/// Renews the lease of each node once an interval.
struct Load {
    stop: Arc<AtomicBool>,
    stop_some: Arc<AtomicBool>,
    last: Arc<std::sync::Mutex<BTreeMap<usize, Instant>>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Load {
    fn start(cluster: &Cluster, names: Arc<Vec<String>>) -> Self {
        let (stop, stop_some) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let last = Arc::<std::sync::Mutex<BTreeMap<usize, Instant>>>::default();
        let mut load = Load { stop: stop.clone(), stop_some: stop_some.clone(), last: last.clone(), thread: None };
        let kubeconfig = cluster.admin();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await.unwrap();
                let client = kube::Client::try_from(config).unwrap();
                let api: Api<Lease> = Api::namespaced(client, NAMESPACE);
                // The first turn makes them, as fast as it can.
                let made = names.iter().enumerate().map(|(i, name)| {
                    let (api, last) = (&api, &last);
                    async move {
                        renew(api, name).await;
                        last.lock().unwrap().insert(i, Instant::now());
                    }
                });
                stream::iter(made).buffer_unordered(16).collect::<()>().await;
                let begin = Instant::now();
                for turn in 0_u32.. {
                    for (i, name) in names.iter().enumerate() {
                        // Spread over the interval, as jitter spreads a real fleet.
                        let due = begin + INTERVAL * turn + INTERVAL.mul_f64(i as f64 / names.len() as f64);
                        tokio::time::sleep_until(due.into()).await;
                        if stop.load(Ordering::Relaxed) {
                            return;
                        }
                        if i < STOPPED && stop_some.load(Ordering::Relaxed) {
                            continue;
                        }
                        let (api, last, name) = (api.clone(), last.clone(), name.clone());
                        tokio::spawn(async move {
                            renew(&api, &name).await;
                            last.lock().unwrap().insert(i, Instant::now());
                        });
                    }
                }
            });
        });
        load.thread = Some(thread);
        load
    }

    fn last_of_stopped(&self) -> Instant {
        self.last.lock().unwrap().range(..STOPPED).map(|(_, at)| *at).max().unwrap()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn renew(api: &Api<Lease>, node: &str) {
    let name = format!("edgeloop-agent-{node}");
    let labels = json!({"app.kubernetes.io/managed-by": "edgeloop-agent", "edgeloop-fleet": "pretended"});
    let time = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
    let lease = json!({
        "metadata": {"name": name, "labels": labels}, "spec": {"holderIdentity": node, "leaseDurationSeconds": LEASE.as_secs(), "renewTime": time},
    });
    match api.patch(&name, &PatchParams::default(), &Patch::Merge(&lease)).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.code == 404 => {
            api.create(&PostParams::default(), &serde_json::from_value(lease).unwrap()).await.unwrap();
        }
        Err(error) => panic!("{name}: {error}"),
    }
}

/// `make bench-agent`: one agent with everything on, as installed, left alone for `REST_SECONDS` (300).
pub fn at_rest(cluster: &mut Cluster) -> String {
    let seconds: u64 = std::env::var("REST_SECONDS").ok().map_or(300, |seconds| seconds.parse().expect("REST_SECONDS is a number"));
    let mut edge = crate::node::EdgeBox::new(cluster);
    edge.start_with(cluster, &[("CHECK_INTERVAL_SECONDS", "15"), ("LEASE_SECONDS", "45")]);
    edge.online(cluster);
    let pid = edge.agent().pid();
    let begin = crate::node::cpu_seconds(pid);
    std::thread::sleep(Duration::from_secs(seconds));
    let cpu = (crate::node::cpu_seconds(pid) - begin) / seconds as f64 * 100.0;
    let (rss, peak) = crate::node::memory_mib(pid);
    let stripped = cluster.dir.path().join("stripped");
    let done = Command::new("strip").arg("-o").arg(&stripped).arg(crate::cluster::agent_binary()).status().unwrap();
    assert!(done.success());
    let size = std::fs::metadata(&stripped).unwrap().len() as f64 / (1 << 20) as f64;
    let report = json!({"seconds": seconds, "rss_mib": rss, "peak_rss_mib": peak, "cpu_percent_of_a_core": cpu, "stripped_mib": size});
    crate::save("agent", &report);
    assert!(rss <= 12.0 && cpu <= 0.05, "{report}");
    report.to_string()
}
