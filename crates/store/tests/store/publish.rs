//! A published version: its name, its place, its files.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::MetadataExt;

use edgeloop_store::{FileKind, GateDecision, Owner, Store, StoreError};
use rstest::rstest;

use super::shelf::{Shelf, draft, names, promote, quick};

#[test]
fn a_promoted_version_is_what_a_reader_gets() {
    let shelf = Shelf::new();
    assert!(shelf.store.pointer().unwrap().is_none());
    let metadata = shelf.promoted(1);
    let pointer = shelf.store.pointer().unwrap().unwrap();
    assert_eq!(pointer.metadata, metadata);
    assert_eq!((pointer.reason.as_str(), pointer.promoted_by.as_str(), pointer.promotion), ("better", "test", 1));
    assert_eq!((metadata.version.as_str(), metadata.sequence), ("20261121_030000", 1));
    assert_eq!(shelf.store.read_verified(&metadata, FileKind::Onnx).unwrap(), vec![1; 3000]);
    assert_eq!(shelf.store.metadata(&metadata.version).unwrap(), metadata);
    shelf.store.verify(&metadata.version).unwrap();
    shelf.assert_tidy();
}

#[test]
fn a_rejected_version_is_kept_whole_and_does_not_serve() {
    let shelf = Shelf::new();
    shelf.promoted(1);
    let rejected = shelf.rejected(2);
    assert_eq!((rejected.gate.decision, rejected.gate.reason.as_str()), (GateDecision::Rejected, "worse"));
    assert_eq!(shelf.served(), Some(1));
    assert_eq!(shelf.store.candidates().unwrap(), std::slice::from_ref(&rejected));
    assert_eq!(shelf.store.versions().unwrap().len(), 1);
    assert_eq!(shelf.store.read_verified(&rejected, FileKind::Weights).unwrap(), vec![2; 4000]);
    shelf.store.verify(&rejected.version).unwrap();
    shelf.assert_tidy();
}

#[test]
fn two_publishes_in_one_second_have_two_names_and_an_order() {
    let shelf = Shelf::new();
    let all = [shelf.promoted(1), shelf.rejected(2), shelf.promoted(3)];
    assert_eq!(all.each_ref().map(|metadata| metadata.version.as_str()), ["20261121_030000", "20261121_030001", "20261121_030002"]);
    assert_eq!(all.each_ref().map(|metadata| metadata.sequence), [1, 2, 3]);
    assert_eq!(shelf.served(), Some(3));
}

#[test]
fn a_clock_set_back_breaks_neither_order_nor_roll_back() {
    let shelf = Shelf::new();
    let first = shelf.promoted(1);
    shelf.clock.set_utc("1970-01-01T00:00:00Z".parse().unwrap());
    let second = shelf.promoted(2);
    assert_eq!(second.version.as_str(), "19700101_000000");
    assert_eq!(shelf.served(), Some(2));
    let order: Vec<_> = shelf.store.versions().unwrap().into_iter().map(|metadata| metadata.version).collect();
    assert_eq!(order, [first.version.clone(), second.version.clone()]);
    // Every boot without a clock battery begins in the same second.
    shelf.clock.set_utc("1970-01-01T00:00:00Z".parse().unwrap());
    assert_eq!(shelf.promoted(3).version.as_str(), "19700101_000001");
    shelf.store.rollback("test", "").unwrap();
    assert_eq!(shelf.store.rollback("test", "").unwrap().version(), &first.version);
}

#[test]
fn the_name_of_a_pruned_version_is_not_used_again() {
    let shelf = Shelf::new();
    let versions = [1, 2, 3].map(|mark| shelf.promoted(mark).version);
    shelf.store.prune(&edgeloop_store::Retention { keep_versions: 1, keep_candidates: 0, keep_bytes: None }).unwrap();
    assert!(shelf.store.metadata(&versions[0]).is_err());
    let next = shelf.promoted(4);
    assert_eq!((next.version.as_str(), next.sequence), ("20261121_030003", 4));
}

#[test]
fn the_copies_are_files_of_their_own() {
    let shelf = Shelf::new();
    let metadata = shelf.promoted(1);
    for (kind, copy) in [(FileKind::Weights, "latest.pt"), (FileKind::Onnx, "latest.onnx")] {
        let (version, copy) = (shelf.file(&metadata, kind), shelf.path(copy));
        assert_eq!(fs::read(&version).unwrap(), fs::read(&copy).unwrap());
        assert!(fs::symlink_metadata(&copy).unwrap().is_file());
        assert_ne!(fs::metadata(&version).unwrap().ino(), fs::metadata(&copy).unwrap().ino());
        // Somebody fine-tunes in place.
        OpenOptions::new().write(true).open(&copy).unwrap().write_all(b"mine").unwrap();
    }
    shelf.store.verify(&metadata.version).unwrap();
    // And gets the promoted version back with the next promotion.
    shelf.promoted(2);
    shelf.assert_tidy();
}

