//! One training, from the folder of images to a published version, top to bottom.

use std::{
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use edgeloop_engine::library;
use edgeloop_model::{Network, Weights};
use edgeloop_service::exit::{BAD_INPUT, FAILURE, TEMPORARY, TERMINATED, WithExitCode, bad_input, with_code};
use edgeloop_store::{Decision, Metadata, OutcomeKind, Owner, Phase, Retention, Store, StoreError, TrainLock, TrainingInfo, Version};
use edgeloop_vision::map::MapReport;
use serde_json::json;

use crate::{
    data::{Dataset, LoaderConfig, Scan, ValLoader, scan},
    fit::{self, Done, FitError, Fitted, Hyper, Job, checkpoint},
    gate::Promoted,
    judge::judge,
    machine,
    net::Yolo,
    publish::{self, Content},
    report::Reporter,
    settings::{Settings, StartFrom},
    start::{Start, weights_of},
};

/// How a run ended that did not fail.
#[derive(Debug)]
pub enum Outcome {
    /// A new version serves.
    Promoted(Box<Metadata>),
    /// The new version was not good enough.
    Rejected(Box<Metadata>),
    /// There are images, and nobody has labelled them yet.
    WaitingForLabels,
    /// Somebody asked to stop; a checkpoint is there.
    Stopped,
}

impl Outcome {
    /// What the process ends with.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Promoted(_) | Self::Rejected(_) | Self::WaitingForLabels => ExitCode::SUCCESS,
            Self::Stopped => ExitCode::from(TERMINATED),
        }
    }
}

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
    match &result {
        Ok(Outcome::Promoted(m)) => {
            reporter.ended(Phase::Done, OutcomeKind::Promoted, Some(m.version.clone()), &format!("promoted: {}", m.gate.reason));
        }
        Ok(Outcome::Rejected(m)) => {
            reporter.ended(Phase::Done, OutcomeKind::Rejected, Some(m.version.clone()), &format!("rejected: {}", m.gate.reason));
        }
        Ok(Outcome::WaitingForLabels) => reporter.ended(
            Phase::WaitingForLabels,
            OutcomeKind::WaitingForLabels,
            None,
            "waiting_for_labels: there are images, but no labels yet",
        ),
        Ok(Outcome::Stopped) => {
            reporter.ended(Phase::Stopped, OutcomeKind::Stopped, None, "stopped; the next run goes on from here");
        }
        Err(error) => reporter.ended(Phase::Failed, OutcomeKind::Failed, None, &format!("{error:#}")),
    }
    result
}

