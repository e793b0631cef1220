//! Runs that nobody watches: nothing new, quiet hours, budgets, and a training that cannot be saved.

use std::path::Path;

use edgeloop_model::{Array, Network, Scale, Weights, pt};
use edgeloop_store::{OutcomeKind, Store};

use super::support::{Trainer, images, label, outcome, status, train};

fn versions(models: &Path) -> usize {
    let store = Store::open(models).unwrap();
    store.versions().unwrap().len() + store.candidates().unwrap().len()
}

#[test]
fn the_same_images_and_settings_are_trained_on_once() {
    let (images, models) = (images(14), tempfile::tempdir().unwrap());
    let run = |more: &[(&str, &str)]| train(images.path(), models.path(), &[&[("EPOCHS", "1")], more].concat());
    run(&[]).ends(0, &["\"promoted\""]);
    run(&[]).ends(0, &["nothing_new", "(promoted ", "FORCE=true"]);
    assert_eq!((outcome(models.path()), versions(models.path())), (OutcomeKind::NothingNew, 1));
    // How it is trained may change without there being anything new.
    run(&[("THREADS", "2"), ("CACHE_MB", "8")]).ends(0, &["nothing_new"]);
    run(&[("FORCE", "true")]).ends(0, &["\"ended\""]);
    assert_eq!(versions(models.path()), 2);
    run(&[("SEED", "1")]).ends(0, &["\"ended\""]);
    assert_eq!(versions(models.path()), 3);

    label(images.path(), 14..16);
    run(&[("SEED", "1"), ("MIN_NEW_IMAGES", "3")]).ends(0, &["nothing_new", "2 images are new", "MIN_NEW_IMAGES is 3"]);
    // Labelled anew is new.
    std::fs::write(images.path().join("03.txt"), "0 0.5 0.5 0.4 0.4\n").unwrap();
    run(&[("SEED", "1"), ("MIN_NEW_IMAGES", "3")]).ends(0, &["\"ended\""]);
    assert_eq!(versions(models.path()), 4);
}

#[test]
fn a_training_that_diverges_twice_fails_once() {
    let (images, models) = (images(14), tempfile::tempdir().unwrap());
    // Losses that are not finite from the first batch on, whatever the rate.
    let network = Network::yolov8(Scale::N, 1);
    let mut weights = Weights::init(&network, 0);
    *weights.get_mut("model.22.cv3.0.2.bias").unwrap() = Array::f32([1], vec![f32::MAX]);
    let path = models.path().join("poison.pt");
    std::fs::write(&path, pt::write(&weights).unwrap()).unwrap();
    let more = [("EPOCHS", "8"), ("BATCH_SIZE", "2"), ("INIT_WEIGHTS", path.to_str().unwrap()), ("INIT_CLASSES", "square")];
    let run = train(images.path(), models.path(), &more);
    run.ends(1, &["\"retry\"", "diverged", "LR0"]);
    assert_eq!((outcome(models.path()), versions(models.path())), (OutcomeKind::Failed, 0));
    let retry = status(models.path()).retry.unwrap();
    assert!((retry.lr0 - 0.1 * retry.lr0_before).abs() < 1e-12);
    train(images.path(), models.path(), &more).ends(0, &["nothing_new", "(failed, "]);
    train(images.path(), models.path(), &[&more[..], &[("FORCE", "true")]].concat()).ends(1, &["diverged"]);
}

#[test]
fn in_quiet_hours_nothing_begins() {
    let (images, models) = (images(14), tempfile::tempdir().unwrap());
    train(images.path(), models.path(), &[("QUIET_HOURS", "00:00-24:00")]).ends(0, &["quiet_hours", "QUIET_HOURS (00:00-24:00)"]);
    assert_eq!((outcome(models.path()), versions(models.path())), (OutcomeKind::QuietHours, 0));
    train(images.path(), models.path(), &[("TRAIN_HOURS", "00:00-24:00"), ("EPOCHS", "1")]).ends(0, &["\"promoted\""]);
    train(images.path(), models.path(), &[("QUIET_HOURS", "10 to 12")]).ends(2, &["10 to 12", "22:00-06:00"]);
}

#[test]
fn a_budget_ends_with_a_model_or_with_a_checkpoint() {
    let (images, models) = (images(14), tempfile::tempdir().unwrap());
    let endless = [("EPOCHS", "100000"), ("TIME_BUDGET", "3s")];
    train(images.path(), models.path(), &endless).ends(0, &["\"promoted\""]);
    let metadata = Store::open(models.path()).unwrap().pointer().unwrap().unwrap().metadata;
    assert!((1..100_000).contains(&metadata.training.epochs_done), "{}", metadata.training.epochs_done);
    assert_eq!(metadata.training.hyper["time_budget_s"], 3.0);

    let models = tempfile::tempdir().unwrap();
    let pause = [("EPOCHS", "100000"), ("TIME_BUDGET", "2s"), ("TIME_BUDGET_END", "pause")];
    train(images.path(), models.path(), &pause).ends(143, &["TIME_BUDGET is used up", "\"stopped\""]);
    let before = status(models.path()).epochs_log.len() as u64;
    let mut again = Trainer::start(images.path(), models.path(), &pause);
    assert_eq!(again.event("training")["epochs_done"], before);
    again.end().ends(143, &[]);
    assert!(status(models.path()).epochs_log.len() as u64 >= before);
}

#[test]
fn a_checkpoint_that_a_power_cut_spoiled_is_no_reason_to_stop_for_ever() {
    let (images, models) = (images(14), tempfile::tempdir().unwrap());
    let more = [("EPOCHS", "4")];
    let mut trainer = Trainer::start(images.path(), models.path(), &more);
    trainer.event("epoch");
    trainer.signal(libc::SIGTERM);
    trainer.end().ends(143, &[]);
    let dir = Store::open(models.path()).unwrap().checkpoint_dir();
    for entry in std::fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        let length = path.metadata().unwrap().len() as usize;
        std::fs::write(&path, vec![0; length]).unwrap();
    }
    train(images.path(), models.path(), &more).ends(0, &["\"promoted\"", "cannot be used", "starting over", "\"epochs_done\":0"]);
}
