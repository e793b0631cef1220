//! Agent, reaper and uninstall against a real API server: `make test-cluster`. The cluster is that of `KUBECONFIG`, or one that
//! `scripts/cluster` builds once and starts here; what needs the API server stopped is left out on the former.
//!
//! Nodes are objects that nobody runs; each has an agent in a network namespace of its own with two links, one to the «gateway», which is
//! the other end of it, and one to the API server. That needs root.
#![allow(clippy::unwrap_used)]

mod cluster;
mod faults;
mod fleet;
mod guard;
mod labels;
mod node;
mod reaper;
mod relay;
mod renewal;
mod uninstall;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use cluster::Cluster;

/// One promise: a name, whether it stops the API server, and what keeps it.
type Promise = (&'static str, bool, fn(&mut Cluster));

const PROMISES: &[Promise] = &[
    ("label_within_an_interval_and_gateway_cut_and_back", false, labels::gateway_cut_and_back),
    ("undone_labels_and_nodes_made_anew", false, labels::undone),
    ("own_token_writes_own_keys_of_own_node_only", false, guard::tokens),
    ("both_links_cut", false, faults::both_links_cut),
    ("agent_killed", false, faults::agent_killed),
    ("clock_skew_of_an_hour", false, faults::clock_skew),
    ("rolling_upgrade_with_a_gap_of_60_s", false, faults::rolling_upgrade),
    ("api_server_stopped", true, faults::api_server_stopped),
    ("a_watch_that_hangs_flips_nobody", false, reaper::mistaken),
    ("an_agent_that_is_gone_for_good_leaves_nothing", false, reaper::forgotten),
    ("fleet_of_pretended_nodes", false, fleet::reaped),
    // Last: it removes what the others stand on.
    ("uninstall_leaves_nothing", false, uninstall::leaves_nothing),
];

/// Measurements that run only when they are named.
const BENCHES: &[Promise] = &[("bench_agent_at_rest", false, fleet::at_rest)];

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
    let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
    if let Some(missing) = missing() {
        println!("cluster tests: SKIPPED, {missing}");
        // CI must see them run.
        return ExitCode::from(u8::from(ci));
    }
    let only: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let mut cluster = Cluster::start();
    let mut failed = Vec::new();
    let named = |name: &str| only.iter().any(|part| name.contains(part.as_str()));
    let promises = PROMISES.iter().filter(|(name, ..)| only.is_empty() || named(name));
    for (name, stops_api, keep) in promises.chain(BENCHES.iter().filter(|(name, ..)| named(name))) {
        if *stops_api && cluster.is_foreign() {
            println!("{name}: SKIPPED, the API server of KUBECONFIG is not ours to stop");
            continue;
        }
        let begin = Instant::now();
        // The harness of one promise must not take the others with it.
        let kept = catch_unwind(AssertUnwindSafe(|| keep(&mut cluster))).is_ok();
        println!("{name}: {} ({:.1} s)", if kept { "ok" } else { "FAILED" }, begin.elapsed().as_secs_f64());
        if !kept {
            failed.push(*name);
        }
    }
    drop(cluster);
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("failed: {}", failed.join(", "));
    ExitCode::FAILURE
}

/// What this machine lacks.
fn missing() -> Option<&'static str> {
    let runs = |program: &str, args: &[&str]| {
        Command::new(program).args(args).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    };
    if !runs("unshare", &["-n", "ip", "link", "set", "lo", "up"]) {
        return Some("making network namespaces needs root, unshare and ip");
    }
    let own = std::env::var("KUBECONFIG").is_ok_and(|path| !path.is_empty());
    if own && !runs("kubectl", &["version", "--client"]) {
        return Some("KUBECONFIG is set and there is no kubectl");
    }
    if !own && !runs("go", &["version"]) && !runs(cluster::SCRIPT, &["built"]) {
        return Some("building Kubernetes needs Go; or set KUBECONFIG to a cluster of yours");
    }
    None
}
