//! Models that would take the process along that loads them: it is a child's process, and the old model serves on.

use std::collections::BTreeSet;
use std::fs;

use edgeloop_store::{Metadata, Store};
use rstest::rstest;
use rustix::process::{Pid, Signal, kill_process};

use crate::program::{Program, lives};
use crate::support::*;
use crate::wire::{hanging, hungry};

fn publish_onnx(store: &Store, onnx: Vec<u8>) -> Metadata {
    publish_draft(store, draft(onnx, check_file(&detector(0.6).onnx(), 0.0)))
}

#[rstest]
#[case::never_ends(hanging(), "2 s", &["trial"])]
// An engine says so when it loads the model or when it runs it, or its library ends the process.
#[case::wants_4_gigabytes(hungry(), "alloc", &["engine", "check", "trial"])]
#[case::another_models_outputs(detector(0.9).onnx(), "published", &["check"])]
fn a_model_that_a_child_could_not_serve_is_quarantined_with_the_reason(
    #[case] onnx: Vec<u8>,
    #[case] reason: &str,
    #[case] kinds: &[&str],
) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path()).unwrap();
    let good = publish(&store, 0.5);
    let inferer = Inferer::ready(dir.path(), &["--candidate-timeout", "2"]);
    let bad = publish_onnx(&store, onnx).version;
    let photo = jpeg(&quarter(64, 64, 1));
    let last = wait_for("the failure", || {
        let (status, answer) = inferer.post("image/jpeg", &photo);
        assert_eq!((status, answer["model"].as_str()), (200, Some(good.version.as_str())), "{answer}");
        let last = inferer.get(inferer.admin, "/readyz").1["details"]["last_reload"].clone();
        (last["version"] == bad.as_str()).then_some(last)
    });
    eprintln!("{last}");
    assert_eq!(last["ok"], false, "{last}");
    assert!(last["reason"].as_str().unwrap().contains(reason), "{last}");
    let counted = |kind: &&str| inferer.metric("edgeloop_model_reloads_total", &format!("result=\"{kind}\"")) >= 1.0;
    wait_for("the metric", || kinds.iter().any(counted).then_some(()));
    let quarantined = wait_for("the quarantine", || {
        let list = inferer.get(inferer.admin, "/readyz").1["details"]["quarantined"].clone();
        list[0]["version"].is_string().then_some(list)
    });
    assert_eq!(quarantined[0]["version"], bad.as_str());
    let next = publish(&store, 0.7);
    wait_for("the next version", || (inferer.version()? == next.version.as_str()).then_some(()));
}

/// A program whose child hangs in a candidate; the candidate's version and the child.
fn with_a_hanging_child(store: &Store, models: &std::path::Path) -> (Program, Metadata, i32) {
    publish(store, 0.5);
    let program = Program::ready(models, &["--candidate-timeout", "600"]);
    let bad = publish_onnx(store, hanging());
    let child = wait_for("a child at work", || {
        let child = program.children().into_iter().next()?;
        // It has its limits once it says so itself, which is the last thing that it does to itself.
        let limits = fs::read_to_string(format!("/proc/{child}/limits")).ok()?;
        limits.lines().any(|l| l.starts_with("Max file size") && l.contains("1048576")).then_some(child)
    });
    (program, bad, child)
}

#[test]
fn a_child_that_crashes_is_told_and_costs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path()).unwrap();
    let (mut program, bad, child) = with_a_hanging_child(&store, dir.path());
    // As C++ ends on an exception that nobody catches.
    kill_process(Pid::from_raw(child).unwrap(), Signal::ABORT).unwrap();
    let last = wait_for("the failure", || program.tried(bad.version.as_str()));
    assert!(last["ok"] == false && last["reason"].as_str().unwrap().contains("signal 6"), "{last}");
    let (status, answer) = post(&agent(), program.serving, "image/jpeg", &jpeg(&quarter(64, 64, 1)));
    assert_eq!((status, read_answer(&answer).0), (200, 0.5));
    assert!(program.is_alive() && !lives(child));
}

#[test]
fn a_child_has_bounds_and_nothing_that_it_does_not_need() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path()).unwrap();
    let (program, _, child) = with_a_hanging_child(&store, dir.path());
    let read = |name: &str| fs::read_to_string(format!("/proc/{child}/{name}")).unwrap();
    let variables: BTreeSet<String> =
        read("environ").split('\0').filter_map(|pair| pair.split_once('=')).map(|(name, _)| name.to_owned()).collect();
    let allowed = ["CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH", "OPENVINO_DYLIB_PATH", "ORT_DYLIB_PATH"].map(str::to_owned);
    assert!(variables.is_subset(&allowed.into()), "{variables:?}");
    let files: BTreeSet<String> = fs::read_dir(format!("/proc/{child}/fd"))
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
        .map(|path| path.display().to_string())
        .collect();
    // Nothing of ONNX Runtime's either, whose Linux builds would keep a database of what to report.
    let foreign: Vec<&String> = files.iter().filter(|file| !file.contains("candidate") && !file.starts_with("socket:")).collect();
    assert!(foreign.is_empty(), "the child has {files:?}");
    assert_eq!(files.iter().filter(|file| file.starts_with("socket:")).count(), 1, "one socket, to its parent: {files:?}");
    let limits = read("limits");
    for limit in ["Max data size", "Max cpu time", "Max core file size", "Max open files"] {
        let line = limits.lines().find(|line| line.starts_with(limit)).unwrap();
        assert!(!line.contains("unlimited"), "{line}");
    }
    let niceness = |id: i32| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
        stat.rsplit_once(") ").unwrap().1.split(' ').nth(16).unwrap().parse::<i32>().unwrap()
    };
    assert_eq!(niceness(child), (niceness(program.pid()) + 12).min(19));
    assert_eq!(read("oom_score_adj").trim(), "1000");
    assert!(read("status").contains("NoNewPrivs:\t1"));
}

#[test]
fn a_child_does_not_outlive_its_parent() {
    for how in [Signal::KILL, Signal::TERM] {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::create(dir.path()).unwrap();
        let (mut program, _, child) = with_a_hanging_child(&store, dir.path());
        if how == Signal::KILL {
            program.kill();
        } else {
            program.signal(how);
            assert_eq!(program.exit_code(), 0, "a trial under way does not hold the end up");
        }
        wait_for("the child's end", || (!lives(child)).then_some(()));
    }
}

#[test]
fn without_a_child_a_candidate_is_checked_here() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path()).unwrap();
    let good = publish(&store, 0.5);
    let inferer = Inferer::ready(dir.path(), &["--candidate-process", "false"]);
    let bad = publish_onnx(&store, detector(0.9).onnx()).version;
    wait_for("the failure", || {
        let last = inferer.get(inferer.admin, "/readyz").1["details"]["last_reload"].clone();
        (last["version"] == bad.as_str() && last["ok"] == false).then_some(())
    });
    assert_eq!(inferer.version().unwrap(), good.version.as_str());
}

#[test]
fn a_program_that_cannot_be_started_is_told_with_the_way_out() {
    let dir = tempfile::tempdir().unwrap();
    publish(&Store::create(dir.path()).unwrap(), 0.5);
    let inferer = Inferer::start_program(dir.path(), &[], "/no/such/program".into());
    let reason = wait_for("the reason", || {
        let last = inferer.get(inferer.admin, "/readyz").1["details"]["last_reload"].clone();
        last["reason"].as_str().map(str::to_owned)
    });
    assert!(reason.contains("CANDIDATE_PROCESS"), "{reason}");
}
