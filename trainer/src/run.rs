//! One training, from the folder of images to a published version, top to bottom.

mod handing_over;
mod judging;
mod novelty;
mod outcome;
mod room;
mod stopping;

use std::{
    path::Path,
    sync::{Arc, atomic::AtomicBool},
    time::{Instant, SystemTime},
};

use edgeloop_engine::library;
use edgeloop_service::exit::{BAD_INPUT, FAILURE, TEMPORARY, WithExitCode, bad_input, with_code};
use edgeloop_store::{Attempt, Metadata, OutcomeKind, Owner, Phase, Store, StoreError, TrainLock, Version};
use serde_json::json;

use crate::{
    data::{DataOptions, Dataset, Scan, scan},
    fit::{self, Done, FitError, Fitted, Job, Keep, budget::Budget, checkpoint},
    machine, notify,
    replay::{self, Seen},
    report::Reporter,
    settings::{Settings, StartFrom},
    start::{Brought, Request, Start},
    unattended::{BudgetEnd, Unattended, settings_digest},
};

use handing_over::{Finished, retention};
use judging::{Court, Judged};
use novelty::{Material, nothing_new};
pub use outcome::Outcome;
pub use stopping::Stopped;
use stopping::Stopping;

/// Trains once, and tells whoever wants to know. `stop`, set from a signal handler, saves a checkpoint and ends.
///
/// # Errors
/// With exit code 2 for settings and images that must be changed first, 75 when another trainer is at work, 1 otherwise.
pub fn run(settings: &Settings, stop: &AtomicBool) -> anyhow::Result<Outcome> {
    let result = begin(settings, stop);
    notify::tell(settings, &result);
    result
}

fn begin(settings: &Settings, stop: &AtomicBool) -> anyhow::Result<Outcome> {
    let began = Instant::now();
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
    let result = match settings.unattended.quiet(SystemTime::now()) {
        Some(why) => Ok(Outcome::QuietHours(why)),
        None => Run { settings, store: &store, lock: &lock, began }.train(stop, &mut reporter),
    };
    outcome::report(&result, &mut reporter);
    result
}

/// A run that has the lock.
struct Run<'a> {
    settings: &'a Settings,
    store: &'a Store,
    lock: &'a TrainLock,
    began: Instant,
}

