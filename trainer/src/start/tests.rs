#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::path::{Path, PathBuf};

use edgeloop_model::{onnx, safetensors};
use edgeloop_store::{Architecture, Beside};

use super::*;

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("class{number}")).collect()
}

fn request(classes: &[String]) -> Request<'_> {
    Request { scale: Scale::N, classes, seed: 1 }
}

/// Row of a class in the last class layer of the middle level, bias at its end.
fn row(weights: &Weights, class: usize) -> Vec<f32> {
    let [kernel, bias] = ["weight", "bias"].map(|part| weights.get(&format!("model.22.cv3.1.2.{part}")).unwrap());
    let len = kernel.len() / kernel.shape[0];
    let mut row = kernel.as_f32().unwrap()[class * len..(class + 1) * len].to_vec();
    row.push(bias.as_f32().unwrap()[class]);
    row
}

fn old(classes: usize, width: usize) -> Weights {
    Weights::init(&Network::yolov8_with_class_width(Scale::N, classes, width), 7)
}

/// Entries outside the class branch.
fn rest(weights: &Weights) -> Vec<(&str, &edgeloop_model::Array)> {
    weights.iter().filter(|(name, _)| !name.starts_with("model.22.cv3.")).collect()
}

#[test]
fn classes_are_matched_by_name() {
    let (old, classes) = (old(2, 64), names(&["nut", "washer", "bolt"]));
    let taken = take_over(&old, Some(&names(&["bolt", "nut"])), &request(&classes));
    taken.weights.check(&taken.network).unwrap();
    assert_eq!(taken.fits, taken.of);
    assert_eq!(row(&taken.weights, 0), row(&old, 1));
    assert_eq!(row(&taken.weights, 2), row(&old, 0));
    assert_eq!(row(&taken.weights, 1), row(&Weights::init(&taken.network, 1), 1));
    let expected = ClassBranch::Extended { known: 2, new: names(&["washer"]), gone: vec![], width: 64 };
    assert_eq!(taken.branch, expected);
    assert!(taken.branch.to_string().contains("new: washer"), "{}", taken.branch);
}

#[test]
fn the_same_classes_take_everything() {
    let (old, classes) = (old(2, 64), names(&["a", "b"]));
    let taken = take_over(&old, Some(&classes), &request(&classes));
    assert_eq!(taken.weights, old);
    assert_eq!(taken.branch, ClassBranch::Same);
}

#[test]
fn the_same_number_of_other_classes_is_not_the_same_classes() {
    let (old, classes) = (old(2, 64), names(&["a", "b"]));
    for (old_classes, named) in [(None, false), (Some(names(&["c", "d"])), true)] {
        let taken = take_over(&old, old_classes.as_deref(), &request(&classes));
        assert_eq!(taken.branch, ClassBranch::LastLayer { named });
        assert_ne!(row(&taken.weights, 0), row(&old, 0), "number 0 is another class");
        assert_eq!(taken.weights.get("model.22.cv3.1.1.conv.weight"), old.get("model.22.cv3.1.1.conv.weight"));
        assert_eq!(taken.fits, taken.of - 6);
    }
}

#[test]
fn new_classes_keep_the_width_of_the_branch_they_are_added_to() {
    // 90 classes from the start would be 90 wide; three that grew stay 64
    let classes = numbered(90);
    let taken = take_over(&old(3, 64), Some(&classes[..3]), &request(&classes));
    assert_eq!(taken.network, Network::yolov8_with_class_width(Scale::N, 90, 64));
    taken.weights.check(&taken.network).unwrap();
    assert_eq!(row(&taken.weights, 2), row(&old(3, 64), 2));
    assert_eq!(taken.weights.get("model.22.cv3.0.0.conv.weight"), old(3, 64).get("model.22.cv3.0.0.conv.weight"));
    // and 80 that are cut down to two stay 80 wide
    let few = names(&["class79", "other"]);
    let taken = take_over(&old(80, 80), Some(&numbered(80)), &request(&few));
    assert_eq!(taken.network, Network::yolov8_with_class_width(Scale::N, 2, 80));
    assert_eq!(row(&taken.weights, 0), row(&old(80, 80), 79));
    assert!(taken.branch.to_string().contains("80 wide"), "{}", taken.branch);
    assert!(taken.branch.to_string().contains("70 more") || taken.branch.to_string().contains("69 more"), "{}", taken.branch);
}

