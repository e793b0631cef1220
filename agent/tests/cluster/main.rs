//! Agent, reaper and uninstall against a real API server: `make test-cluster`. The cluster is that of `KUBECONFIG`, or one that
//! `scripts/cluster` builds once and starts here; what needs the API server stopped is left out on the former.
//!
//! Promises that mostly wait run side by side, each lane of them in a cluster of its own; on a cluster of `KUBECONFIG` one after the other.
//!
//! Nodes are objects that nobody runs; each has an agent in a network namespace of its own with two links, one to the «gateway», which is
//! the other end of it, and one to the API server. That needs root.
#![allow(clippy::unwrap_used)]

mod cluster;
mod faults;
mod fleet;
mod guard;
mod kwok;
mod labels;
mod node;
mod reaper;
mod relay;
mod renewal;
mod requests;
mod uninstall;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use cluster::Cluster;

/// One promise: a name, what it needs beside a cluster, and what keeps it and tells its figures.
type Promise = (&'static str, Needs, fn(&mut Cluster) -> String);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    Nothing,
    /// It stops the API server.
    OwnCluster,
    Kwok,
}

/// What runs one after the other, in one cluster; the name is its thread's.
struct Lane(&'static str, &'static [Promise]);

/// Waves of lanes that run side by side, at most three: two cores carry no more. The fleet is the load, so what has tight limits is in
/// another wave, in the lane that starts last, when the clusters of its neighbours are up.
const WAVES: &[&[Lane]] = &[
    &[
        Lane(
            "upgrade",
            &[
                ("rolling_upgrade_with_a_gap_of_60_s", Needs::Nothing, faults::rolling_upgrade),
                ("clock_skew_of_an_hour", Needs::Nothing, faults::clock_skew),
            ],
        ),
        Lane("fleet", &[("fleet_of_pretended_nodes", Needs::Kwok, fleet::reaped)]),
    ],
    &[
        Lane("api", &[("api_server_stopped", Needs::OwnCluster, faults::api_server_stopped)]),
        Lane(
            "doubts",
            &[
                ("a_watch_that_hangs_flips_nobody", Needs::Nothing, reaper::mistaken),
                ("an_agent_that_is_gone_for_good_leaves_nothing", Needs::Nothing, reaper::forgotten),
            ],
        ),
        Lane(
            "latencies",
            &[
                ("label_within_an_interval_and_gateway_cut_and_back", Needs::Nothing, labels::gateway_cut_and_back),
                ("undone_labels_and_nodes_made_anew", Needs::Nothing, labels::undone),
                ("own_token_writes_own_keys_of_own_node_only", Needs::Nothing, guard::tokens),
                ("both_links_cut", Needs::Nothing, faults::both_links_cut),
                ("agent_killed", Needs::Nothing, faults::agent_killed),
                // Last: it removes what the others stand on.
                ("uninstall_leaves_nothing", Needs::Nothing, uninstall::leaves_nothing),
            ],
        ),
    ],
];

/// Measurements that run only when they are named.
const BENCHES: Lane = Lane("bench", &[("bench_agent_at_rest", Needs::Nothing, fleet::at_rest)]);

/// Keeps the figures of a bench, `BENCH_OUT/<name>.json`.
fn save(name: &str, report: &serde_json::Value) {
    if let Some(dir) = std::env::var_os("BENCH_OUT") {
        let dir = std::path::PathBuf::from(dir);
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join(format!("{name}.json")), format!("{report:#}\n")).unwrap();
    }
}

fn main() -> ExitCode {
    if std::env::var_os("EDGELOOP_TEST_CLUSTER").is_none() {
        println!("cluster tests: not asked for (`make test-cluster` runs them)");
        return ExitCode::SUCCESS;
    }
    if let Some(missing) = missing() {
        println!("cluster tests: SKIPPED, {missing}");
        // CI must see them run.
        return ExitCode::from(u8::from(in_ci()));
    }
    let only: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let chosen = |promise: &&'static Promise| only.is_empty() || only.iter().any(|part| promise.0.contains(part.as_str()));
    let pick = |lane: &'static Lane| (lane.0, lane.1.iter().filter(chosen).collect::<Vec<_>>());
    let mut waves: Vec<Vec<_>> = WAVES.iter().map(|wave| wave.iter().map(pick).collect()).collect();
    if cluster::foreign().is_some() {
        let all = waves.into_iter().flatten().flat_map(|(_, promises)| promises).collect();
        waves = vec![vec![("all", all)]];
    }
    if !only.is_empty() {
        waves.push(vec![pick(&BENCHES)]);
    }
    let begin = Instant::now();
    let failed: Vec<_> = waves.into_iter().flat_map(keep_side_by_side).collect();
    println!("cluster tests: {:.0} s", begin.elapsed().as_secs_f64());
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("failed: {}", failed.join(", "));
    ExitCode::FAILURE
}

/// Each lane in a cluster of its own; those that failed.
fn keep_side_by_side(lanes: Vec<(&'static str, Vec<&'static Promise>)>) -> Vec<&'static str> {
    std::thread::scope(|scope| {
        let lanes = lanes.into_iter().filter(|(_, promises)| !promises.is_empty());
        let threads = lanes.map(|(name, promises)| {
            let cluster = Cluster::start();
            std::thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, move || keep_all(cluster, &promises)).unwrap()
        });
        let threads: Vec<_> = threads.collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

fn keep_all(mut cluster: Cluster, promises: &[&'static Promise]) -> Vec<&'static str> {
    let mut failed = Vec::new();
    for (name, needs, keep) in promises {
        if let Some((lack, excused)) = lack(*needs, &cluster) {
            println!("{name}: SKIPPED, {lack}");
            // CI must see them run.
            if in_ci() && !excused {
                failed.push(*name);
            }
            continue;
        }
        let begin = Instant::now();
        // The harness of one promise must not take the others with it.
        let kept = catch_unwind(AssertUnwindSafe(|| keep(&mut cluster)));
        let seconds = begin.elapsed().as_secs_f64();
        if let Ok(figures) = kept {
            println!("{name}: ok ({seconds:.1} s)\n  {figures}");
        } else {
            println!("{name}: FAILED ({seconds:.1} s)");
            failed.push(*name);
        }
    }
    failed
}

/// What a promise lacks here, and whether that is in order.
fn lack(needs: Needs, cluster: &Cluster) -> Option<(&'static str, bool)> {
    match needs {
        Needs::OwnCluster if cluster.is_foreign() => Some(("the API server of KUBECONFIG is not ours to stop", true)),
        Needs::Kwok if kwok::program().is_none() => Some(("building kwok needs Go", false)),
        _ => None,
    }
}

fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|ci| ci == "true")
}

/// What this machine lacks.
fn missing() -> Option<&'static str> {
    let runs = |program: &str, args: &[&str]| {
        Command::new(program).args(args).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    };
    if !runs("unshare", &["-n", "ip", "link", "set", "lo", "up"]) {
        return Some("making network namespaces needs root, unshare and ip");
    }
    let own = cluster::foreign().is_some();
    if own && !runs("kubectl", &["version", "--client"]) {
        return Some("KUBECONFIG is set and there is no kubectl");
    }
    if !own && !runs("go", &["version"]) && !runs(cluster::SCRIPT, &["built"]) {
        return Some("building Kubernetes needs Go; or set KUBECONFIG to a cluster of yours");
    }
    None
}
