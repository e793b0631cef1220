//! Small real trainings: red and blue squares on grey noise, 64 px, the n-size network.
#![allow(clippy::unwrap_used)]

mod left_alone;
mod recipe;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use edgeloop_model::{Network, Scale, Weights};
use edgeloop_store::{EpochLog, LowerRate};
use edgeloop_vision::{Image, draw::encode_png};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::{
    data::{Augment, Object, Sample, ScanReport},
    loss::Gains,
};

const SIDE: u32 = 64;

/// An image with one or two squares, and where they are.
fn draw(dir: &Path, number: u64) -> Sample {
    let mut rng = ChaCha8Rng::seed_from_u64(number);
    let mut data: Vec<u8> = (0..SIDE * SIDE * 3).map(|_| rng.random_range(90..140)).collect();
    let mut objects = Vec::new();
    for half in 0..rng.random_range(1..=2) {
        let (class, side) = (rng.random_range(0..2u32), rng.random_range(16..28u32));
        // One in each half of the picture: they never overlap.
        let (x, y) = (half * 32 + rng.random_range(0..32 - side), rng.random_range(0..SIDE - side));
        for py in y..y + side {
            for px in x..x + side {
                let at = ((py * SIDE + px) * 3) as usize;
                data[at..at + 3].copy_from_slice(&[[220, 30, 30], [30, 30, 220]][class as usize]);
            }
        }
        let of = |v: u32| v as f32 / SIDE as f32;
        objects.push(Object { class, cx: of(x) + of(side) / 2.0, cy: of(y) + of(side) / 2.0, w: of(side), h: of(side) });
    }
    let path = dir.join(format!("{number}.png"));
    std::fs::write(&path, encode_png(&Image { width: SIDE, height: SIDE, data }).unwrap()).unwrap();
    Sample { path, content: [number as u8; 32], width: SIDE, height: SIDE, objects }
}

fn dataset(dir: &Path, train: u64, val: u64) -> Arc<Dataset> {
    Arc::new(Dataset {
        classes: vec!["red".to_owned(), "blue".to_owned()],
        train: (0..train).map(|n| draw(dir, n)).collect(),
        val: (train..train + val).map(|n| draw(dir, n)).collect(),
        report: ScanReport::default(),
        fingerprint: String::new(),
        split: String::new(),
        disk: None,
    })
}

fn hyper(epochs: u32) -> Hyper {
    Hyper {
        epochs,
        batch_size: 8,
        imgsz: SIDE,
        seed: 3,
        optimiser: Rule::AdamW,
        lr0: 0.002,
        lrf: 0.01,
        momentum: 0.9,
        weight_decay: 5e-4,
        nominal_batch: 8,
        warmup_batches: 5,
        close_mosaic: epochs / 2,
        augment: Augment { mosaic: 0.5, ..Augment::default() },
        bf16: false,
        recipe: Recipe::default(),
    }
}

/// For tests of one step.
pub(super) fn toy(dir: &Path) -> (Arc<Dataset>, Hyper) {
    (dataset(dir, 8, 4), hyper(2))
}

/// Keeps what it is told; sets `stop` after `stop_after` batches.
#[derive(Default)]
struct Witness {
    log: Vec<EpochLog>,
    batches: u64,
    stop_after: u64,
    stop: Arc<AtomicBool>,
    retry: Option<LowerRate>,
}

impl Observer for Witness {
    fn started(&mut self, _: &Plan, done: &[EpochLog]) {
        self.log = done.to_vec();
    }
    fn batch(&mut self, at: &BatchDone) {
        assert!(at.eta_s >= 0.0 && at.images_per_s > 0.0);
        self.batches += 1;
        self.stop.store(self.batches == self.stop_after, Ordering::Relaxed);
    }
    fn retrying(&mut self, retry: &LowerRate) {
        self.retry = Some(*retry);
    }
    fn epoch(&mut self, log: &EpochLog) -> anyhow::Result<()> {
        self.log.push(log.clone());
        Ok(())
    }
}

/// A run in the thread that asks, which nothing stops and nothing is kept of.
pub(super) fn toy_job<'a>(hyper: Hyper, network: &'a Network, dataset: Arc<Dataset>) -> Job<'a> {
    Job {
        hyper,
        network,
        init: None,
        dataset,
        device: Device::Cpu,
        workers: 0,
        cache_mb: 16,
        checkpoint: None,
        budget: None,
        stop: &|| false,
    }
}

/// How it is run, besides its numbers.
#[derive(Default)]
struct How<'a> {
    checkpoint: Option<(&'a Path, Duration)>,
    budget: Option<Budget>,
    init: Option<&'a Weights>,
    stop_after: u64,
}

fn run(data: &Arc<Dataset>, hyper: Hyper, how: How<'_>) -> (Result<Fitted, FitError>, Witness) {
    edgeloop_torch::set_threads(1);
    let network = Network::yolov8(Scale::N, 2);
    let mut witness = Witness { stop_after: how.stop_after, ..Witness::default() };
    let stop = witness.stop.clone();
    let job = Job {
        init: how.init,
        workers: 1,
        checkpoint: how.checkpoint.map(|(dir, every)| Keep { dir: dir.to_owned(), run: "run".to_owned(), every }),
        budget: how.budget,
        stop: &|| stop.load(Ordering::Relaxed),
        ..toy_job(hyper, &network, data.clone())
    };
    (fit(&job, &mut witness), witness)
}

