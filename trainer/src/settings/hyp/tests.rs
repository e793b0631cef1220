//! Files as people have them, the order of precedence, and the table in docs.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeSet, fs};

use clap::Parser;
use tempfile::TempDir;

use super::*;
use crate::settings::{Optimizer, Settings};

/// Settings by a file and flags.
fn parse(yaml: &str, flags: &[&str]) -> Result<(Settings, Option<String>), String> {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("hyp.yaml");
    fs::write(&path, yaml).unwrap();
    let args = ["edgeloop-trainer", "--hyp", path.to_str().unwrap()].into_iter().chain(flags.iter().copied()).map(OsString::from);
    try_parse_from(args).map_err(|error| error.to_string())
}

#[test]
fn a_file_of_the_field_is_taken_as_it_is() {
    let yaml = "# tuned\noptimizer: SGD\nlr0: 0.0123\nlrf: 1.0e-2\nmomentum: 0.9\nbox: 8\ncls: 0.7\nscale: 0.3\nnbs: 32\nbatch: 8\n\
        cos_lr: True\nfreeze: [0, 1, 2]\nmulti_scale: true\npatience: 50\nimgsz: 320\nclose_mosaic: 4\nhsv_h: 0.02\ncopy_paste: 0.0\n\
        pose: 12.0\nresume: null\namp: true\n";
    let (s, warning) = parse(yaml, &[]).unwrap();
    assert_eq!((s.learning.optimizer, s.learning.lr0, s.learning.lrf), (Optimizer::Sgd, Some(0.0123), 0.01));
    assert_eq!((s.learning.box_gain, s.learning.cls_gain, s.learning.nominal_batch), (8.0, 0.7, Some(32)));
    assert_eq!((s.learning.cos_lr, s.learning.freeze, s.learning.patience), (Some(true), 3, Some(50)));
    assert_eq!((s.batch_size, s.imgsz, s.scale), (8, 320, edgeloop_model::Scale::N));
    assert_eq!((s.pictures.zoom, s.pictures.multi_scale, s.pictures.close_mosaic, s.pictures.hsv_h), (0.3, 0.5, 4, 0.02));
    let warning = warning.unwrap();
    assert!(warning.contains("pose, amp") && !warning.contains("copy_paste") && !warning.contains("resume"), "{warning}");
}

#[test]
fn flags_win_over_the_file_and_the_file_over_defaults() {
    let (s, warning) = parse("lr0: 0.5\nmosaic: 0.25\n", &["--lr0", "0.125"]).unwrap();
    assert_eq!((s.learning.lr0, s.pictures.mosaic, s.pictures.mixup, warning), (Some(0.125), 0.25, 0.0, None));
}

#[test]
fn the_environment_wins_over_the_file() {
    // clap takes defaults after flags and variables: all three at once, with a variable of this test's own.
    #[derive(Parser)]
    struct Cli {
        #[arg(long)]
        hyp: Option<PathBuf>,
        // Set for every process that cargo starts.
        #[arg(long, env = "CARGO_MANIFEST_DIR")]
        lr0: String,
        #[arg(long, default_value = "5")]
        lrf: String,
    }
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("hyp.yaml");
    fs::write(&path, "lr0: 1\nlrf: 2\n").unwrap();
    let args = |more: &[&str]| -> Vec<OsString> {
        ["x", "--hyp", path.to_str().unwrap()].into_iter().chain(more.iter().copied()).map(OsString::from).collect()
    };
    let (cli, _): (Cli, _) = try_parse_from(args(&[])).unwrap();
    assert_eq!((cli.lr0, cli.lrf.as_str(), cli.hyp.is_some()), (std::env::var("CARGO_MANIFEST_DIR").unwrap(), "2", true));
    let (cli, _): (Cli, _) = try_parse_from(args(&["--lr0", "7"])).unwrap();
    assert_eq!(cli.lr0, "7");
}

#[test]
fn epochs_of_a_file_are_asked_for_too() {
    let of = |yaml: &str| parse(yaml, &[]).unwrap().0;
    assert_eq!((of("epochs: 3\n").epochs, of("lr0: 0.1\n").epochs), (Some(3), None));
    assert_eq!(of("min_iterations: 70\n").learning.min_iterations, Some(70));
}

