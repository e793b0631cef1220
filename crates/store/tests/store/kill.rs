//! A process killed at every step leaves the old version or the new one, and the next writer tidies up.

use std::os::unix::process::ExitStatusExt;

use edgeloop_store::{HistoryEvent, Version, fault};
use rstest::rstest;

use super::child::{self, DONE, MARK};
use super::shelf::{Shelf, names};

const SIGABRT: i32 = 6;

/// The step from which on a promotion has happened.
const COMMITTED: &str = "pointer-moved";

fn is_after(point: &str, milestone: &str) -> bool {
    let place = |wanted| fault::POINTS.iter().position(|point| *point == wanted).unwrap();
    place(point) >= place(milestone)
}

fn kill(shelf: &Shelf, task: &str, point: &str) {
    let status = child::run(shelf.root(), task, point);
    assert_eq!(status.signal(), Some(SIGABRT), "{task} did not reach {point}: {status}");
}

/// Every promotion in the history is one that readers could see, in the order of its number, and none is there twice.
fn assert_history(shelf: &Shelf, expected: &[&Version]) {
    let history = shelf.store.history().unwrap();
    let moves: Vec<_> = history.iter().filter(|entry| entry.promotion.is_some()).collect();
    assert_eq!(moves.iter().map(|entry| &entry.version).collect::<Vec<_>>(), expected);
    assert!(moves.iter().zip(1..).all(|(entry, number)| entry.promotion == Some(number)), "{moves:?}");
}

#[test]
fn a_publisher_killed_at_any_step_leaves_the_old_or_the_new_version() {
    for point in fault::POINTS {
        let shelf = Shelf::new();
        let old = shelf.promoted(1);
        kill(&shelf, "promote", point);

        let committed = is_after(point, COMMITTED);
        assert_eq!(shelf.served(), Some(if committed { MARK } else { 1 }), "{point}");
        let pointed = shelf.pointed().unwrap();

        let next = shelf.promoted(3);
        assert_eq!(shelf.served(), Some(3), "{point}");
        shelf.assert_tidy();
        assert_eq!(shelf.store.versions().unwrap().len(), if committed { 3 } else { 2 }, "{point}");
        assert_eq!(shelf.store.pointer().unwrap().unwrap().predecessors[0], pointed, "{point}");
        let expected = if committed { vec![&old.version, &pointed, &next.version] } else { vec![&old.version, &next.version] };
        assert_history(&shelf, &expected);
    }
}

#[test]
fn a_first_publisher_killed_at_any_step_leaves_nothing_or_its_version() {
    for point in fault::POINTS {
        let shelf = Shelf::new();
        kill(&shelf, "promote", point);
        let committed = is_after(point, COMMITTED);
        assert_eq!(shelf.served(), committed.then_some(MARK), "{point}");
        // The next writer need not be a trainer.
        if committed {
            shelf.store.rollback("test", "nothing to go to").unwrap_err();
        } else {
            shelf.store.prune(&Default::default()).unwrap();
            assert_eq!(shelf.latest(), None, "{point}");
        }
        shelf.promoted(3);
        shelf.assert_tidy();
    }
}

#[test]
fn killed_twice_in_a_row_it_still_recovers() {
    for first in fault::POINTS {
        let shelf = Shelf::new();
        shelf.promoted(1);
        kill(&shelf, "promote", first);
        kill(&shelf, "promote", "moved-latest-weights");
        let expected = if is_after(first, COMMITTED) { MARK } else { 1 };
        assert_eq!(shelf.served(), Some(expected), "{first}");
        // Just taking the lock tidies up: a trainer that has nothing to publish is enough.
        drop(shelf.store.lock_training(&edgeloop_store::Owner::current("test")).unwrap());
        shelf.assert_tidy();
        assert_eq!(shelf.served(), Some(expected), "{first}");
    }
}

#[test]
fn a_publisher_of_a_rejected_version_killed_at_any_step_never_moves_the_pointer() {
    for point in fault::POINTS {
        let shelf = Shelf::new();
        shelf.promoted(1);
        let status = child::run(shelf.root(), "reject", point);
        let skipped = ["moved-latest-weights", "moved-latest-onnx", COMMITTED].contains(point);
        assert_eq!(status.code() == Some(DONE), skipped, "{point}: {status}");
        assert_eq!(shelf.served(), Some(1), "{point}");
        shelf.promoted(3);
        shelf.assert_tidy();
        let candidates = shelf.store.candidates().unwrap();
        assert_eq!(candidates.len(), usize::from(is_after(point, "moved-metadata")), "{point}");
        let rejected = shelf.store.history().unwrap().iter().filter(|entry| entry.event == HistoryEvent::Rejected).count();
        assert_eq!(rejected, candidates.len(), "{point}");
    }
}

#[rstest]
fn a_roll_back_or_forced_promotion_killed_at_any_step_leaves_the_old_or_the_new_version(#[values("rollback", "force")] task: &str) {
    for point in fault::POINTS.iter().filter(|point| is_after(point, "publish-locked")) {
        let shelf = Shelf::new();
        let (first, second) = (shelf.promoted(1), shelf.promoted(3));
        let candidate = shelf.rejected(4);
        let (task, goal) = if task == "force" { (format!("force {}", candidate.version), 4) } else { (task.to_owned(), 1) };
        let status = child::run(shelf.root(), &task, point);
        let moves_no_files = goal == 1 && point.starts_with("moved-") && !point.starts_with("moved-latest");
        assert_eq!(status.code() == Some(DONE), moves_no_files, "{point}: {status}");

        let committed = moves_no_files || is_after(point, COMMITTED);
        assert_eq!(shelf.served(), Some(if committed { goal } else { 3 }), "{task} {point}");
        shelf.store.prune(&Default::default()).unwrap();
        shelf.assert_tidy();
        let (versions, candidates) = (shelf.store.versions().unwrap().len(), shelf.store.candidates().unwrap().len());
        assert_eq!((versions, candidates), if committed && goal == 4 { (3, 0) } else { (2, 1) }, "{task} {point}");
        let mut moves = vec![&first.version, &second.version];
        if committed {
            moves.push(if goal == 4 { &candidate.version } else { &first.version });
        }
        assert_history(&shelf, &moves);
    }
}

#[test]
fn a_pruning_killed_at_any_step_is_finished_or_undone() {
    for point in fault::PRUNE_POINTS {
        let shelf = Shelf::new();
        let versions = [1, 2, 3].map(|mark| shelf.promoted(mark));
        kill(&shelf, "prune", point);
        assert_eq!(shelf.served(), Some(3), "{point}");
        shelf.promoted(4);
        shelf.assert_tidy();
        let gone = *point != "prune-begun";
        assert_eq!(shelf.store.metadata(&versions[0].version).is_err(), gone, "{point}");
        let pruned = shelf.store.history().unwrap().iter().filter(|entry| entry.event == HistoryEvent::Pruned).count();
        assert_eq!(pruned, usize::from(gone), "{point}");
    }
}

#[test]
fn the_fault_points_are_all_reached() {
    // A point that nothing passes would make the tests above pass for nothing.
    let shelf = Shelf::new();
    shelf.promoted(1);
    for point in fault::POINTS {
        kill(&shelf, "promote", point);
    }
    assert!(names(shelf.root()).contains(&"history.jsonl".to_owned()));
}
