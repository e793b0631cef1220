#![allow(clippy::unwrap_used)]
use super::*;
use chrono::TimeDelta;
use clap::Parser;
use edgeloop_store::{
    Architecture, ClassMetrics, Clock, ComparedFigure, Comparison, Decision, Draft, FileKind, Forced, ManualClock, Metadata, Metrics,
    Owner, Producer, RivalRole, StoreOptions, Verdict,
};
use std::sync::Arc;

struct Shelf {
    folder: tempfile::TempDir,
    store: Store,
    clock: Arc<ManualClock>,
}

impl Shelf {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new("2026-11-21T03:00:00Z".parse().unwrap()));
        let options = StoreOptions { clock: clock.clone(), ..StoreOptions::default() };
        Self { store: Store::create_with(folder.path(), options).unwrap(), folder, clock }
    }

    fn publish(&self, map50: f64, verdict: impl Into<Verdict>) -> Metadata {
        self.clock.set_utc(self.clock.utc() + TimeDelta::hours(3));
        let lock = self.store.lock_training(&Owner::current("test")).unwrap();
        let class = |name: &str, boxes, map50| ClassMetrics { name: name.into(), boxes, map50, ..ClassMetrics::default() };
        let draft = Draft {
            architecture: Architecture { family: "yolov8".into(), scale: "n".into() },
            image_size: 320,
            classes: vec!["bolt".into(), "nut".into()],
            dataset: Default::default(),
            training: Default::default(),
            metrics: Metrics { map50, per_class: vec![class("bolt", 9, map50), class("nut", 0, f64::NAN)], ..Metrics::default() },
            compared_with: None,
            producer: Producer { name: "edgeloop-trainer".into(), version: "0.1.0".into(), host: "box".into() },
            files: vec![(FileKind::Weights, vec![1; 300_000]), (FileKind::Onnx, map50.to_le_bytes().to_vec())],
        };
        self.store.publish(&lock, draft, verdict).unwrap()
    }

    fn promoted(&self, map50: f64) -> Metadata {
        self.publish(map50, Decision::Promote { reason: "better".into() })
    }

    /// As typed after `edgeloop models`.
    fn run(&self, words: &[&str]) -> anyhow::Result<(String, ExitCode)> {
        #[derive(Parser)]
        struct Program {
            #[command(flatten)]
            models: ModelsArgs,
        }
        let ModelsArgs { action, json, .. } = Program::try_parse_from([&["models"], words].concat())?.models;
        act(&self.store, action, json)
    }

    fn text(&self, words: &[&str]) -> String {
        self.run(words).unwrap().0
    }
}

#[test]
fn the_list_marks_the_promoted_version_and_shows_candidates() {
    let store = Shelf::new();
    let first = store.promoted(0.5);
    let second = store.promoted(0.75);
    let bad = store.publish(0.25, Decision::Reject { reason: "worse".into() });

    let text = store.text(&["list"]);
    let row = |version: &Version| text.lines().find(|line| line.contains(version.as_str())).unwrap().to_owned();
    assert!(row(&second.version).trim_start().starts_with('*') && row(&second.version).contains("0.7500"), "{text}");
    assert!(!row(&first.version).contains('*'), "{text}");
    assert!(row(&bad.version).ends_with("rejected"), "{text}");

    let json: serde_json::Value = serde_json::from_str(&store.text(&["list", "--json"])).unwrap();
    assert_eq!(json["promoted"], second.version.as_str());
    assert_eq!(json["versions"].as_array().unwrap().len(), 2);
    assert_eq!(json["candidates"][0]["metrics"]["mAP50"], 0.25);
}

#[test]
fn an_empty_folder_is_listed_as_such() {
    assert!(Shelf::new().text(&["list"]).starts_with("no versions in "));
}

