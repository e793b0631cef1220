//! The chart's alerts and its dashboard ask only for metrics that the programs have: each query's names against what running binaries expose.

#![allow(clippy::unwrap_used)]

mod promql;

use std::collections::BTreeSet;
use std::path::Path;

use harness::{Daemon, Http, free_port, run_to_end, toy_jpeg, wait_for, write_toy_dataset};
use promql::names;
use serde_json::Value;

/// Other people's: Prometheus' own, and kube-state-metrics' of Jobs.
const OTHERS: [&str; 3] = ["up", "kube_job_complete", "kube_job_failed"];

fn chart(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../chart/files").join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Queries of the alerts: `expr:` lines, as `make test-rules` has promtool check that the file is what it should be.
fn alerts() -> Vec<String> {
    chart("rules.yaml").lines().filter_map(|line| line.trim().strip_prefix("expr: ").map(str::to_owned)).collect()
}

/// Queries of the dashboard's panels and of its variables.
fn dashboard() -> Vec<String> {
    fn collect(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                found.extend(["expr", "query"].iter().filter_map(|key| fields.get(*key)?.as_str().map(str::to_owned)));
                fields.values().for_each(|value| collect(value, found));
            }
            Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    collect(&serde_json::from_str(&chart("dashboard.json")).unwrap(), &mut found);
    // Variables: one chooses the data source, others have Grafana's own `label_values(metric, label)`.
    found.retain(|query| query != "prometheus");
    found
        .into_iter()
        .map(|query| query.strip_prefix("label_values(").and_then(|rest| Some(rest.split_once(',')?.0.to_owned())).unwrap_or(query))
        .collect()
}

/// Names of the samples that an admin port shows.
fn exposed(admin: u16) -> BTreeSet<String> {
    let (_, text) = Http::new(admin).get("/metrics").unwrap();
    text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split([' ', '{']).next().map(str::to_owned)).collect()
}

fn start(name: &str, dir: &Path, args: &[&str], settings: &[(&str, &str)]) -> (Daemon, u16) {
    let admin = free_port();
    let addr = format!("127.0.0.1:{admin}");
    let daemon = Daemon::start(name, dir, args, &[settings, &[("ADMIN_ADDR", addr.as_str())]].concat());
    wait_for("its admin port answers", || Http::new(admin).get("/livez").filter(|(status, _)| *status == 200));
    (daemon, admin)
}

#[test]
fn every_query_asks_for_metrics_that_there_are() {
    let dir = tempfile::tempdir().unwrap();
    let (images, models) = (dir.path().join("images"), dir.path().join("models"));
    write_toy_dataset(&images, 16);
    std::fs::create_dir(&models).unwrap();
    let (images, models) = (images.to_str().unwrap(), models.to_str().unwrap());
    let few =
        [("IMAGES_DIR", images), ("MODEL_DIR", models), ("EPOCHS", "1"), ("BATCH_SIZE", "8"), ("IMGSZ", "64"), ("GATE_MIN_MAP50", "0")];
    let trained = run_to_end("edgeloop-trainer", &[], &few);
    assert!(trained.status.success(), "{}", String::from_utf8_lossy(&trained.stderr));

    // An API server that nobody is at: what there is to count is there from the start.
    let kubeconfig = dir.path().join("kubeconfig");
    let nobody = "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}]\nusers: [{name: c, user: {}}]\ncontexts: [{name: c, context: {cluster: c, user: c}}]\n";
    std::fs::write(&kubeconfig, nobody).unwrap();
    let kubeconfig = ("KUBECONFIG", kubeconfig.to_str().unwrap());
    let agent = [("HEARTBEAT_IP", "127.0.0.1"), ("PROBE", "tcp"), ("NODE_NAME", "n"), ("CHECK_INTERVAL_SECONDS", "0.1"), kubeconfig];
    let (_agent, agent_port) = start("edgeloop-agent", dir.path(), &[], &agent);
    let (serve, incoming) = (format!("127.0.0.1:{}", free_port()), dir.path().join("incoming"));
    let served = [("MODEL_DIR", models), ("IMAGES_DIR", incoming.to_str().unwrap()), ("SERVE_ADDR", &serve)];
    let (_inferer, inferer_port) = start("edgeloop-inferer", dir.path(), &[], &served);
    let http = Http::new(serve.rsplit_once(':').unwrap().1.parse().unwrap());
    // Some metrics have a series for each class that was found.
    let found = wait_for("an image is answered", || {
        let (status, body) = http.post("/infer?confidence=0.00001", "image/jpeg", &toy_jpeg(1)).ok()?;
        (status == 200).then(|| body["detections"].as_array().unwrap().len())
    });
    assert!(found > 0, "with such a confidence everything is a detection");
    let reaper_dir = tempfile::tempdir().unwrap();
    let (_reaper, reaper_port) = start("edgeloop-agent", reaper_dir.path(), &["reap"], &[kubeconfig]);

    let queries = [alerts(), dashboard()].concat();
    assert!(alerts().len() >= 10 && dashboard().len() >= 30, "the queries are found");
    let mut last = Vec::new();
    wait_for("every metric that is asked for is there", || {
        let mut there: BTreeSet<String> = [agent_port, inferer_port, reaper_port].into_iter().flat_map(exposed).collect();
        there.extend(OTHERS.map(str::to_owned));
        let missing: Vec<String> = queries.iter().flat_map(|query| names(query)).filter(|name| !there.contains(name)).collect();
        if missing != last {
            eprintln!("no program has these yet: {missing:?}");
            last.clone_from(&missing);
        }
        missing.is_empty().then_some(())
    });
}
