//! The pointer moved by hand.

use std::collections::BTreeSet;
use std::fs;

use edgeloop_store::{FileKind, HistoryEvent, Store, StoreError, Version};

use super::shelf::{Shelf, quick};

fn rollback(shelf: &Shelf) -> Result<Version, StoreError> {
    shelf.store.rollback("test", "bad").map(|pointer| pointer.metadata.version)
}

#[test]
fn rolling_back_goes_to_what_was_promoted_before_and_then_further() {
    let shelf = Shelf::new();
    let [first, second, third] = [1, 2, 3].map(|mark| shelf.promoted(mark).version);
    assert_eq!(rollback(&shelf).unwrap(), second);
    assert_eq!(shelf.served(), Some(2));
    assert_eq!(rollback(&shelf).unwrap(), first);
    let error = rollback(&shelf).unwrap_err();
    assert!(matches!(error, StoreError::NoPredecessor { .. }) && error.to_string().contains(first.as_str()), "{error}");
    assert_eq!(shelf.served(), Some(1));
    shelf.assert_tidy();
    // All three are still there.
    shelf.store.promote(&third, "test", "fixed", false).unwrap();
    assert_eq!(shelf.served(), Some(3));
}

#[test]
fn a_version_that_was_rolled_back_is_not_come_back_to() {
    let shelf = Shelf::new();
    let good = shelf.promoted(1).version;
    shelf.promoted(2);
    rollback(&shelf).unwrap();
    shelf.promoted(3);
    assert_eq!(rollback(&shelf).unwrap(), good);
}

#[test]
fn rolling_back_undoes_a_promotion_by_hand() {
    let shelf = Shelf::new();
    let [first, _, third] = [1, 2, 3].map(|mark| shelf.promoted(mark).version);
    shelf.store.promote(&first, "test", "older but known", false).unwrap();
    assert_eq!(rollback(&shelf).unwrap(), third);
}

#[test]
fn rolling_back_passes_over_damaged_and_pruned_predecessors() {
    let shelf = Shelf::new();
    let [whole, damaged, gone, _] = [1, 2, 3, 4].map(|mark| shelf.promoted(mark));
    fs::write(shelf.file(&damaged, FileKind::Onnx), [2; 2999]).unwrap();
    fs::remove_file(shelf.path(&format!("model_{}.json", gone.version))).unwrap();
    assert_eq!(rollback(&shelf).unwrap(), whole.version);
    assert_eq!(shelf.served(), Some(1));
}

#[test]
fn a_damaged_version_is_not_promoted_even_by_force() {
    let shelf = Shelf::new();
    let first = shelf.promoted(1);
    shelf.promoted(2);
    let path = shelf.file(&first, FileKind::Weights);
    let mut bytes = fs::read(&path).unwrap();
    bytes[0] ^= 1;
    fs::write(path, bytes).unwrap();
    let error = shelf.store.promote(&first.version, "test", "", true).unwrap_err();
    assert!(matches!(error, StoreError::WrongDigest { .. }), "{error}");
    assert_eq!((shelf.served(), shelf.latest()), (Some(2), Some(2)));
}

#[test]
fn a_candidate_needs_force_and_then_becomes_a_version() {
    let shelf = Shelf::new();
    shelf.promoted(1);
    let candidate = shelf.rejected(2);
    let error = shelf.store.promote(&candidate.version, "test", "", false).unwrap_err();
    assert!(matches!(&error, StoreError::GateRejected { reason, .. } if reason == "worse"), "{error}");
    assert_eq!(shelf.served(), Some(1));

    shelf.store.promote(&candidate.version, "test", "we know better", true).unwrap();
    assert_eq!(shelf.served(), Some(2));
    assert!(shelf.store.candidates().unwrap().is_empty());
    assert_eq!(shelf.store.metadata(&candidate.version).unwrap(), candidate, "its metadata is as it was published");
    shelf.assert_tidy();
}