fn train(settings: &Settings, stop: &AtomicBool, store: &Store, lock: &TrainLock, reporter: &mut Reporter<'_>) -> anyhow::Result<Outcome> {
    let found = scan(&settings.images_dir, &settings.data_options()).map_err(|e| with_code(e.exit_code(), e))?;
    let dataset = match found {
        Scan::WaitingForLabels(report) => {
            reporter.say(&report.to_string(), &json!({"event": "scanned", "images": report.images, "labelled": 0}));
            return Ok(Outcome::WaitingForLabels);
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
    if stop.load(Ordering::Relaxed) {
        return Ok(Outcome::Stopped);
    }

    let network = Network::yolov8(settings.scale, dataset.classes.len());
    let promoted = store.pointer()?.map(|pointer| pointer.metadata);
    let start = start(settings, store, promoted.as_ref(), &network, &dataset.classes)?;
    let hyper = settings.hyper(&dataset, start.weights.is_some());
    tracing::info!(?hyper, start = start.name, threads = settings.resources.threads(), "training");
    let key = json!({"hyper": hyper, "data": dataset.fingerprint, "scale": settings.scale.to_string(), "start": start.name});
    let checkpoints = store.checkpoint_dir();
    if !settings.resume {
        checkpoint::remove(&checkpoints)?;
    }
    let job = Job {
        hyper,
        network: &network,
        init: start.weights.as_ref(),
        dataset: dataset.clone(),
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
    let val = val_loader(settings, &dataset, settings.imgsz)?;
    let report = judge_weights(&done.weights, &network, &val, &dataset, settings)?;
    let metrics = publish::metrics(&report, &dataset.classes);
    let rival = judge_promoted(store, promoted.as_ref(), &dataset, settings);
    let decision = settings.gate.decide(&metrics, &rival);
    reporter.say(
        &format!(
            "best epoch {} · mAP50 {:.3} mAP50-95 {:.3} · {:.0} s, {:.1} images/s",
            done.best_epoch, metrics.map50, metrics.map50_95, done.seconds, done.images_per_s
        ),
        &json!({"event": "judged", "best_epoch": done.best_epoch, "mAP50": metrics.map50, "mAP50-95": metrics.map50_95,
            "precision": metrics.precision, "recall": metrics.recall, "seconds": done.seconds,
            "images_per_s": done.images_per_s, "gate": publish::reason(&decision)}),
    );

    reporter.phase(Phase::Exporting);
    let compared_with = match rival {
        Promoted::Nothing => None,
        Promoted::Judged(version, _) | Promoted::NotComparable(version, _) => Some(version),
    };
    let training = training_info(settings, &hyper, &done, start.parent);
    let content =
        Content { network: &network, weights: &done.weights, dataset: &dataset, imgsz: settings.imgsz, training, metrics, compared_with };
    let draft = publish::draft(content, &val)?;

    reporter.phase(Phase::Publishing);
    let metadata = store.publish(lock, draft, decision.clone())?;
    // The run is in the store: what follows must not turn it into a failure.
    let retention =
        Retention { keep_versions: settings.resources.keep_versions, keep_bytes: settings.resources.keep_bytes, ..Retention::default() };
    if let Err(error) = store.prune(&retention) {
        tracing::warn!("old versions could not be pruned: {error}");
    }
    if let Err(error) = checkpoint::remove(&checkpoints) {
        tracing::warn!("{error}");
    }
    Ok(match decision {
        Decision::Promote { .. } => Outcome::Promoted(Box::new(metadata)),
        Decision::Reject { .. } => Outcome::Rejected(Box::new(metadata)),
    })
}

fn start(settings: &Settings, store: &Store, promoted: Option<&Metadata>, network: &Network, classes: &[String]) -> anyhow::Result<Start> {
    Ok(match (&settings.init_weights, settings.start_from, promoted) {
        (Some(path), _, _) => Start::file(path, network, settings.seed).exit_code(BAD_INPUT)?,
        (None, StartFrom::Promoted, Some(promoted)) => Start::promoted(store, promoted, network, classes, settings.seed),
        (None, ..) => Start::scratch(),
    })
}

fn val_loader(settings: &Settings, dataset: &Arc<Dataset>, imgsz: u32) -> anyhow::Result<ValLoader> {
    let config = LoaderConfig {
        imgsz,
        batch: (settings.batch_size as usize).max(8),
        seed: settings.seed,
        workers: settings.resources.workers(),
        augment: crate::data::Augment::NONE,
        // One pass: nothing to keep.
        cache_mb: 0,
    };
    ValLoader::new(dataset.clone(), config).map_err(|e| with_code(e.exit_code(), e))
}

/// In float32, as it will serve.
fn judge_weights(
    weights: &Weights,
    network: &Network,
    val: &ValLoader,
    dataset: &Dataset,
    settings: &Settings,
) -> anyhow::Result<MapReport> {
    let mut net = Yolo::from_weights(network, settings.device, weights)?;
    net.to_channels_last()?;
    Ok(judge(&mut fit::predictor(&net), val, &dataset.classes)?)
}

/// The promoted model on today's val images, at the size that it serves at.
fn judge_promoted(store: &Store, promoted: Option<&Metadata>, dataset: &Arc<Dataset>, settings: &Settings) -> Promoted {
    let Some(promoted) = promoted else { return Promoted::Nothing };
    let version: Version = promoted.version.clone();
    if promoted.classes != dataset.classes {
        return Promoted::NotComparable(version, format!("it knows the classes {}", promoted.classes.join(", ")));
    }
    let judged = || -> anyhow::Result<MapReport> {
        let network = Network::yolov8(promoted.architecture.scale.parse()?, promoted.classes.len());
        let weights = weights_of(store, promoted)?;
        let val = val_loader(settings, dataset, promoted.image_size)?;
        judge_weights(&weights, &network, &val, dataset, settings)
    };
    match judged() {
        Ok(report) => Promoted::Judged(version, report.map50_95),
        Err(error) => {
            tracing::warn!(%version, "the promoted model cannot be judged: {error:#}");
            Promoted::NotComparable(version, format!("it cannot be judged: {error:#}"))
        }
    }
}

fn training_info(settings: &Settings, hyper: &Hyper, done: &Done, parent: Option<Version>) -> TrainingInfo {
    let mut all = match serde_json::to_value(hyper) {
        Ok(serde_json::Value::Object(all)) => all,
        _ => serde_json::Map::new(),
    };
    all.insert("best_epoch".to_owned(), done.best_epoch.into());
    all.insert("threads".to_owned(), settings.resources.threads().into());
    let gains = crate::loss::Gains::default();
    all.insert("gains".to_owned(), json!({"box": gains.bbox, "class": gains.class, "dfl": gains.dfl}));
    TrainingInfo {
        hyper: all,
        seed: settings.seed,
        epochs: settings.epochs,
        epochs_done: done.log.len() as u32,
        seconds: done.seconds,
        device: format!("{:?}", settings.device).to_lowercase(),
        precision: if hyper.bf16 { "bf16" } else { "fp32" }.to_owned(),
        parent,
    }
}

fn exit_code(error: &FitError) -> u8 {
    match error {
        FitError::Data(error) => error.exit_code(),
        _ => FAILURE,
    }
}
