//! What goes wrong at the edge, and who says so.

use std::time::{Duration, Instant};

use chrono::TimeDelta;
use serde_json::json;

use crate::cluster::{Cluster, KEY, PATIENCE, wait};
use crate::node::{EdgeBox, INTERVAL, LEASE, TIMEOUT, reap_limit};
use crate::renewal::renew;

/// Node without its own Lease yet; long enough for the agent to have made it.
const NO_LEASE: &str = "20";

fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}

/// Looks all the time for so long: the label never says anything but `online`.
fn never_offline(cluster: &Cluster, names: &[&str], span: Duration) {
    let begin = Instant::now();
    while begin.elapsed() < span {
        for name in names {
            // The API server may be away: then nothing is to be seen, and the Events tell afterwards.
            if let Some(label) = cluster.label(name) {
                assert_eq!(label, "online", "{name} after {}", seconds(begin.elapsed()));
            }
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Neither now nor in between.
fn has_not_flipped(cluster: &Cluster, name: &str, since: &str) {
    assert_eq!(cluster.label(name).as_deref(), Some("online"));
    assert_eq!(cluster.annotation(name, "since").as_deref(), Some(since));
    assert_eq!(cluster.events(name), ["NetworkOnline"]);
}

pub fn both_links_cut(cluster: &mut Cluster) -> String {
    let edge = EdgeBox::started(cluster);
    edge.online(cluster);
    cluster.start_reaper(NO_LEASE);
    edge.cut("ga");
    let off = cluster.label_within(&edge.name, "offline", Instant::now(), reap_limit());
    assert_eq!(cluster.annotation(&edge.name, "reason").unwrap(), "lease_expired");
    assert!(cluster.annotation(&edge.name, "rtt-ms").is_none());
    edge.plug("ga");
    let back = cluster.label_within(&edge.name, "online", Instant::now(), PATIENCE);
    format!("both links cut: offline after {} (limit {}); plugged in: online after {}", seconds(off), seconds(reap_limit()), seconds(back))
}

pub fn agent_killed(cluster: &mut Cluster) -> String {
    let mut edge = EdgeBox::started(cluster);
    edge.online(cluster);
    cluster.start_reaper(NO_LEASE);
    edge.agent().kill();
    let off = cluster.label_within(&edge.name, "offline", Instant::now(), reap_limit());
    wait("its Event", PATIENCE, || cluster.events(&edge.name).contains(&"NetworkOffline".to_owned()).then_some(()));
    format!("agent killed: offline after {} (limit {})", seconds(off), seconds(reap_limit()))
}

/// Renewals whose time is an hour off, both ways, beside an agent that is killed: only that one goes offline.
pub fn clock_skew(cluster: &mut Cluster) -> String {
    let skewed: Vec<(String, TimeDelta)> = [-1, 1].map(|hours| (cluster.fresh_name(), TimeDelta::hours(hours))).into();
    for (name, skew) in &skewed {
        cluster.make_node(name);
        cluster.patch_node(name, json!({"labels": {KEY: "online"}}));
        cluster.block_on(renew(&cluster.client, name, *skew));
    }
    let mut edge = EdgeBox::started(cluster);
    edge.online(cluster);
    cluster.start_reaper(NO_LEASE);
    edge.agent().kill();
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs_f64(LEASE * 3.0) {
        for (name, skew) in &skewed {
            cluster.block_on(renew(&cluster.client, name, *skew));
            assert_eq!(cluster.label(name).as_deref(), Some("online"), "renewed by a clock that is {skew} off");
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    assert_eq!(cluster.label(&edge.name).as_deref(), Some("offline"), "the reaper does work");
    format!("renewed for {:.0} s by clocks an hour slow and an hour fast: no flip; the agent killed beside them: offline", LEASE * 3.0)
}

pub fn rolling_upgrade(cluster: &mut Cluster) -> String {
    let gap = Duration::from_secs(60);
    let mut edge = EdgeBox::started(cluster);
    edge.online(cluster);
    cluster.start_reaper(NO_LEASE);
    let since = cluster.annotation(&edge.name, "since").unwrap();
    assert!(edge.agent().stop().success());
    edge.agent().log("left for the next agent");
    never_offline(cluster, &[&edge.name], gap);
    edge.start(cluster);
    edge.agent().log("verdict");
    never_offline(cluster, &[&edge.name], Duration::from_secs_f64(LEASE * 2.0));
    has_not_flipped(cluster, &edge.name, &since);
    format!("agent stopped, nobody there for 60 s (lease {LEASE} s), the next one started: no flip, `since` as before, one Event")
}

pub fn api_server_stopped(cluster: &mut Cluster) -> String {
    let mut edges = [EdgeBox::started(cluster), EdgeBox::started(cluster)];
    edges.iter().for_each(|edge| edge.online(cluster));
    cluster.start_reaper(NO_LEASE);
    let since: Vec<String> = edges.iter().map(|edge| cluster.annotation(&edge.name, "since").unwrap()).collect();
    // Shorter than a lease, and five times as long.
    for away in [Duration::from_secs(3), Duration::from_secs(30)] {
        cluster.stop_api();
        let begin = Instant::now();
        let requests = |edge: &mut EdgeBox| edge.agent().metric("edgeloop_agent_requests_total").unwrap();
        let before = edges.each_mut().map(requests);
        // A request a round and more, in rounds of an interval and a tenth: they go on without it.
        let least = away.as_secs_f64() / (INTERVAL * 1.1 + TIMEOUT);
        wait("so long", away * 2, || (begin.elapsed() >= away).then_some(()));
        for (edge, before) in edges.iter_mut().zip(before) {
            let sent = requests(edge) - before;
            assert!(sent >= least, "{sent} probes within {away:?} without an API server");
        }
        cluster.start_api();
        // Longer than the grace.
        let names: Vec<&str> = edges.iter().map(|edge| edge.name.as_str()).collect();
        never_offline(cluster, &names, Duration::from_secs_f64(LEASE * 3.0));
    }
    edges.iter().zip(&since).for_each(|(edge, since)| has_not_flipped(cluster, &edge.name, since));
    // And the reaper has not fallen asleep over it.
    let [mut first, second] = edges;
    first.agent().kill();
    let off = cluster.label_within(&first.name, "offline", Instant::now(), reap_limit());
    assert_eq!(cluster.label(&second.name).as_deref(), Some("online"));
    format!("API server away for 3 s and for 30 s (lease {LEASE} s): no flip; an agent killed after it: offline after {}", seconds(off))
}