#[test]
fn promoting_what_is_promoted_changes_nothing() {
    let shelf = Shelf::new();
    let first = shelf.promoted(1);
    let before = fs::read(shelf.path("latest_metadata.json")).unwrap();
    let pointer = shelf.store.promote(&first.version, "test", "again", false).unwrap();
    assert_eq!(pointer.reason, "better");
    assert_eq!(fs::read(shelf.path("latest_metadata.json")).unwrap(), before);
}

#[test]
fn the_lineage_is_what_was_promoted_newest_first_without_what_was_rolled_back_or_is_gone() {
    let shelf = Shelf::new();
    assert!(shelf.store.lineage(10).unwrap().is_empty());
    let [a, b, c, d] = [1, 2, 3, 4].map(|mark| shelf.promoted(mark));
    shelf.rejected(5);
    let lineage = || -> Vec<Version> { shelf.store.lineage(3).unwrap().into_iter().map(|metadata| metadata.version).collect() };
    assert_eq!(lineage(), [d.version.clone(), c.version.clone(), b.version.clone()]);
    rollback(&shelf).unwrap();
    assert_eq!(lineage(), [c.version.clone(), b.version.clone(), a.version.clone()]);
    fs::remove_file(shelf.path(&format!("model_{}.json", b.version))).unwrap();
    assert_eq!(lineage(), [c.version, a.version]);
}

#[test]
fn an_unknown_version_is_named() {
    let shelf = Shelf::new();
    shelf.promoted(1);
    let error = shelf.store.promote(&"20200101_000000".parse().unwrap(), "test", "", true).unwrap_err();
    assert!(matches!(error, StoreError::UnknownVersion { .. }) && error.to_string().contains("20200101_000000"), "{error}");
}

#[test]
fn promoters_at_once_are_served_one_after_the_other() {
    let shelf = Shelf::new();
    let versions: Vec<Version> = (1..=4).map(|mark| shelf.promoted(mark).version).collect();
    std::thread::scope(|scope| {
        for (number, version) in versions.iter().enumerate() {
            let root = shelf.root();
            scope.spawn(move || {
                let store = Store::open_with(root, quick()).unwrap();
                for _ in 0..5 {
                    store.promote(version, &format!("promoter {number}"), "mine", false).unwrap();
                }
            });
        }
        // A reader beside them sees a whole version every time.
        for _ in 0..200 {
            assert!(shelf.served().is_some());
        }
    });
    shelf.assert_tidy();
    let moves: Vec<_> = shelf.store.history().unwrap().into_iter().filter(|entry| entry.promotion.is_some()).collect();
    assert!(moves.iter().zip(1..).all(|(entry, number)| entry.promotion == Some(number)), "no move is lost or doubled");
    for pair in moves.windows(2) {
        assert_eq!(pair[1].from.as_ref(), Some(&pair[0].version), "each moved the pointer from where the one before had put it");
    }
    assert_eq!(shelf.pointed().as_ref(), moves.last().map(|entry| &entry.version));
}

#[test]
fn the_history_tells_who_did_what_and_survives_a_torn_line() {
    let shelf = Shelf::new();
    shelf.promoted(1);
    // A power cut in the middle of a line.
    let path = shelf.path("history.jsonl");
    let mut text = fs::read_to_string(&path).unwrap();
    text.push_str(r#"{"at":"2026-11-21T0"#);
    fs::write(&path, text).unwrap();
    shelf.promoted(2);
    rollback(&shelf).unwrap();
    shelf.rejected(3);

    let history = shelf.store.history().unwrap();
    let events: Vec<_> = history.iter().map(|entry| entry.event).collect();
    use HistoryEvent::{Promoted, Published, Rejected, RolledBack};
    assert_eq!(events, [Published, Promoted, Published, Promoted, RolledBack, Published, Rejected]);
    assert_eq!((history[4].by.as_str(), history[4].reason.as_str()), ("test", "bad"));
    assert_eq!(history[4].from, Some(history[3].version.clone()));
    assert_eq!(history.iter().map(|entry| entry.sequence).collect::<BTreeSet<_>>(), BTreeSet::from([1, 2, 3]));
}
