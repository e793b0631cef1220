//! One training, watched from outside: the trainer as a child, its status file, what it published.

use std::{
    io::{IsTerminal, stdout},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use edgeloop_store::{EpochLog, OutcomeKind, Store, TrainingStatus, Version};
use indicatif::{ProgressBar, ProgressStyle};

use super::{DemoArgs, parts::Parts};

/// What is trained, and how.
#[derive(Debug)]
pub struct Training<'a> {
    /// Names the log.
    pub name: &'a str,
    /// Labelled images.
    pub images: &'a Path,
    /// Sizes and seed.
    pub args: &'a DemoArgs,
    /// How long.
    pub epochs: u32,
    /// Requests are answered meanwhile: leave them a core.
    pub beside_traffic: bool,
}

/// What came out.
#[derive(Debug)]
pub struct Trained {
    /// The promoted version.
    pub version: Version,
    /// On val, by the trainer's judge.
    pub map50: f64,
    /// On val, mean over IoU 0.50–0.95.
    pub map50_95: f64,
    /// From start to exit, seconds.
    pub seconds: f64,
    /// Losses and mAP by epoch.
    pub epochs_log: Vec<EpochLog>,
    /// An image that was not trained on.
    pub val_image: PathBuf,
}

impl Training<'_> {
    /// Trains, shows progress, and reads what was published.
    ///
    /// # Errors
    /// The trainer failed or promoted nothing; its own last words are in the message.
    pub fn run(&self, parts: &Parts, demo_started: Instant) -> Result<Trained> {
        let args = self.args;
        let settings = [
            ("EPOCHS", self.epochs.to_string()),
            ("BATCH_SIZE", args.batch.to_string()),
            ("IMGSZ", args.imgsz.to_string()),
            ("SCALE", args.scale.clone()),
            ("SEED", args.seed.to_string()),
            ("SHARE_CORES", self.beside_traffic.to_string()),
            // The second training has the images of the first, and with some flags its settings too.
            ("FORCE", "true".to_owned()),
            // One JSON line an epoch into the log; the bar below is the demo's own.
            ("LOG_FORMAT", "json".to_owned()),
        ];
        let started = Instant::now();
        let (trainer, log) = parts.spawn_trainer(self.name, self.images, &settings)?;
        let mut shown = Progress::new(self.name, self.epochs, demo_started);
        let status = loop {
            let ended = trainer.status();
            if let Some(status) = read_status(&parts.models_dir(), started) {
                shown.update(&status);
            }
            if let Some(status) = ended {
                break status;
            }
            parts.check_alive()?;
            std::thread::sleep(Duration::from_millis(100));
        };
        shown.finish();
        let seconds = started.elapsed().as_secs_f64();
        if !status.success() {
            bail!("the trainer ended with {status}:\n{}\nThe whole log: {}", tail(&log), log.display());
        }
        let store = Store::open(parts.models_dir())?;
        let status = store.training_status()?.context("the trainer left no training_status.json")?;
        let outcome = status.last_outcome.context("the trainer's status file names no outcome")?;
        if outcome.result == OutcomeKind::WaitingForLabels {
            bail!(
                "{}. Put a .txt with rows `class x_center y_center width height` (fractions, 0 to 1) beside each image, and the class \
                 names into classes.txt, one a line; or a data.yaml, or COCO's annotations.json. Then run this again",
                outcome.message
            );
        }
        let Some(version) = outcome.version.filter(|_| outcome.result == OutcomeKind::Promoted) else {
            bail!("this training promoted no model: {}\nThe whole log: {}", outcome.message, log.display());
        };
        let metrics = store.metadata(&version)?.metrics;
        let val_image = status.val_sample.first().cloned().context("the trainer's status file names no val image")?;
        Ok(Trained { version, map50: metrics.map50, map50_95: metrics.map50_95, seconds, epochs_log: status.epochs_log, val_image })
    }
}

/// The status that this training wrote: an older one stays until the trainer's first write.
fn read_status(models: &Path, started: Instant) -> Option<TrainingStatus> {
    let status = Store::open(models).ok()?.training_status().ok()??;
    let age = chrono::Utc::now().signed_duration_since(status.started_at).to_std().unwrap_or_default();
    (age <= started.elapsed()).then_some(status)
}

/// The last lines of a log, for an error message.
fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(8)..].join("\n")
}

/// A bar on a terminal; elsewhere a line every tenth of the way.
struct Progress {
    bar: Option<ProgressBar>,
    name: String,
    epochs: u32,
    printed: u32,
    demo_started: Instant,
}

impl Progress {
    fn new(name: &str, epochs: u32, demo_started: Instant) -> Self {
        let bar = stdout().is_terminal().then(|| {
            let style = ProgressStyle::with_template("           {prefix:10} {bar:30} {pos}/{len} epochs, {msg}")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(u64::from(epochs)).with_style(style).with_prefix(name.to_owned())
        });
        Self { bar, name: name.to_owned(), epochs, printed: 0, demo_started }
    }

    fn update(&mut self, status: &TrainingStatus) {
        let Some(last) = status.epochs_log.last() else { return };
        let judged = status.epochs_log.iter().rev().map(|epoch| epoch.map50).find(|map50| map50.is_finite());
        let map50 = judged.map_or(String::new(), |map50| format!(", mAP50 {map50:.3}"));
        let eta = status.eta_s.map_or(String::new(), |eta| format!(", {eta:.0} s to go"));
        let text = format!("loss {:.3}{map50}{eta}", last.box_loss + last.cls_loss + last.dfl_loss);
        let done = u32::try_from(status.epochs_log.len()).unwrap_or(u32::MAX);
        if let Some(bar) = &self.bar {
            bar.set_position(u64::from(done));
            bar.set_message(text);
        } else if done >= self.printed + self.epochs.div_ceil(10) {
            self.printed = done;
            super::step(self.demo_started, &self.name, &format!("epoch {done}/{}: {text}", self.epochs));
        }
    }

    fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
