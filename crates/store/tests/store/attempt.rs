//! What the last training was made of, and how it ended.

use edgeloop_store::{Attempt, Decision, OutcomeKind, Owner, StoreError};

use super::shelf::{Shelf, draft, promote};

fn images(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn begun(shelf: &Shelf, settings: &str) -> Attempt {
    let lock = shelf.store.lock_training(&Owner::current("test")).unwrap();
    let data = draft(1).dataset.fingerprint;
    shelf.store.begin_attempt(&lock, data, settings.to_owned(), images(&["b", "a"])).unwrap()
}

/// Publishes a version that says which settings made it.
fn published(shelf: &Shelf, settings: &str, decision: Decision) {
    let mut draft = draft(1);
    draft.training.hyper.insert("settings".to_owned(), settings.into());
    let lock = shelf.store.lock_training(&Owner::current("test")).unwrap();
    shelf.store.publish(&lock, draft, decision).unwrap();
}

fn ended(shelf: &Shelf) -> Option<OutcomeKind> {
    shelf.store.last_attempt().unwrap().unwrap().ended.map(|ended| ended.result)
}

#[test]
fn an_attempt_is_read_as_it_was_written() {
    let shelf = Shelf::new();
    assert_eq!(shelf.store.last_attempt().unwrap(), None);
    let attempt = begun(&shelf, "s");
    assert_eq!(attempt.images, ["a", "b"]);
    assert_eq!(shelf.store.last_attempt().unwrap(), Some(attempt.clone()));
    let lock = shelf.store.lock_training(&Owner::current("test")).unwrap();
    shelf.store.end_attempt(&lock, attempt, OutcomeKind::Failed, None).unwrap();
    assert_eq!(ended(&shelf), Some(OutcomeKind::Failed));
    shelf.assert_tidy();
}

#[test]
fn one_that_was_cut_off_after_publishing_has_ended_with_its_version() {
    let shelf = Shelf::new();
    begun(&shelf, "s");
    published(&shelf, "other settings", promote());
    assert_eq!(ended(&shelf), None);
    published(&shelf, "s", promote());
    assert_eq!(ended(&shelf), Some(OutcomeKind::Promoted));
    // Forced, and cut off before it published: what an earlier one made of the same is not its own.
    begun(&shelf, "s");
    assert_eq!(ended(&shelf), None);
    published(&shelf, "s", Decision::Reject { reason: "worse".into() });
    assert_eq!(ended(&shelf), Some(OutcomeKind::Rejected));
}

#[test]
fn images_are_new_when_they_or_their_labels_were_not_there() {
    let shelf = Shelf::new();
    let earlier = begun(&shelf, "s");
    assert_eq!(earlier.unseen(&images(&["d", "b", "c"])), 2);
    assert_eq!(earlier.unseen(&earlier.images), 0);
}

#[test]
fn a_damaged_file_is_refused_with_its_name() {
    let shelf = Shelf::new();
    std::fs::write(shelf.path("last_attempt.json"), vec![0; 40]).unwrap();
    let error = shelf.store.last_attempt().unwrap_err();
    assert!(matches!(&error, StoreError::BadFile { path, .. } if path.ends_with("last_attempt.json")), "{error}");
}
