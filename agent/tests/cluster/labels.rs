//! The label: right, and soon.

use std::time::{Duration, Instant};

use chrono::{SecondsFormat, Utc};
use serde_json::json;

use crate::cluster::{Cluster, KEY, PATIENCE, wait};
use crate::node::{EdgeBox, INTERVAL, cut_limit};

pub fn gateway_cut_and_back(cluster: &mut Cluster) -> String {
    let mut edge = EdgeBox::new(cluster);
    let begin = Instant::now();
    edge.start(cluster);
    edge.agent().log("admin port open");
    let up = begin.elapsed();
    let first = cluster.label_within(&edge.name, "online", begin, PATIENCE) - up;
    // Two good rounds, the first of which is immediate, and the write.
    assert!(first <= Duration::from_secs_f64(INTERVAL * 1.1 + 1.0), "{first:?}");
    edge.cut("g");
    let cut = cluster.label_within(&edge.name, "offline", Instant::now(), cut_limit());
    let reason = cluster.annotation(&edge.name, "reason").unwrap();
    assert!(["no_reply", "host_unreachable", "no_route"].contains(&reason.as_str()), "{reason}");
    assert!(cluster.annotation(&edge.name, "rtt-ms").is_none());
    edge.plug("g");
    let back = cluster.label_within(&edge.name, "online", Instant::now(), PATIENCE);
    assert!(cluster.annotation(&edge.name, "rtt-ms").is_some());
    let node = cluster.node(&edge.name).unwrap();
    assert_eq!(node.metadata.labels.unwrap()["somebody"], "else", "what others set stays");
    wait("three Events", PATIENCE, || (cluster.events(&edge.name) == ["NetworkOnline", "NetworkOffline", "NetworkOnline"]).then_some(()));
    format!(
        "first label {:.2} s after the start (interval {INTERVAL} s); gateway cut: offline after {:.2} s (limit {:.2}); back after {:.2} s",
        first.as_secs_f64(),
        cut.as_secs_f64(),
        cut_limit().as_secs_f64(),
        back.as_secs_f64()
    )
}

pub fn undone(cluster: &mut Cluster) -> String {
    let limit = Duration::from_secs(5);
    let edge = EdgeBox::started(cluster);
    edge.online(cluster);
    let since = cluster.annotation(&edge.name, "since").unwrap();
    // The annotation has whole seconds: what follows must be in another.
    wait("another second", PATIENCE, || (Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true) > since).then_some(()));
    cluster.patch_node(&edge.name, json!({"labels": {KEY: null}}));
    let removed = cluster.label_within(&edge.name, "online", Instant::now(), limit);
    cluster.patch_node(&edge.name, json!({"labels": {KEY: "offline"}, "annotations": {format!("{KEY}-since"): "1999-01-01T00:00:00Z"}}));
    let forged = cluster.label_within(&edge.name, "online", Instant::now(), limit);
    assert_eq!(cluster.annotation(&edge.name, "since").unwrap(), since);
    // Somebody who does not give up.
    let again = (0..5).map(|_| {
        cluster.patch_node(&edge.name, json!({"labels": {KEY: null}}));
        cluster.label_within(&edge.name, "online", Instant::now(), limit)
    });
    let again = again.max().unwrap();
    cluster.kubectl(&["delete", "node", &edge.name]);
    cluster.make_bare_node(&edge.name);
    let anew = cluster.label_within(&edge.name, "online", Instant::now(), limit);
    format!(
        "label removed: back after {:.2} s; forged: right after {:.2} s; removed five times more: after {:.2} s at most; Node made anew: label after {:.2} s (limit 5)",
        removed.as_secs_f64(),
        forged.as_secs_f64(),
        again.as_secs_f64(),
        anew.as_secs_f64()
    )
}
