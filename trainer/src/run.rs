//! One training, from the folder of images to a published version, top to bottom.

mod handing_over;
mod judging;
mod outcome;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use edgeloop_engine::library;
use edgeloop_service::exit::{BAD_INPUT, FAILURE, TEMPORARY, WithExitCode, bad_input, with_code};
use edgeloop_store::{Metadata, Owner, Phase, Store, StoreError, TrainLock, Version};
use serde_json::json;

use crate::{
    data::{DataOptions, Dataset, Scan, scan},
    fit::{self, Done, FitError, Fitted, Job, checkpoint},
    machine,
    replay::Seen,
    report::Reporter,
    settings::{Settings, StartFrom},
    start::{Brought, Request, Start},
};

use handing_over::Finished;
use judging::{Court, Judged};
pub use outcome::Outcome;

/// Trains once. `stop`, set from a signal handler, saves a checkpoint and ends.
///
/// # Errors
/// With exit code 2 for settings and images that must be changed first, 75 when another trainer is at work, 1 otherwise.
pub fn run(settings: &Settings, stop: &AtomicBool) -> anyhow::Result<Outcome> {
    settings.check().map_err(|why| bad_input(anyhow::anyhow!(why)))?;
    machine::use_threads(settings.resources.threads());
    // Needed at the very end, to check the exported model: better to know before hours of training.
    library::find(library::ONNX_RUNTIME).exit_code(BAD_INPUT)?;
    let store = Store::create(&settings.model_dir).exit_code(BAD_INPUT)?;
    let lock = match store.lock_training(&Owner::current("edgeloop-trainer")) {
        Err(error @ StoreError::LockHeld { .. }) => return Err(with_code(TEMPORARY, error)),
        other => other?,
    };
    let mut reporter = Reporter::new(&store, &lock);
    let result = train(settings, stop, &store, &lock, &mut reporter);
    outcome::report(&result, &mut reporter);
    result
}

fn train(settings: &Settings, stop: &AtomicBool, store: &Store, lock: &TrainLock, reporter: &mut Reporter<'_>) -> anyhow::Result<Outcome> {
    let Some(dataset) = scanned(settings, store, reporter)? else { return Ok(Outcome::WaitingForLabels) };
    if stop.load(Ordering::Relaxed) {
        return Ok(Outcome::Stopped);
    }

    let promoted = store.pointer()?.map(|pointer| pointer.metadata);
    let start = start(settings, store, promoted.as_ref(), &dataset.classes)?;
    let network = &start.network;
    let seen = Seen::plan(&settings.replay, store, start.parent.as_ref(), &dataset, settings.seed);
    say_seen(&seen, start.parent.as_ref(), reporter);
    let hyper = settings.hyper(&seen.dataset, start.weights.is_some());
    tracing::info!(?hyper, start = start.name, threads = settings.resources.threads(), "training");
    let key = json!({"hyper": hyper, "data": dataset.fingerprint, "scale": settings.scale.to_string(), "start": start.name,
        "replay": seen.record()});
    let checkpoints = store.checkpoint_dir();
    if !settings.resume {
        checkpoint::remove(&checkpoints)?;
    }
    let job = Job {
        hyper,
        network,
        init: start.weights.as_ref(),
        dataset: seen.dataset.clone(),
        device: settings.device,
        workers: settings.resources.workers(),
        cache_mb: settings.resources.cache_mb(),
        checkpoint: Some((checkpoints.clone(), key.to_string())),
        stop,
    };
    let done = match fit::fit(&job, reporter).map_err(|e| with_code(exit_code(&e), e))? {
        Fitted::Stopped { .. } => return Ok(Outcome::Stopped),
        Fitted::Done(done) => done,
    };

    reporter.phase(Phase::Judging);
    let court = Court { settings, store, dataset: &dataset };
    let judged = court.judged(network, &done.weights)?;
    say_judged(&judged, &done, reporter);
    let promote = judged.verdict.promotes();

    let finished = Finished { settings, dataset: &dataset, network, hyper, done: &done, parent: start.parent, seen: &seen };
    let metadata = Box::new(finished.publish(judged, store, lock, reporter)?);
    if let Err(error) = checkpoint::remove(&checkpoints) {
        tracing::warn!("{error}");
    }
    Ok(if promote { Outcome::Promoted(metadata) } else { Outcome::Rejected(metadata) })
}

/// The folder of images; `None` while nobody has labelled any.
fn scanned(settings: &Settings, store: &Store, reporter: &mut Reporter<'_>) -> anyhow::Result<Option<Arc<Dataset>>> {
    let options = DataOptions { memory_dir: Some(store.scan_dir()), ..settings.data_options() };
    let found = scan(&settings.images_dir, &options).map_err(|e| with_code(e.exit_code(), e))?;
    let dataset = match found {
        Scan::WaitingForLabels(report) => {
            reporter.say(&report.to_string(), &json!({"event": "scanned", "images": report.images, "labelled": 0}));
            return Ok(None);
        }
        Scan::Ready(dataset) => Arc::new(dataset),
    };
    let report = &dataset.report;
    reporter.say(
        &report.to_string(),
        &json!({"event": "scanned", "images": report.images, "labelled": report.labelled, "unlabelled": report.unlabelled,
            "skipped": report.skipped.len(), "boxes": report.boxes, "train": dataset.train.len(), "val": dataset.val.len()}),
    );
    reporter.val_sample(dataset.val.iter().map(|sample| sample.path.clone()));
    Ok(Some(dataset))
}

fn start(settings: &Settings, store: &Store, promoted: Option<&Metadata>, classes: &[String]) -> anyhow::Result<Start> {
    let request = Request { scale: settings.scale, classes, seed: settings.seed };
    Ok(match (&settings.init.init_weights, settings.start_from, promoted) {
        (Some(path), _, _) => {
            let brought = Brought::read(path, settings.init.init_classes.as_deref()).exit_code(BAD_INPUT)?;
            Start::file(brought, &request).exit_code(BAD_INPUT)?
        }
        (None, StartFrom::Promoted, Some(promoted)) => Start::promoted(store, promoted, &request),
        (None, ..) => Start::scratch(&request),
    })
}

fn say_seen(seen: &Seen, parent: Option<&Version>, reporter: &Reporter<'_>) {
    let Seen { new, older, replayed, .. } = seen;
    reporter.say(&seen.describe(parent), &json!({"event": "replay", "new": new, "older": older, "replayed": replayed, "parent": parent}));
}

fn say_judged(judged: &Judged, done: &Done, reporter: &Reporter<'_>) {
    let Judged { metrics, verdict, .. } = judged;
    reporter.say(
        &format!(
            "best epoch {} · mAP50 {:.3} mAP50-95 {:.3} · {:.0} s, {:.1} images/s",
            done.best_epoch, metrics.map50, metrics.map50_95, done.seconds, done.images_per_s
        ),
        &json!({"event": "judged", "best_epoch": done.best_epoch, "mAP50": metrics.map50, "mAP50-95": metrics.map50_95,
            "precision": metrics.precision, "recall": metrics.recall, "seconds": done.seconds,
            "images_per_s": done.images_per_s, "gate": verdict.decision.reason()}),
    );
}

fn exit_code(error: &FitError) -> u8 {
    match error {
        FitError::Data(error) => error.exit_code(),
        _ => FAILURE,
    }
}
