//! A store that is wrong in one way or another: the old version serves on, the reason is told, the next good one is taken.

use std::fs;
use std::path::Path;

use edgeloop_store::{Metadata, Store};
use rstest::rstest;

use crate::support::*;

fn file(dir: &Path, metadata: &Metadata, end: &str) -> std::path::PathBuf {
    dir.join(format!("model_{}.{end}", metadata.version))
}

fn pointer(dir: &Path) -> std::path::PathBuf {
    dir.join("latest_metadata.json")
}

/// Moves the pointer as production does: a new file, renamed over the old one.
fn move_pointer(dir: &Path, content: &[u8]) {
    fs::write(dir.join(".pointer"), content).unwrap();
    fs::rename(dir.join(".pointer"), pointer(dir)).unwrap();
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

/// One way in which a store goes wrong, and what the reason must mention.
#[derive(Debug, Clone, Copy)]
enum Damage {
    Flipped(&'static str),
    Truncated,
    Missing,
    Foreign,
    FutureSchema,
    Pointer(&'static str),
}

impl Damage {
    /// Damages the version's files, or the pointer that will be moved to it.
    fn apply(self, dir: &Path, version: &Metadata, pointer: &mut Vec<u8>) {
        let onnx = file(dir, version, "onnx");
        match self {
            Self::Flipped(end) => flip(&file(dir, version, end)),
            Self::Truncated => {
                let bytes = fs::read(&onnx).unwrap();
                fs::write(&onnx, &bytes[..bytes.len() / 2]).unwrap();
            }
            Self::Missing => fs::remove_file(&onnx).unwrap(),
            Self::Foreign => fs::write(&onnx, b"something else").unwrap(),
            Self::FutureSchema => {
                let mut json: serde_json::Value = serde_json::from_slice(pointer).unwrap();
                json["schema"] = 999.into();
                *pointer = json.to_string().into_bytes();
            }
            Self::Pointer(text) => *pointer = text.into(),
        }
    }
}

#[rstest]
#[case::flipped_byte(Damage::Flipped("onnx"), "store", "SHA-256")]
#[case::flipped_check(Damage::Flipped("check.safetensors"), "store", "SHA-256")]
#[case::truncated(Damage::Truncated, "store", "bytes")]
#[case::missing(Damage::Missing, "store", "missing")]
#[case::foreign_file(Damage::Foreign, "store", "bytes")]
#[case::future_schema(Damage::FutureSchema, "pointer", "schema 999")]
#[case::pointer_is_no_json(Damage::Pointer("{\"schema\": 1, \"ver"), "pointer", "latest_metadata.json")]
#[case::pointer_is_empty(Damage::Pointer(""), "pointer", "latest_metadata.json")]
fn the_old_version_serves_on_and_the_reason_is_told(#[case] damage: Damage, #[case] kind: &str, #[case] reason: &str) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path()).unwrap();
    let good = publish(&store, 0.5);
    let bad = publish(&store, 0.6);
    let mut content = fs::read(pointer(dir.path())).unwrap();
    store.rollback("test", "back to the first").unwrap();
    damage.apply(dir.path(), &bad, &mut content);
    let inferer = Inferer::ready(dir.path(), &["--check-model-interval", "3600"]);
    assert_eq!(inferer.version().unwrap(), good.version.as_str());
    move_pointer(dir.path(), &content);
    let ready = wait_for("the failure", || {
        let (status, ready) = inferer.get(inferer.admin, "/readyz");
        assert_eq!(status, 200, "{ready}");
        (ready["details"]["last_reload"]["ok"] == false).then_some(ready)
    });
    let told = ready["details"]["last_reload"]["reason"].as_str().unwrap();
    assert!(told.contains(reason), "{told}");
    assert_eq!(ready["details"]["model"]["version"], good.version.as_str());
    wait_for("the metric", || (inferer.metric("edgeloop_model_reloads_total", kind) == 1.0).then_some(()));
    let (status, answer) = inferer.post("image/jpeg", &jpeg(&quarter(64, 64, 1)));
    assert_eq!((status, answer["model"].as_str(), read_answer(&answer).0), (200, Some(good.version.as_str()), 0.5));
    if kind == "pointer" {
        // A publisher finds such a pointer, too; here somebody puts the old one back first.
        store_pointer_back(dir.path(), &good);
    }
    let next = publish(&store, 0.7);
    wait_for("the next version", || (inferer.version()? == next.version.as_str()).then_some(()));
    wait_for("good news", || (inferer.get(inferer.admin, "/readyz").1["details"]["last_reload"]["ok"] == true).then_some(()));
}

fn store_pointer_back(dir: &Path, good: &Metadata) {
    let mut text: serde_json::Value = serde_json::to_value(good).unwrap();
    text["promotion"] = serde_json::json!({"at": good.created, "by": "test", "reason": "back", "sequence": 9, "predecessors": []});
    move_pointer(dir, text.to_string().as_bytes());
}

#[test]
fn what_was_published_but_cannot_be_what_it_says_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path()).unwrap();
    let good = publish(&store, 0.5);
    let inferer = Inferer::ready(dir.path(), &[]);
    let onnx = detector(0.6).onnx();
    let check = check_file(&onnx, 0.0);
    let mut other_names = detector(0.6);
    other_names.metadata[0].1 = "{0: 'sign', 1: 'bright'}".into();
    let mut wrong_size = draft(onnx.clone(), check.clone());
    wrong_size.image_size = 96;
    let mut no_check = draft(onnx.clone(), check.clone());
    no_check.files.pop();
    let cases = [
        ("no model", draft(b"this is no ONNX".to_vec(), check.clone()), "inspect"),
        ("other classes", draft(other_names.onnx(), check.clone()), "inspect"),
        ("not what was measured", draft(onnx.clone(), check_file(&onnx, 0.1)), "check"),
        ("another model's outputs", draft(onnx.clone(), check_file(&detector(0.9).onnx(), 0.0)), "check"),
        ("NaN", draft(onnx.clone(), check_file(&onnx, f32::NAN)), "check"),
        ("no check file", no_check, "store"),
        ("a broken check file", draft(onnx.clone(), b"{}".to_vec()), "check"),
        ("another size than measured", wrong_size, "check"),
    ];
    for (case, draft, kind) in cases {
        let before = inferer.metric("edgeloop_model_reloads_total", kind);
        let version = publish_draft(&store, draft).version;
        let reload = wait_for(case, || {
            let last = inferer.get(inferer.admin, "/readyz").1["details"]["last_reload"].clone();
            (last["version"] == version.as_str()).then_some(last)
        });
        assert_eq!(reload["ok"], false, "{case}: {reload}");
        wait_for(case, || (inferer.metric("edgeloop_model_reloads_total", kind) >= before + 1.0).then_some(()));
        assert_eq!(inferer.version().unwrap(), good.version.as_str(), "{case}");
    }
    let next = publish(&store, 0.7);
    wait_for("the next version", || (inferer.version()? == next.version.as_str()).then_some(()));
}

#[test]
fn started_on_a_broken_version_it_serves_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path()).unwrap();
    let good = publish(&store, 0.5);
    let bad = publish(&store, 0.6);
    flip(&file(dir.path(), &bad, "onnx"));
    let inferer = Inferer::ready(dir.path(), &[]);
    assert_eq!(inferer.version().unwrap(), good.version.as_str());
    let ready = wait_for("readiness", || Some(inferer.get(inferer.admin, "/readyz")).filter(|(status, _)| *status == 200)).1;
    assert_eq!(ready["details"]["quarantined"][0]["version"], bad.version.as_str(), "{ready}");
}

