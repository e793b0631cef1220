//! What the trainer says about itself.

use edgeloop_store::{Clock, EpochLog, Outcome, OutcomeKind, Phase, StoreError, TrainingStatus};

use super::shelf::{Shelf, names};

fn status(shelf: &Shelf) -> TrainingStatus {
    let now = shelf.clock.utc();
    let epoch = EpochLog { epoch: 1, box_loss: 1.5, map50: f64::NAN, ..EpochLog::default() };
    TrainingStatus {
        phase: Phase::WaitingForLabels,
        pid: 7,
        started_at: now,
        updated_at: now,
        epoch: 1,
        epochs: 20,
        eta_s: Some(12.5),
        epochs_log: vec![epoch],
        retry: None,
        val_sample: vec!["a.jpg".into()],
        last_outcome: Some(Outcome {
            at: now,
            result: OutcomeKind::WaitingForLabels,
            version: Some("20261121_030000".parse().unwrap()),
            message: "no labels yet".into(),
        }),
    }
}

#[test]
fn it_is_read_as_it_was_written_and_replaced_whole() {
    let shelf = Shelf::new();
    assert_eq!(shelf.store.training_status().unwrap(), None);
    let written = status(&shelf);
    shelf.store.write_training_status(&written).unwrap();
    let mut read = shelf.store.training_status().unwrap().unwrap();
    assert!(read.epochs_log[0].map50.is_nan(), "not measured stays not measured");
    read.epochs_log[0].map50 = 0.0;
    let mut expected = written.clone();
    expected.epochs_log[0].map50 = 0.0;
    assert_eq!(read, expected);

    shelf.store.write_training_status(&TrainingStatus { phase: Phase::Done, ..written }).unwrap();
    assert_eq!(shelf.store.training_status().unwrap().unwrap().phase, Phase::Done);
    assert!(names(&shelf.path(".staging")).is_empty());
    let text = std::fs::read_to_string(shelf.path("training_status.json")).unwrap();
    assert!(text.contains("\"phase\": \"done\"") && text.contains("\"result\": \"waiting_for_labels\""), "{text}");
}

#[test]
fn a_garbage_status_is_refused_with_its_name() {
    let shelf = Shelf::new();
    std::fs::write(shelf.path("training_status.json"), b"{").unwrap();
    let error = shelf.store.training_status().unwrap_err();
    assert!(matches!(&error, StoreError::BadFile { path, .. } if path.ends_with("training_status.json")), "{error}");
}