impl Run<'_> {
    fn train(&self, stop: &AtomicBool, reporter: &mut Reporter<'_>) -> anyhow::Result<Outcome> {
        let Self { settings, store, lock, began } = *self;
        let stopping = Stopping::new(stop, &settings.unattended, began);
        let Some(dataset) = scanned(settings, store, reporter)? else { return Ok(Outcome::WaitingForLabels) };
        settings.class_thresholds.check(&dataset.classes).map_err(|why| bad_input(anyhow::anyhow!(why)))?;
        if stopping.now() {
            return Ok(Outcome::Stopped(stopping.why()));
        }
        let material = material(settings, &dataset);
        if let Some(why) = nothing_new(last_attempt(store).as_ref(), &material, &settings.unattended) {
            // Of an attempt that was cut off after it had published.
            tidy(&store.checkpoint_dir());
            return Ok(Outcome::NothingNew(why));
        }

        let promoted = store.pointer()?.map(|pointer| pointer.metadata);
        let start = start(settings, store, promoted.as_ref(), &dataset.classes)?;
        let network = &start.network;
        let seen = Seen::plan(&settings.replay, store, start.parent.as_ref(), &dataset, settings.seed);
        say_seen(&seen, start.parent.as_ref(), reporter);
        let hyper = settings.hyper(&seen.dataset, start.weights.is_some());
        room::check(store, &retention(settings), network, hyper.optimiser, settings.imgsz)?;
        say_epochs(settings.epochs(), hyper.epochs, reporter);
        tracing::info!(?hyper, start = start.name, threads = settings.resources.threads(), "training");
        let settings_digest = material.settings.clone();
        let attempt = store.begin_attempt(lock, material.data, material.settings, material.images)?;

        let key = json!({"hyper": hyper, "data": dataset.fingerprint, "scale": settings.scale.to_string(), "start": start.name,
            "replay": seen.record()});
        let dir = store.checkpoint_dir();
        if !settings.resume {
            checkpoint::remove(&dir)?;
        }
        let job = Job {
            hyper,
            network,
            init: start.weights.as_ref(),
            dataset: seen.dataset.clone(),
            device: settings.device,
            workers: settings.resources.workers(),
            cache_mb: settings.resources.cache_mb(),
            checkpoint: Some(Keep { dir: dir.clone(), run: key.to_string(), every: settings.unattended.checkpoint_interval }),
            budget: budget(settings, began),
            stop: &|| stopping.now(),
        };
        let done = match fit::fit(&job, reporter) {
            Ok(Fitted::Done(done)) => done,
            Ok(Fitted::Stopped { .. }) => return Ok(Outcome::Stopped(stopping.why())),
            Err(error) => {
                if matches!(error, FitError::Diverged { .. }) {
                    // Twice, from the same images and settings: a third time would be no different.
                    tidy(&dir);
                    ended(store, lock, attempt, OutcomeKind::Failed, None);
                }
                return Err(with_code(exit_code(&error), error));
            }
        };

        reporter.phase(Phase::Judging);
        let court = Court { settings, store, dataset: &dataset };
        let judged = court.judged(network, &done.weights)?;
        say_judged(&judged, &done, reporter);
        let promote = judged.verdict.promotes();

        let finished =
            Finished { settings, dataset: &dataset, network, hyper, done: &done, parent: start.parent, seen: &seen, settings_digest };
        let metadata = Box::new(finished.publish(judged, store, lock, reporter)?);
        let result = if promote { OutcomeKind::Promoted } else { OutcomeKind::Rejected };
        ended(store, lock, attempt, result, Some(metadata.version.clone()));
        tidy(&dir);
        Ok(if promote { Outcome::Promoted(metadata) } else { Outcome::Rejected(metadata) })
    }
}

fn material(settings: &Settings, dataset: &Dataset) -> Material {
    let samples = dataset.train.iter().chain(&dataset.val);
    let images = samples.map(|sample| format!("{:016x}", replay::image(sample, &dataset.classes))).collect();
    Material { data: dataset.fingerprint.clone(), settings: settings_digest(settings, dataset), images }
}

/// A record that cannot be read costs one training too many, no more.
fn last_attempt(store: &Store) -> Option<Attempt> {
    store.last_attempt().unwrap_or_else(|error| {
        tracing::warn!("the record of the last training cannot be read, all images count as new: {error}");
        None
    })
}

/// What was published says the same by itself: this must not turn it into a failure.
fn ended(store: &Store, lock: &TrainLock, attempt: Attempt, result: OutcomeKind, version: Option<Version>) {
    if let Err(error) = store.end_attempt(lock, attempt, result, version) {
        tracing::warn!("the end of this training cannot be recorded: {error}");
    }
}

fn tidy(checkpoints: &Path) {
    if let Err(error) = checkpoint::remove(checkpoints) {
        tracing::warn!("{error}");
    }
}

/// The time that the fit has, where the run must end with a model.
fn budget(settings: &Settings, began: Instant) -> Option<Budget> {
    let Unattended { time_budget, time_budget_end, .. } = &settings.unattended;
    let seconds = time_budget.filter(|_| *time_budget_end == BudgetEnd::Publish)?.as_secs_f64();
    Some(Budget { seconds, before: began.elapsed().as_secs_f64() })
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

fn say_epochs(asked: u32, epochs: u32, reporter: &Reporter<'_>) {
    if epochs > asked {
        reporter.say(
            &format!("{epochs} epochs instead of {asked}: fewer batches get nowhere from random weights (MIN_ITERATIONS)"),
            &json!({"event": "epochs_raised", "epochs": epochs, "asked": asked}),
        );
    }
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
