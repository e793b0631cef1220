//! The trainer as a user meets it: exit codes, messages, what a signal leaves behind.

use edgeloop_store::{Phase, Store};
use harness::{Daemon, run_to_end, wait_for, write_toy_dataset};

#[test]
fn sigterm_leaves_a_checkpoint_and_the_next_run_goes_on_from_there() {
    let dir = tempfile::tempdir().unwrap();
    let (images, models) = (dir.path().join("images"), dir.path().join("models"));
    write_toy_dataset(&images, 40);
    let settings = [
        ("IMAGES_DIR", images.to_str().unwrap().to_owned()),
        ("MODEL_DIR", models.to_str().unwrap().to_owned()),
        ("EPOCHS", "6".to_owned()),
        ("BATCH_SIZE", "8".to_owned()),
        ("IMGSZ", "96".to_owned()),
        ("GATE_MIN_MAP50", "0".to_owned()),
    ];
    let settings: Vec<(&str, &str)> = settings.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let status = || Store::open(&models).ok()?.training_status().ok()?;

    let mut trainer = Daemon::start("edgeloop-trainer", dir.path(), &[], &settings);
    wait_for("two epochs are done", || status().filter(|status| status.epochs_log.len() >= 2));
    assert_eq!(trainer.terminate().code(), Some(143), "{}", trainer.log());
    let stopped = status().unwrap();
    assert_eq!(stopped.phase, Phase::Stopped);
    assert!(stopped.epochs_log.len() < 6, "it must have been stopped on its way");

    let output = run_to_end("edgeloop-trainer", &[], &settings);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let done = status().unwrap();
    assert_eq!(done.phase, Phase::Done);
    let epochs: Vec<u32> = done.epochs_log.iter().map(|epoch| epoch.epoch).collect();
    assert_eq!(epochs, [1, 2, 3, 4, 5, 6], "the log of both runs, none of them twice");
    assert!(Store::open(&models).unwrap().pointer().unwrap().is_some());
}

#[test]
fn a_folder_without_images_is_exit_2_and_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let settings = [("IMAGES_DIR", dir.path().to_str().unwrap()), ("MODEL_DIR", dir.path().join("m").to_str().unwrap())]
        .map(|(k, v)| (k, v.to_owned()));
    let settings: Vec<(&str, &str)> = settings.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let output = run_to_end("edgeloop-trainer", &[], &settings);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("image"), "{said}");
}

#[test]
fn every_binary_explains_itself_and_refuses_unknown_flags_with_2() {
    for name in ["edgeloop", "edgeloop-agent", "edgeloop-trainer", "edgeloop-inferer"] {
        let help = run_to_end(name, &["--help"], &[]);
        assert!(help.status.success(), "{name}");
        assert!(String::from_utf8_lossy(&help.stdout).contains("Usage:"), "{name}");
        assert_eq!(run_to_end(name, &["--no-such-flag"], &[]).status.code(), Some(2), "{name}");
    }
}
