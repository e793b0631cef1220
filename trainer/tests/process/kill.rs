//! kill -9 at random moments: what is there afterwards, and what comes of going on.
//!
//! `KILLS=20 cargo test … kill` (`make kill-train`) makes more of them than `make test` has time for.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use edgeloop_store::{EpochLog, FileKind, Metadata, Store};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::support::{Trainer, images, status, train};

const EPOCHS: usize = 3;

/// Checkpoints at many places, in the middle of optimiser steps too.
const SETTINGS: [(&str, &str); 6] = [
    ("EPOCHS", "3"),
    ("BATCH_SIZE", "2"),
    ("NOMINAL_BATCH", "4"),
    ("CHECKPOINT_INTERVAL", "50ms"),
    ("MOSAIC", "0.5"),
    ("LOG_LEVEL", "info"),
];

/// What a finished run leaves.
struct Made {
    metadata: Metadata,
    /// Empty where a kill after the publishing took it.
    log: Vec<EpochLog>,
}

fn made(models: &Path) -> Option<Made> {
    let store = Store::open(models).unwrap();
    let metadata = store.pointer().unwrap()?.metadata;
    Some(Made { metadata, log: status(models).epochs_log })
}

/// Every file of every version is whole, at any moment.
fn assert_valid(models: &Path) {
    // Killed before it had made anything.
    let Ok(store) = Store::open(models) else { return };
    let survey = store.survey().unwrap();
    assert!(survey.broken.is_empty(), "{:?}", survey.broken);
    if let Some(pointer) = store.pointer().unwrap() {
        store.verify(pointer.version()).unwrap();
    }
    let _ = store.training_status().unwrap();
}

/// The largest relative difference of any loss or score.
fn difference(a: &[EpochLog], b: &[EpochLog]) -> f64 {
    let figures = |e: &EpochLog| [e.box_loss, e.cls_loss, e.dfl_loss, e.map50, e.map50_95, e.lr];
    let pairs = a.iter().zip(b).flat_map(|(a, b)| figures(a).into_iter().zip(figures(b)));
    pairs.map(|(a, b)| (a - b).abs() / a.abs().max(1e-12)).fold(0.0, f64::max)
}

#[test]
fn a_training_that_is_killed_again_and_again_ends_as_one_that_was_not() {
    let kills: u32 = std::env::var("KILLS").map_or(5, |text| text.parse().unwrap());
    let images = images(14);
    let undisturbed = tempfile::tempdir().unwrap();
    let began = Instant::now();
    train(images.path(), undisturbed.path(), &SETTINGS).ends(0, &["promoted"]);
    let took = began.elapsed();
    let straight = made(undisturbed.path()).unwrap();
    assert_eq!(straight.log.len(), EPOCHS);
    let weights = |made: &Made| made.metadata.file(FileKind::Weights).unwrap().sha256.clone();

    let mut rng = ChaCha8Rng::seed_from_u64(20);
    let (mut killed, mut finished, mut worst, mut epochs) = (0, 0, 0.0f64, 0);
    while killed < kills || finished == 0 {
        let models = tempfile::tempdir().unwrap();
        // A run that is gone on with: at first often enough to be killed, at last left to end.
        for attempt in 0.. {
            let until = if killed < kills && attempt < 12 { took.mul_f64(rng.random_range(0.02..1.05)) } else { Duration::from_secs(3600) };
            match Trainer::start(images.path(), models.path(), &SETTINGS).end_or_kill(Instant::now() + until) {
                None => killed += 1,
                Some(run) => {
                    // Either it has just been published, or it had been when the one before was killed.
                    assert_eq!(run.code, Some(0), "{}", run.text);
                    break;
                }
            }
            assert_valid(models.path());
        }
        assert_valid(models.path());
        let made = made(models.path()).unwrap();
        assert_eq!(weights(&made), weights(&straight), "other weights than without a kill");
        assert_eq!(made.metadata.metrics, straight.metadata.metrics);
        assert_eq!(made.metadata.training.epochs_done, straight.metadata.training.epochs_done);
        worst = worst.max(difference(&made.log, &straight.log));
        epochs += made.log.len();
        finished += 1;
        let store = Store::open(models.path()).unwrap();
        assert_eq!(std::fs::read_dir(store.checkpoint_dir()).unwrap().count(), 0);
        let versions = store.versions().unwrap().len() + store.candidates().unwrap().len();
        assert_eq!(versions, 1, "trained twice");
    }
    println!("{killed} kills, {finished} trainings finished, {epochs} epochs compared: losses differ by at most {worst:.1e}");
    assert!(epochs > 0 && worst <= 1e-6, "{epochs} epochs compared, losses differ by {worst}");
}