/// With checkpoints after epochs and when it is stopped.
fn train(data: &Arc<Dataset>, hyper: Hyper, checkpoint: Option<&Path>, stop_after: u64) -> (Fitted, Witness) {
    let how = How { checkpoint: checkpoint.map(|dir| (dir, Duration::from_secs(3600))), stop_after, ..How::default() };
    let (fitted, witness) = run(data, hyper, how);
    (fitted.unwrap(), witness)
}

fn done(fitted: Fitted) -> Done {
    match fitted {
        Fitted::Done(done) => *done,
        Fitted::Stopped { epochs_done } => panic!("stopped after {epochs_done} epochs"),
    }
}

/// Everything of an epoch but the time it took, to 12 digits: a checkpoint keeps the log as decimal text.
fn figures(log: &[EpochLog]) -> Vec<String> {
    let of = |e: &EpochLog| [e.box_loss, e.cls_loss, e.dfl_loss, e.map50, e.map50_95].map(|v| format!("{v:.11e}")).join(" ");
    log.iter().map(of).collect()
}

#[test]
fn losses_fall_and_map_rises_on_a_toy_set() {
    let dir = tempfile::tempdir().unwrap();
    let data = dataset(dir.path(), 48, 12);
    let (fitted, witness) = train(&data, hyper(16), None, u64::MAX);
    let done = done(fitted);
    let (first, last) = (&done.log[0], &done.log[15]);
    assert_eq!(witness.log.len(), 16);
    assert!(last.cls_loss < 0.5 * first.cls_loss, "{first:?} {last:?}");
    assert!(last.box_loss < 0.7 * first.box_loss, "{first:?} {last:?}");
    assert!(first.map50 < 0.1, "{first:?}");
    assert!(last.map50 > 0.6, "{last:?}");
    assert!(done.best_epoch > 8);
}

#[test]
fn a_run_that_was_stopped_twice_ends_as_one_that_was_not() {
    let dir = tempfile::tempdir().unwrap();
    let data = dataset(dir.path(), 20, 4);
    // Three batches an epoch and two to a step: the first stop is in the middle of both, the second between epochs.
    for rule in [Rule::AdamW, Rule::Sgd] {
        let hyper = Hyper { nominal_batch: 16, warmup_batches: 1, optimiser: rule, ..hyper(4) };
        let straight = done(train(&data, hyper, None, u64::MAX).0);
        let folder = dir.path().join(format!("{rule:?}"));
        let (first, _) = train(&data, hyper, Some(&folder), 5);
        assert!(matches!(first, Fitted::Stopped { epochs_done: 1 }));
        let (second, _) = train(&data, hyper, Some(&folder), 4);
        assert!(matches!(second, Fitted::Stopped { epochs_done: 2 }));
        let (third, witness) = train(&data, hyper, Some(&folder), u64::MAX);
        let third = done(third);
        assert_eq!(figures(&third.log), figures(&straight.log));
        assert_eq!(third.weights, straight.weights);
        assert_eq!(figures(&witness.log), figures(&straight.log));
    }
}

#[test]
fn the_seed_decides_everything() {
    let dir = tempfile::tempdir().unwrap();
    let data = dataset(dir.path(), 16, 4);
    let run = |seed| done(train(&data, Hyper { seed, ..hyper(2) }, None, u64::MAX).0);
    let (one, again, other) = (run(1), run(1), run(2));
    assert_eq!(one.weights, again.weights);
    assert_eq!(figures(&one.log), figures(&again.log));
    assert_ne!(figures(&one.log), figures(&other.log));
}

#[test]
fn a_rate_that_blows_up_is_called_divergence() {
    let dir = tempfile::tempdir().unwrap();
    let data = dataset(dir.path(), 16, 4);
    let mut weights = Weights::init(&Network::yolov8(Scale::N, 2), 0);
    let bias = weights.get_mut("model.22.cv3.0.2.bias").unwrap();
    *bias = edgeloop_model::Array::f32([2], vec![f32::MAX; 2]);
    let (fitted, witness) = run(&data, hyper(10), How { init: Some(&weights), ..How::default() });
    let error = fitted.unwrap_err();
    // A lower rate cannot help here.
    assert!(witness.retry.is_some());
    assert!(matches!(error, FitError::Diverged { in_a_row: 10, .. }), "{error:?}");
    assert!(error.to_string().contains("LR0"), "{error}");
}

#[test]
fn judging_is_every_epoch_where_that_is_cheap() {
    assert_eq!(judge_every(192, 48), 1);
    assert_eq!(judge_every(185, 55), 1);
    assert_eq!(judge_every(118_000, 5_000), 1);
    assert_eq!(judge_every(100, 100), 4);
    assert_eq!(judge_every(0, 1), 4);
}
