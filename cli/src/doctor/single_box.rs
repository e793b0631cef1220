//! What is wrong with the loop of `edgeloop up` on this box.

use std::path::Path;

use edgeloop_engine::{Device, library_version};
use edgeloop_store::OutcomeKind;

use super::finding::{Finding, Severity};
use crate::status::{Report, collect};
use crate::up::ChildState;

/// A version, its copies and a checkpoint of an m model take less.
const LEAST_FREE: u64 = 1 << 30;

/// Looks at the state folder, the store, the running processes and the libraries.
pub fn look(state_dir: &Path, model_dir: Option<&Path>) -> Vec<Finding> {
    let report = collect(state_dir, model_dir);
    let mut found: Vec<Finding> = library_version(Device::Cpu).err().map(|error| library(&error.to_string())).into_iter().collect();
    let images = report.up.as_ref().map(|up| (up.images_dir.as_path(), up.images_dir.is_dir()));
    let free = rustix::fs::statvfs(state_dir).ok().map(|fs| fs.f_bavail.saturating_mul(fs.f_frsize));
    found.extend(judge(&report, state_dir, images, free));
    found
}

fn library(why: &str) -> Finding {
    Finding::error("library-missing", format!("ONNX Runtime cannot be used: {why}"))
        .command("make setup        # in edgeloop's folder; or set ORT_DYLIB_PATH to a libonnxruntime.so")
}

/// `images`: the folder and whether it is there. `free`: bytes left where the state is.
fn judge(report: &Report, state_dir: &Path, images: Option<(&Path, bool)>, free: Option<u64>) -> Vec<Finding> {
    let mut found: Vec<Finding> =
        report.problems.iter().map(|problem| Finding::error("store-unreadable", problem.clone()).command("edgeloop models list")).collect();
    found.extend(the_loop(report, state_dir));
    if let Some((dir, false)) = images {
        let what = format!("the images folder {} is not there", dir.display());
        found.push(Finding::error("path-missing", what).command(format!("mkdir -p {}", dir.display())));
    }
    if let Some(free) = free.filter(|free| *free < LEAST_FREE) {
        let what =
            format!("{} MB are left on the disk of {}; a training ends without a model when it is full", free >> 20, state_dir.display());
        found.push(Finding::warning("disk-almost-full", what).command(format!("df -h {}", state_dir.display())));
    }
    found.extend(gateway(report));
    found.extend(training(report));
    found.extend(serving(report));
    found
}

fn the_loop(report: &Report, state_dir: &Path) -> Vec<Finding> {
    let start = format!("edgeloop up --state-dir {}", state_dir.display());
    match (&report.up, report.running) {
        (None, false) => {
            let what = format!("no loop has run in {}", state_dir.display());
            vec![Finding::new(Severity::Note, "no-loop", what).command(start)]
        }
        (Some(up), false) if up.stopped_at.is_none() => {
            vec![
                Finding::error("loop-died", format!("`edgeloop up` (process {}) has ended without stopping in order", up.pid))
                    .command(start),
            ]
        }
        (Some(_), false) => vec![Finding::new(Severity::Note, "loop-stopped", "`edgeloop up` was stopped").command(start)],
        (None, true) => vec![],
        (Some(up), true) => {
            let down = up.children.iter().filter(|child| child.state == ChildState::Restarting);
            let told = |child: &crate::up::ChildView| {
                let what = format!(
                    "the {} is down and is being started again (so far {} times); its last lines say why",
                    child.name, child.restarts
                );
                Finding::error("component-down", what).command("the terminal or journal of `edgeloop up`")
            };
            down.map(told).collect()
        }
    }
}

fn gateway(report: &Report) -> Option<Finding> {
    let gateway = report.gateway.as_ref().filter(|gateway| report.running && gateway.status == "offline")?;
    let what =
        format!("the gateway {} does not answer ({}); nothing trains until it does", gateway.target, gateway.reason.replace('_', " "));
    let finding = Finding::error("wrong-gateway", what);
    Some(finding.command("ip route show default        # what this box's gateway is").command("HEARTBEAT_IP=GATEWAY edgeloop up"))
}

fn training(report: &Report) -> Option<Finding> {
    let last = report.training.as_ref().and_then(|training| training.last_outcome.as_ref());
    match last.map(|last| (last.result, last.message.as_str())) {
        Some((OutcomeKind::Failed, why)) => {
            Some(Finding::error("training-failed", format!("the last training failed: {why}")).command("edgeloop status"))
        }
        Some((OutcomeKind::WaitingForLabels, _)) => {
            let what = "there are images and not one label: nothing can be learnt (docs/data.md: where labels go)";
            Some(
                Finding::warning("no-labels", what)
                    .command("ls IMAGES_DIR        # one .txt beside each image, with rows of: class cx cy w h"),
            )
        }
        Some((OutcomeKind::Rejected, why)) => {
            Some(Finding::warning("model-rejected", format!("the last model was not good enough: {why}")).command("edgeloop models list"))
        }
        _ if report.promoted.is_none() && report.up.is_some() => Some(
            Finding::warning("no-model", "there is no model yet")
                .command("edgeloop up --train-now")
                .command("edgeloop-trainer import FILE.pt        # or begin with weights that you have"),
        ),
        _ => None,
    }
}