#[test]
fn what_is_wrong_is_named_with_file_and_key() {
    for (yaml, words) in [
        ("lr_0: 0.1\n", "did you mean `lr0`?"),
        ("mozaic: 1\n", "did you mean `mosaic`?"),
        ("flip_ud: 1\n", "did you mean `flipud`?"),
        ("learning_rate_at_the_start: 1\n", "docs/training-settings.md"),
        ("lr0: fast\n", "--lr0"),
        ("box: [7.5]\n", "`box` is one value"),
        ("freeze: [3, 4]\n", "`freeze` is a number"),
        ("scale: 0.5\nzoom: 0.4\n", "`zoom` says again"),
        ("optimizer: lion\n", "--optimizer"),
        ("- lr0\n", "line "),
        ("lr0: 'x\n", "line "),
        ("lr0: 1\nlr0: 2\n", "line "),
    ] {
        let error = parse(yaml, &[]).unwrap_err();
        assert!(error.contains(words) && error.contains("hyp.yaml"), "{yaml}: {error}");
    }
    let missing = try_parse_from::<Settings>(["x", "--hyp", "/nowhere/hyp.yaml"].map(OsString::from)).unwrap_err();
    assert!(missing.to_string().contains("/nowhere/hyp.yaml") && missing.exit_code() == 2, "{missing}");
}

#[test]
fn an_empty_file_and_one_of_comments_say_nothing() {
    for yaml in ["", "\n", "# nothing\n"] {
        assert_eq!(parse(yaml, &[]).unwrap().0.learning.lr0, None);
    }
}

#[test]
fn every_key_is_a_setting_and_every_setting_of_learning_and_pictures_a_key() {
    let command = Settings::command();
    let known: BTreeSet<&str> = KEYS.iter().map(|key| key.1).collect();
    for id in &known {
        assert!(command.get_arguments().any(|arg| arg.get_id() == id), "{id}");
    }
    for arg in command.get_arguments().filter(|arg| matches!(arg.get_help_heading(), Some("Learning" | "Augmentation"))) {
        let id = arg.get_id().as_str();
        assert!(known.contains(id) || matches!(id, "hyp" | "recipe"), "{id} is in no file");
    }
    assert!(FOREIGN.iter().all(|foreign| KEYS.iter().all(|key| key.0 != *foreign)));
}

#[test]
fn the_table_in_docs_is_that_of_the_settings() {
    let docs = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/training-settings.md")).unwrap();
    let command = Settings::command();
    let heading = |arg: &clap::Arg| matches!(arg.get_help_heading(), Some("Learning" | "Augmentation"));
    let rows: Vec<String> = command
        .get_arguments()
        .filter(|arg| heading(arg) || KEYS.iter().any(|key| arg.get_id() == key.1))
        .map(|arg| {
            let keys: Vec<String> = KEYS.iter().filter(|key| arg.get_id() == key.1).map(|key| format!("`{}`", key.0)).collect();
            let default: Vec<&str> = arg.get_default_values().iter().filter_map(|value| value.to_str()).collect();
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            let (flag, env) = (arg.get_long().unwrap_or_default(), arg.get_env().and_then(|env| env.to_str()).unwrap_or_default());
            format!("| {} | `--{flag}` | `{env}` | {} | {help} |", keys.join(", "), default.join(" "))
        })
        .collect();
    let missing: Vec<&String> = rows.iter().filter(|row| !docs.lines().any(|line| line == row.as_str())).collect();
    assert!(
        missing.is_empty(),
        "docs/training-settings.md lacks these rows, or has them with other words:\n{}",
        missing.iter().map(|row| format!("{row}\n")).collect::<String>()
    );
    let listed = docs.lines().filter(|line| line.contains("| `--")).count();
    assert_eq!(listed, rows.len(), "docs/training-settings.md has rows of settings that are gone");
    for key in FOREIGN {
        assert!(docs.contains(&format!("`{key}`")), "{key}");
    }
}