#[test]
fn show_prints_the_promoted_version_with_its_digests_and_an_undefined_score_as_a_dash() {
    let store = Shelf::new();
    let metadata = store.promoted(0.5);
    let text = store.text(&["show"]);
    for part in ["yolov8n, input 320 px", "bolt, nut", &metadata.files[0].sha256, "promoted: better"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let nut: Vec<_> = text.lines().find(|line| line.trim_start().starts_with("nut")).unwrap().split_whitespace().collect();
    assert_eq!(nut[..3], ["nut", "0", "-"]);
}

#[test]
fn show_explains_a_rejection_with_its_figures_and_who_overrode_it() {
    let store = Shelf::new();
    let good = store.promoted(0.5);
    let all = ComparedFigure {
        name: "all".into(),
        boxes: 120,
        candidate: 0.41,
        rival: 0.5,
        limit: 0.01,
        confidence: 0.998,
        needed: 0.9,
        worse: true,
    };
    let comparison = Comparison {
        rival: good.version.clone(),
        role: RivalRole::Promoted,
        images: 60,
        resamples: 1000,
        per_class: vec![ComparedFigure { name: "bolt".into(), boxes: 70, worse: false, ..all.clone() }],
        overall: all,
        new_classes: vec!["nut".into()],
        gone_classes: Vec::new(),
    };
    let decision = Decision::Reject { reason: "mAP50-95 fell to 0.410 from 0.500".into() };
    let verdict = Verdict { decision, comparisons: vec![comparison], forced: None };
    let bad = store.publish(0.25, verdict.clone());
    let text = store.text(&["show", bad.version.as_str()]);
    assert!(text.contains("rejected: mAP50-95 fell to 0.410 from 0.500") && text.contains("promote --force"), "{text}");
    assert!(text.contains(&format!("beside {}, which served then, on the same 60 images (1000 resamples)", good.version)), "{text}");
    let row = |name: &str| {
        text.lines().rev().find(|line| line.trim_start().starts_with(name)).unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(row("all"), "all 120 0.4100 0.5000 0.0900 0.01 99.8 % 90.0 % worse");
    assert_eq!(row("bolt"), "bolt 70 0.4100 0.5000 0.0900 0.01 99.8 % 90.0 %");
    assert!(text.ends_with("new, not compared: nut\n"), "{text}");

    let forced = Some(Forced { by: "ann".into(), reason: "the old one misses nuts".into() });
    let bad = store.publish(0.25, Verdict { forced, ..verdict });
    let text = store.text(&["show", bad.version.as_str()]);
    assert!(text.contains("promoted all the same by ann: the old one misses nuts") && !text.contains("--force"), "{text}");
}

#[test]
fn promote_needs_force_for_a_candidate_and_rollback_undoes_it() {
    let store = Shelf::new();
    let good = store.promoted(0.5);
    let bad = store.publish(0.25, Decision::Reject { reason: "mAP50 0.25 is below 0.5".into() });

    let refused = store.run(&["promote", bad.version.as_str()]).unwrap_err();
    assert_eq!(exit::code_of(&refused), BAD_INPUT);
    assert!(refused.to_string().contains("mAP50 0.25 is below 0.5") && refused.to_string().contains("--force"), "{refused}");

    let text = store.text(&["promote", bad.version.as_str(), "--force", "--reason", "a test", "--by", "ann"]);
    assert_eq!(text, format!("{} serves now (a test)\n", bad.version));
    assert_eq!(store.store.pointer().unwrap().unwrap().promoted_by, "ann");

    let json: serde_json::Value = serde_json::from_str(&store.text(&["rollback", "--json"])).unwrap();
    assert_eq!(json["version"], good.version.as_str());
    let nothing = store.run(&["rollback"]).unwrap_err();
    assert_eq!(exit::code_of(&nothing), BAD_INPUT);
}

#[test]
fn verify_names_the_damaged_file_and_ends_with_1() {
    let store = Shelf::new();
    let metadata = store.promoted(0.5);
    assert_eq!(store.run(&["verify"]).unwrap().1, ExitCode::SUCCESS);

    let path = store.folder.path().join(&metadata.file(FileKind::Weights).unwrap().name);
    std::fs::write(&path, b"short").unwrap();
    for words in [&["verify"][..], &["verify", "latest"]] {
        let (text, code) = store.run(words).unwrap();
        assert_eq!(code, ExitCode::from(exit::FAILURE));
        assert!(text.contains(".pt has 5 bytes, its metadata says 300000"), "{text}");
    }
}

#[test]
fn verify_reports_a_damaged_pointer_although_every_version_is_whole() {
    let store = Shelf::new();
    store.promoted(0.5);
    std::fs::write(store.folder.path().join("latest_metadata.json"), b"{").unwrap();
    let (text, code) = store.run(&["verify"]).unwrap();
    assert_eq!(code, ExitCode::from(exit::FAILURE));
    assert!(text.contains("latest_metadata.json is not usable"), "{text}");
    assert!(store.text(&["list"]).contains("cannot be told"));
}

#[test]
fn an_unknown_or_malformed_version_is_bad_input() {
    let store = Shelf::new();
    store.promoted(0.5);
    for name in ["20200101_000000", "newest"] {
        assert_eq!(exit::code_of(&store.run(&["show", name]).unwrap_err()), BAD_INPUT, "{name}");
    }
}

#[test]
fn without_a_folder_named_the_state_folder_wins_over_the_containers_path() {
    let root = tempfile::tempdir().unwrap();
    let (state, containers) = (root.path().join("state"), root.path().join("data/models"));
    assert_eq!(folder(None, &state, &containers), state.join("models"));
    std::fs::create_dir_all(&containers).unwrap();
    assert_eq!(folder(None, &state, &containers), containers);
    std::fs::create_dir_all(state.join("models")).unwrap();
    assert_eq!(folder(None, &state, &containers), state.join("models"));
    assert_eq!(folder(Some("given".into()), &state, &containers), Path::new("given"));
}