#[rstest]
#[case::no_onnx(&[(FileKind::Weights, b"x" as &[u8])], "no ONNX file")]
#[case::no_weights(&[(FileKind::Onnx, b"x" as &[u8])], "no weights (.pt) file")]
#[case::empty(&[(FileKind::Weights, b"x" as &[u8]), (FileKind::Onnx, b"")], "ONNX file is empty")]
#[case::twice(&[(FileKind::Weights, b"x" as &[u8]), (FileKind::Onnx, b"x"), (FileKind::Onnx, b"y")], "two ONNX files")]
fn a_draft_that_no_reader_could_use_is_refused(#[case] files: &[(FileKind, &[u8])], #[case] reason: &str) {
    let shelf = Shelf::new();
    let mut draft = draft(1);
    draft.files = files.iter().map(|(kind, bytes)| (*kind, bytes.to_vec())).collect();
    let lock = shelf.store.lock_training(&Owner::current("test")).unwrap();
    let error = shelf.store.publish(&lock, draft, promote()).unwrap_err();
    assert!(matches!(error, StoreError::BadDraft { .. }) && error.to_string().contains(reason), "{error}");
    shelf.assert_tidy();
}

#[test]
fn scores_that_are_not_defined_survive_the_way_through_json() {
    let shelf = Shelf::new();
    let mut draft = draft(1);
    draft.metrics.per_class[0].recall = f64::NAN;
    let lock = shelf.store.lock_training(&Owner::current("test")).unwrap();
    shelf.store.publish(&lock, draft, promote()).unwrap();
    assert!(shelf.store.pointer().unwrap().unwrap().metadata.metrics.per_class[0].recall.is_nan());
    assert!(fs::read_to_string(shelf.path("latest_metadata.json")).unwrap().contains("\"recall\": null"));
}

#[test]
fn a_publish_that_fails_half_way_leaves_no_trace() {
    let shelf = Shelf::new();
    shelf.promoted(1);
    // The rename over it fails after the version's own files are in place.
    fs::remove_file(shelf.path("latest.onnx")).unwrap();
    fs::create_dir(shelf.path("latest.onnx")).unwrap();
    let error = shelf.publish(2, promote()).unwrap_err();
    assert!(error.to_string().contains("latest.onnx"), "{error}");
    assert_eq!(shelf.served(), Some(1));
    assert_eq!(shelf.store.versions().unwrap().len(), 1);

    fs::remove_dir(shelf.path("latest.onnx")).unwrap();
    shelf.promoted(3);
    shelf.assert_tidy();
}

#[test]
fn a_reader_beside_a_publisher_never_sees_a_mixture() {
    let shelf = Shelf::new();
    shelf.promoted(1);
    let seen = std::thread::scope(|scope| {
        let root = shelf.root();
        let writer = scope.spawn(move || {
            let store = Store::open_with(root, quick()).unwrap();
            let lock = store.lock_training(&Owner::current("writer")).unwrap();
            for mark in 2..=30 {
                store.publish(&lock, draft(mark), promote()).unwrap();
            }
        });
        let mut seen = Vec::new();
        while !writer.is_finished() {
            seen.extend(shelf.served());
        }
        seen
    });
    assert!(seen.is_sorted(), "readers go forward only: {seen:?}");
    assert_eq!(shelf.served(), Some(30));
    shelf.assert_tidy();
}

#[test]
fn one_lock_publishes_from_several_threads_one_at_a_time() {
    let shelf = Shelf::new();
    let lock = shelf.store.lock_training(&Owner::current("test")).unwrap();
    std::thread::scope(|scope| {
        for mark in 1..=6 {
            let (store, lock) = (&shelf.store, &lock);
            scope.spawn(move || store.publish(lock, draft(mark), promote()).unwrap());
        }
    });
    assert_eq!(shelf.store.versions().unwrap().len(), 6);
    shelf.assert_tidy();
}

#[test]
fn a_watcher_is_told_folders_and_the_pointers_name() {
    let shelf = Shelf::new();
    assert_eq!(shelf.store.watch_dirs(), [shelf.root()]);
    assert!(shelf.store.is_pointer(&shelf.path("latest_metadata.json")));
    assert!(!shelf.store.is_pointer(&shelf.path("train.lock")));
    assert!(shelf.store.checkpoint_dir().is_dir());
    assert!(names(shelf.root()).contains(&"candidates".to_owned()));
}
