//! What goes when the folder is full, and what never does.

use edgeloop_store::{HistoryEvent, Metadata, Retention, Version};

use super::shelf::Shelf;

fn keep(versions: usize) -> Retention {
    Retention { keep_versions: versions, keep_candidates: 3, keep_bytes: None }
}

fn left(shelf: &Shelf) -> Vec<Version> {
    shelf.store.versions().unwrap().into_iter().map(|metadata| metadata.version).collect()
}

fn publish(shelf: &Shelf, count: u8) -> Vec<Version> {
    (1..=count).map(|mark| shelf.promoted(mark).version).collect()
}

#[test]
fn the_oldest_go_and_the_history_says_so() {
    let shelf = Shelf::new();
    let versions = publish(&shelf, 5);
    let report = shelf.store.prune(&keep(3)).unwrap();
    assert_eq!(report.removed, versions[..2]);
    assert_eq!(report.bytes, 2 * 7500);
    assert_eq!(left(&shelf), versions[2..]);
    let pruned: Vec<_> = shelf.store.history().unwrap().into_iter().filter(|entry| entry.event == HistoryEvent::Pruned).collect();
    assert_eq!(pruned.iter().map(|entry| entry.version.clone()).collect::<Vec<_>>(), versions[..2]);
    shelf.assert_tidy();
    assert_eq!(shelf.store.prune(&keep(3)).unwrap(), Default::default());
}

#[test]
fn the_promoted_version_and_its_predecessor_never_go() {
    let shelf = Shelf::new();
    let versions = publish(&shelf, 5);
    shelf.store.rollback("test", "bad").unwrap();
    shelf.store.rollback("test", "bad too").unwrap();
    // Promoted is the third, before it was the second; the fourth and fifth are newer and go all the same.
    let nothing = Retention { keep_versions: 0, keep_candidates: 0, keep_bytes: Some(0) };
    shelf.store.prune(&nothing).unwrap();
    assert_eq!(left(&shelf), versions[1..3]);
    assert_eq!(shelf.served(), Some(3));
    assert_eq!(shelf.store.rollback("test", "still possible").unwrap().version(), &versions[1]);
    shelf.assert_tidy();
}

#[test]
fn a_predecessor_is_the_nearest_that_is_still_there() {
    let shelf = Shelf::new();
    let versions = publish(&shelf, 4);
    std::fs::remove_file(shelf.path(&format!("model_{}.json", versions[2]))).unwrap();
    shelf.store.prune(&keep(1)).unwrap();
    assert_eq!(left(&shelf), [versions[1].clone(), versions[3].clone()]);
}

#[test]
fn candidates_go_first() {
    let shelf = Shelf::new();
    publish(&shelf, 3);
    let rejected: Vec<Metadata> = (4..=6).map(|mark| shelf.rejected(mark)).collect();
    let limit = |versions: u64| Retention { keep_versions: 10, keep_candidates: 3, keep_bytes: Some(versions * 7500) };
    assert_eq!(shelf.store.prune(&limit(5)).unwrap().removed, [rejected[0].version.clone()]);
    shelf.store.prune(&limit(3)).unwrap();
    assert_eq!((left(&shelf).len(), shelf.store.candidates().unwrap().len()), (3, 0));
    shelf.store.prune(&limit(1)).unwrap();
    assert_eq!(left(&shelf).len(), 2, "the promoted one and its predecessor");
    shelf.assert_tidy();
}

#[test]
fn age_is_the_sequence_and_not_the_name() {
    let shelf = Shelf::new();
    let before = shelf.promoted(1).version;
    shelf.clock.set_utc("1970-01-01T00:00:00Z".parse().unwrap());
    let after = [2, 3, 4, 5].map(|mark| shelf.promoted(mark).version);
    assert!(after[3] < before, "the names are older");
    // Four and five are protected anyway; of the others the newest by sequence stays, although its name is older than the first.
    shelf.store.prune(&keep(3)).unwrap();
    assert_eq!(left(&shelf), after[1..]);
}

#[test]
fn other_peoples_files_stay() {
    let shelf = Shelf::new();
    publish(&shelf, 4);
    for name in ["yolov8n.pt", "model_20200101_000000.pt", "notes.txt", "candidates/mine.onnx"] {
        std::fs::write(shelf.path(name), b"mine").unwrap();
    }
    shelf.store.prune(&keep(0)).unwrap();
    shelf.promoted(9);
    for name in ["yolov8n.pt", "model_20200101_000000.pt", "notes.txt", "candidates/mine.onnx"] {
        assert!(shelf.path(name).exists(), "{name}");
    }
}

#[test]
fn with_nothing_promoted_candidates_are_pruned_too() {
    let shelf = Shelf::new();
    for mark in 1..=5 {
        shelf.rejected(mark);
    }
    assert_eq!(shelf.store.prune(&Retention::default()).unwrap().removed.len(), 2);
    shelf.assert_tidy();
}