#[test]
fn without_a_class_in_common_only_the_class_branch_starts_anew() {
    let (old, classes) = (old(80, 80), names(&["bolt", "nut"]));
    let taken = take_over(&old, Some(&numbered(80)), &request(&classes));
    assert_eq!(taken.network, Network::yolov8(Scale::N, 2), "as wide as a new network: other tools can load it");
    assert_eq!(taken.branch, ClassBranch::Whole { named: true, from: 80, to: 64 });
    taken.weights.check(&taken.network).unwrap();
    assert_eq!(rest(&taken.weights), rest(&old));
    let fresh = Weights::init(&taken.network, 1);
    assert_eq!(taken.weights.get("model.22.cv3.0.2.weight"), fresh.get("model.22.cv3.0.2.weight"));
    // 3 levels, two convolutions with five arrays that depend on the width, a kernel and a bias
    assert_eq!(taken.fits, taken.of - 3 * (5 + 5 + 2));
}

#[test]
fn a_network_of_any_width_survives_its_files() {
    let network = Network::yolov8_with_class_width(Scale::N, 5, 80);
    let weights = Weights::init(&network, 3);
    let read = pt::read(&pt::write(&weights).unwrap(), &pt::Limits::default()).unwrap();
    assert_eq!(Network::infer(&read).unwrap(), network);
    let meta = onnx::OnnxMeta { names: numbered(5), imgsz: 64, stride: 32, extra: vec![] };
    let info = onnx::inspect(&onnx::emit(&network, &read, &meta).unwrap()).unwrap();
    assert_eq!(info.check_contract().unwrap(), 5);
}

fn write(dir: &Path, name: &str, weights: &Weights) -> (PathBuf, Vec<u8>) {
    let bytes =
        if name.ends_with(".pt") { pt::write(weights) } else { Ok(safetensors::write(weights, &[("names", "['a', 'b']")]).unwrap()) };
    let (path, bytes) = (dir.join(name), bytes.unwrap());
    std::fs::write(&path, &bytes).unwrap();
    (path, bytes)
}

#[test]
fn names_come_from_whoever_knows_them_best() {
    let dir = tempfile::tempdir().unwrap();
    let (path, bytes) = write(dir.path(), "mine.pt", &old(2, 64));
    let read = |path: &Path, given| Brought::read(path, given).map(|brought| brought.names);
    assert_eq!(read(&path, None).unwrap(), None, "a state dict names nothing");
    // the description beside it, as for a version of a store
    let architecture = Architecture { family: "yolov8".to_owned(), scale: "n".to_owned() };
    Beside::write(&path, &bytes, architecture.clone(), names(&["bolt", "nut"])).unwrap();
    assert_eq!(read(&path, None).unwrap(), Some(names(&["bolt", "nut"])));
    // somebody who says so
    assert_eq!(read(&path, Some("x, y")).unwrap(), Some(names(&["x", "y"])));
    let list = dir.path().join("classes.txt");
    std::fs::write(&list, "one\ntwo\n").unwrap();
    assert_eq!(read(&path, list.to_str()).unwrap(), Some(names(&["one", "two"])));
    // a description of other bytes is none
    Beside::write(&path, b"other", architecture, names(&["x", "y"])).unwrap();
    assert_eq!(read(&path, None).unwrap(), None);
    // the file itself
    let (path, _) = write(dir.path(), "mine.safetensors", &old(2, 64));
    assert_eq!(read(&path, None).unwrap(), Some(names(&["a", "b"])));
    for (given, words) in [("x", "1 for a head of 2"), ("x,x", "already taken"), ("a,", "empty"), ("none.txt", "no file")] {
        let error = read(&path, Some(given)).unwrap_err().to_string();
        assert!(error.contains(words), "{given}: {error}");
    }
}

#[test]
fn another_scale_is_refused_with_what_to_set() {
    let dir = tempfile::tempdir().unwrap();
    let (path, _) = write(dir.path(), "s.safetensors", &Weights::init(&Network::yolov8(Scale::S, 2), 0));
    let classes = names(&["a", "b"]);
    let start = |scale| Start::file(Brought::read(&path, None).unwrap(), &Request { scale, classes: &classes, seed: 0 });
    let error = start(Scale::N).unwrap_err().to_string();
    assert!(error.contains("SCALE=s"), "{error}");
    let start = start(Scale::S).unwrap();
    assert_eq!(start.network, Network::yolov8(Scale::S, 2));
    assert_eq!(start.weights, Some(Weights::init(&start.network, 0)));
    assert!(matches!(Brought::read(&dir.path().join("none.pt"), None), Err(StartError::Read { .. })));
}