#[test]
fn a_store_that_goes_away_takes_nothing_out_of_service() {
    let dir = tempfile::tempdir().unwrap();
    let models = dir.path().join("models");
    publish(&Store::create(&models).unwrap(), 0.5);
    let inferer = Inferer::ready(&models, &[]);
    fs::remove_dir_all(&models).unwrap();
    let photo = jpeg(&quarter(64, 64, 1));
    (0..20).for_each(|_| assert_eq!(inferer.post("image/jpeg", &photo).0, 200));
    let again = publish(&Store::create(&models).unwrap(), 0.7);
    wait_for("the new store's version", || (inferer.version()? == again.version.as_str()).then_some(()));
}

#[test]
fn a_read_only_store_is_enough() {
    let dir = tempfile::tempdir().unwrap();
    publish(&Store::create(dir.path()).unwrap(), 0.5);
    let before = listing(dir.path());
    let inferer = Inferer::ready(dir.path(), &[]);
    assert_eq!(inferer.post("image/jpeg", &jpeg(&quarter(64, 64, 1))).0, 200);
    inferer.stop().unwrap();
    assert_eq!(listing(dir.path()), before, "the inferer wrote into the store");
}

fn listing(dir: &Path) -> Vec<(std::path::PathBuf, u64, std::time::SystemTime)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let metadata = entry.metadata().unwrap();
        files.push((entry.path(), metadata.len(), metadata.modified().unwrap()));
        if metadata.is_dir() {
            files.extend(listing(&entry.path()));
        }
    }
    files.sort();
    files
}
