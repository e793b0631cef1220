//! Folders that it can train on: what it publishes, how it stops, how it goes on.

use edgeloop_store::{FileKind, GateDecision, OutcomeKind, Owner, Phase, Store};

use super::support::{Trainer, images, train};

#[test]
fn a_folder_becomes_a_version_and_the_next_training_starts_from_it() {
    let (images, models) = (images(16), tempfile::tempdir().unwrap());
    let mut trainer = Trainer::start(images.path(), models.path(), &[]);
    assert_eq!(trainer.event("scanned")["images"], 16);
    assert_eq!(trainer.event("epoch")["epoch"], 1);
    assert_eq!(trainer.event("ended")["result"], "promoted");
    assert_eq!(trainer.end().code, Some(0));

    let store = Store::open(models.path()).unwrap();
    let first = store.pointer().unwrap().unwrap().metadata;
    store.verify(&first.version).unwrap();
    for kind in FileKind::ALL {
        assert!(!store.read_verified(&first, kind).unwrap().is_empty());
    }
    assert_eq!((first.classes.as_slice(), first.image_size), (["square".to_owned()].as_slice(), 64));
    assert_eq!((first.training.epochs_done, first.training.parent.as_ref()), (2, None));
    assert_eq!(first.training.hyper["optimiser"], "adamw");
    assert_eq!(std::fs::read_dir(store.checkpoint_dir()).unwrap().count(), 0);
    let status = store.training_status().unwrap().unwrap();
    assert_eq!((status.phase, status.epochs_log.len()), (Phase::Done, 2));
    assert!(!status.val_sample.is_empty());
    let outcome = status.last_outcome.unwrap();
    assert_eq!((outcome.result, outcome.version), (OutcomeKind::Promoted, Some(first.version.clone())));

    // A gate that nobody passes: kept as a candidate, and what serves goes on serving.
    train(images.path(), models.path(), &[("GATE_MAX_DROP", "-2")]).ends(0, &["rejected"]);
    let second = store.candidates().unwrap().remove(0);
    assert_eq!(second.training.parent, Some(first.version.clone()));
    assert_eq!((second.gate.decision, second.gate.compared_with), (GateDecision::Rejected, Some(first.version.clone())));
    assert_eq!(store.pointer().unwrap().unwrap().metadata.version, first.version);
}

#[test]
fn a_stopped_training_goes_on_where_it_was() {
    let (images, models) = (images(16), tempfile::tempdir().unwrap());
    // Niced, as `edgeloop up` starts it: it begins again to change how its threads wait, and the signal still arrives.
    let more = [("EPOCHS", "40"), ("SHARE_CORES", "true")];
    let mut trainer = Trainer::start(images.path(), models.path(), &more);
    trainer.event("epoch");
    trainer.signal(libc::SIGTERM);
    assert_eq!(trainer.event("ended")["result"], "stopped");
    assert_eq!(trainer.end().code, Some(143));
    let store = Store::open(models.path()).unwrap();
    assert_eq!(store.training_status().unwrap().unwrap().phase, Phase::Stopped);
    assert!(store.pointer().unwrap().is_none());

    let mut trainer = Trainer::start(images.path(), models.path(), &more);
    let done = trainer.event("training")["epochs_done"].as_u64().unwrap();
    assert!(done >= 1);
    assert_eq!(trainer.event("epoch")["epoch"], done + 1);
    trainer.signal(libc::SIGTERM);
    assert_eq!(trainer.end().code, Some(143));
    // Other settings are another run.
    let mut trainer = Trainer::start(images.path(), models.path(), &[("EPOCHS", "1")]);
    assert_eq!(trainer.event("training")["epochs_done"], 0);
    assert_eq!(trainer.end().code, Some(0));
}

#[test]
fn one_trainer_at_a_time() {
    let (images, models) = (images(8), tempfile::tempdir().unwrap());
    let store = Store::create(models.path()).unwrap();
    let _lock = store.lock_training(&Owner::current("somebody else")).unwrap();
    assert_eq!(train(images.path(), models.path(), &[]).code, Some(75));
}

#[test]
fn settings_that_make_no_sense_end_with_2() {
    let (images, models) = (images(8), tempfile::tempdir().unwrap());
    for wrong in [("IMGSZ", "100"), ("EPOCHS", "none"), ("INIT_WEIGHTS", "/nowhere.pt"), ("DEVICE", "cuda:99")] {
        assert_eq!(train(images.path(), models.path(), &[wrong]).code, Some(2), "{wrong:?}");
    }
}
