//! What is kept of the gate's verdict, of who overrode it, and of what a version has learnt from.

use std::fs;

use edgeloop_store::{ComparedFigure, Comparison, Decision, Forced, GateDecision, HistoryEvent, Owner, RivalRole, Verdict, Version};

use super::shelf::{Shelf, draft, promote};

fn comparison(rival: &Version) -> Comparison {
    let overall = ComparedFigure {
        name: "all".into(),
        boxes: 120,
        candidate: 0.4,
        rival: 0.5,
        limit: 0.01,
        confidence: 0.998,
        needed: 0.9,
        worse: true,
    };
    Comparison {
        rival: rival.clone(),
        role: RivalRole::Promoted,
        images: 60,
        resamples: 1000,
        per_class: vec![ComparedFigure { name: "bolt".into(), worse: false, candidate: f64::NAN, ..overall.clone() }],
        overall,
        new_classes: vec!["washer".into()],
        gone_classes: vec!["nut".into()],
    }
}

pub fn rejected(rival: &Version) -> Verdict {
    let decision = Decision::Reject { reason: "worse".into() };
    Verdict { decision, comparisons: vec![comparison(rival)], forced: None }
}

#[test]
fn the_figures_behind_a_verdict_are_kept() {
    let shelf = Shelf::new();
    let first = shelf.promoted(1);
    let second = shelf.publish(2, rejected(&first.version)).unwrap();
    let read = shelf.store.metadata(&second.version).unwrap();
    assert_eq!(read.gate.comparisons.len(), 1);
    let [compared] = &read.gate.comparisons[..] else { panic!("one") };
    assert_eq!((compared.overall.clone(), compared.role), (comparison(&first.version).overall, RivalRole::Promoted));
    assert!(compared.per_class[0].candidate.is_nan() && (compared.overall.drop() - 0.1).abs() < 1e-12);
    assert!(first.gate.comparisons.is_empty());
}

#[test]
fn a_version_that_is_forced_serves_and_who_and_why_are_written_down() {
    let shelf = Shelf::new();
    let first = shelf.promoted(1);
    let forced = Some(Forced { by: "ann".into(), reason: "the old one misses washers".into() });
    let second = shelf.publish(2, Verdict { forced, ..rejected(&first.version) }).unwrap();
    assert_eq!((shelf.served(), shelf.latest()), (Some(2), Some(2)));
    assert_eq!((second.gate.decision, second.gate.reason.as_str()), (GateDecision::Rejected, "worse"));
    assert_eq!(second.gate.forced.as_ref().unwrap().by, "ann");
    let pointer = shelf.store.pointer().unwrap().unwrap();
    assert_eq!((pointer.promoted_by.as_str(), pointer.reason.as_str()), ("ann", "the old one misses washers"));
    let history = shelf.store.history().unwrap();
    let [published, promoted] = &history[history.len() - 2..] else { panic!("two lines") };
    assert_eq!((published.event, published.reason.as_str(), published.forced), (HistoryEvent::Published, "worse", false));
    assert_eq!((promoted.event, promoted.by.as_str(), promoted.forced), (HistoryEvent::Promoted, "ann", true));
    assert_eq!(promoted.reason, "the old one misses washers");
    shelf.assert_tidy();
}

#[test]
fn force_has_nothing_to_do_where_the_gate_promotes() {
    let shelf = Shelf::new();
    let decision = Decision::Promote { reason: "first model".into() };
    let forced = Some(Forced { by: "ann".into(), reason: "by hand".into() });
    let first = shelf.publish(1, Verdict { decision, comparisons: Vec::new(), forced }).unwrap();
    assert_eq!((first.gate.decision, first.gate.forced), (GateDecision::Promoted, None));
    assert!(shelf.store.history().unwrap().iter().all(|entry| !entry.forced));
    assert_eq!(shelf.store.pointer().unwrap().unwrap().promoted_by, "test");
}

#[test]
fn a_candidate_promoted_by_hand_is_forced_in_the_history_and_a_version_is_not() {
    let shelf = Shelf::new();
    let first = shelf.promoted(1);
    let candidate = shelf.rejected(2);
    shelf.store.promote(&candidate.version, "ann", "we know better", true).unwrap();
    assert!(shelf.store.history().unwrap().last().unwrap().forced);
    shelf.store.promote(&first.version, "ann", "we did not", true).unwrap();
    assert!(!shelf.store.history().unwrap().last().unwrap().forced);
}

#[test]
fn what_a_version_has_seen_is_remembered_while_it_is_there() {
    let shelf = Shelf::new();
    let lock = shelf.store.lock_training(&Owner::current("test")).unwrap();
    let publish = |mark| shelf.store.publish(&lock, draft(mark), promote()).unwrap().version;
    let (first, second) = (publish(1), publish(2));
    assert_eq!(shelf.store.seen(&first), None);
    shelf.store.write_seen(&lock, &first, &[3, 1, 2]).unwrap();
    shelf.store.write_seen(&lock, &second, &[9]).unwrap();
    assert_eq!(shelf.store.seen(&first).unwrap(), [1, 2, 3]);

    // A version that is gone is forgotten at the next writing; a damaged file is as good as none.
    fs::remove_file(shelf.path(&format!("model_{first}.json"))).unwrap();
    shelf.store.write_seen(&lock, &second, &[9, 10]).unwrap();
    assert_eq!(shelf.store.seen(&first), None);
    assert_eq!(shelf.store.seen(&second).unwrap(), [9, 10]);
    let path = shelf.path(&format!("seen/{second}"));
    let mut bytes = fs::read(&path).unwrap();
    bytes[20] ^= 4;
    fs::write(&path, bytes).unwrap();
    assert_eq!(shelf.store.seen(&second), None);
}