fn serving(report: &Report) -> Option<Finding> {
    let (promoted, up) = (report.promoted.as_ref().filter(|_| report.running)?, report.up.as_ref()?);
    let ask = format!("curl http://{}/readyz", up.admin_addr);
    let Some(serving) = &report.serving else {
        let what = format!("version {} is promoted and the inferer serves none", promoted.version);
        return Some(Finding::error("no-model-serves", what).command(ask));
    };
    let version = serving["version"].as_str().unwrap_or_default();
    if version != promoted.version {
        let what = format!("version {} is promoted and {version} serves", promoted.version);
        return Some(Finding::warning("not-swapped-in", what).command(format!("{ask}        # `quarantined` and `last_reload` say why")));
    }
    let why = serving["engine"]["fallback"].as_str()?;
    Some(Finding::warning("fallback-engine", format!("another engine serves than the one that was asked for: {why}")).command(ask))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::status::Promoted;
    use crate::up::{Gateway, UpState};
    use serde_json::json;

    fn up() -> UpState {
        let child = json!({"name": "inferer", "pid": 2, "state": "running", "since": "2026-11-21T00:00:00Z", "restarts": 0});
        serde_json::from_value(json!({"schema": 1, "pid": 1, "started_at": "2026-11-21T00:00:00Z", "stopped_at": null, "state_dir": "/d",
            "model_dir": "/d/models", "images_dir": "/d/images", "serve_addr": "127.0.0.1:8080", "admin_addr": "127.0.0.1:8081",
            "agent_admin_addr": "127.0.0.1:8082", "schedule": "0 3 * * *", "next_run": null, "training_due": false, "children": [child]}))
        .unwrap()
    }

    /// A loop that runs, with a model that serves.
    fn healthy() -> Report {
        let promoted =
            Promoted { version: "v2".into(), at: chrono::Utc::now(), by: "t".into(), reason: "r".into(), map50: 0.5, map50_95: 0.3 };
        let serving = json!({"version": "v2", "engine": {"fallback": null}});
        Report { running: true, up: Some(up()), promoted: Some(promoted), serving: Some(serving), ..Report::default() }
    }

    fn ended(result: &str) -> Option<edgeloop_store::TrainingStatus> {
        let at = "2026-11-21T00:00:00Z";
        let outcome = json!({"at": at, "result": result, "version": null, "message": "why it was"});
        Some(
            serde_json::from_value(json!({"phase": "idle", "pid": 1, "started_at": at, "updated_at": at, "last_outcome": outcome}))
                .unwrap(),
        )
    }

    fn checks(report: &Report) -> Vec<&'static str> {
        judge(report, Path::new("/d"), Some((Path::new("/d/images"), true)), Some(LEAST_FREE)).iter().map(|finding| finding.check).collect()
    }

    #[test]
    fn where_all_is_well_nothing_is_found() {
        assert_eq!(checks(&healthy()), [""; 0]);
    }

    #[test]
    fn a_loop_that_does_not_run_is_told_as_what_it_is() {
        assert_eq!(checks(&Report::default()), ["no-loop"]);
        assert_eq!(checks(&Report { running: false, ..healthy() }), ["loop-died"]);
        let mut stopped = up();
        stopped.stopped_at = Some(chrono::Utc::now());
        assert_eq!(checks(&Report { running: false, up: Some(stopped), ..healthy() }), ["loop-stopped"]);
        let mut down = up();
        down.children[0].state = ChildState::Restarting;
        assert_eq!(checks(&Report { up: Some(down), ..healthy() }), ["component-down"]);
    }

    #[test]
    fn a_folder_that_is_not_there_and_a_full_disk_are_told() {
        let found = judge(&healthy(), Path::new("/d"), Some((Path::new("/d/images"), false)), Some(5 << 20));
        assert_eq!(found.iter().map(|f| f.check).collect::<Vec<_>>(), ["path-missing", "disk-almost-full"]);
        assert_eq!(found[0].commands, ["mkdir -p /d/images"]);
    }

    #[test]
    fn a_gateway_that_does_not_answer_is_told_with_how_to_name_another() {
        let gateway: Gateway =
            serde_json::from_value(json!({"status": "offline", "since": "2026-11-21T00:00:00Z", "reason": "no_reply", "rtt_ms": null,
            "method": "icmp", "target": "192.168.1.1", "checked_at": "2026-11-21T00:00:00Z"}))
            .unwrap();
        let report = Report { gateway: Some(gateway), ..healthy() };
        assert_eq!(checks(&report), ["wrong-gateway"]);
        assert!(super::gateway(&report).unwrap().commands[1].contains("HEARTBEAT_IP="));
        assert_eq!(checks(&Report { running: false, up: None, promoted: None, ..report }), ["no-loop"], "an old verdict is none");
    }

    #[test]
    fn the_last_training_is_told_where_it_came_to_nothing() {
        for (result, check) in [("failed", "training-failed"), ("waiting_for_labels", "no-labels"), ("rejected", "model-rejected")] {
            assert_eq!(checks(&Report { training: ended(result), ..healthy() }), [check]);
        }
        assert_eq!(checks(&Report { training: ended("promoted"), ..healthy() }), [""; 0]);
        assert_eq!(checks(&Report { promoted: None, serving: None, ..healthy() }), ["no-model"]);
    }

    #[test]
    fn a_promoted_model_that_does_not_serve_is_told() {
        assert_eq!(checks(&Report { serving: None, ..healthy() }), ["no-model-serves"]);
        assert_eq!(checks(&Report { serving: Some(json!({"version": "v1"})), ..healthy() }), ["not-swapped-in"]);
        let fallback = json!({"version": "v2", "engine": {"fallback": "openvino is missing"}});
        assert_eq!(checks(&Report { serving: Some(fallback), ..healthy() }), ["fallback-engine"]);
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        assert_eq!(checks(&Report { problems: vec!["latest_metadata.json is damaged".into()], ..healthy() }), ["store-unreadable"]);
        assert_eq!(library("it is not there").check, "library-missing");
    }
}
