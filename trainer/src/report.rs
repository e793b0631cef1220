//! What the outside learns about a run: `training_status.json`, standard output, the log.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use chrono::Utc;
use edgeloop_store::{EpochLog, LowerRate, Outcome, OutcomeKind, Phase, Store, TrainLock, TrainingStatus, Version};
use serde_json::{Value, json};

use crate::fit::{BatchDone, Observer, Plan, progress::Progress};

/// Between two writes of the status while batches go by: often enough to watch, rare enough to cost nothing.
const STATUS_EVERY: Duration = Duration::from_secs(2);

/// Val images named in the status.
const VAL_SAMPLE: usize = 4;

/// Tells everybody.
pub struct Reporter<'a> {
    store: &'a Store,
    lock: &'a TrainLock,
    progress: Progress,
    status: TrainingStatus,
    plan: Option<Plan>,
    written: Instant,
    /// A batch is done.
    stepping: bool,
    unwritten: bool,
}

impl<'a> Reporter<'a> {
    /// A run begins. What the one before left as its outcome stays until this one has its own.
    pub fn new(store: &'a Store, lock: &'a TrainLock) -> Self {
        let now = Utc::now();
        let last_outcome = store.training_status().ok().flatten().and_then(|status| status.last_outcome);
        let status = TrainingStatus {
            phase: Phase::Scanning,
            pid: std::process::id(),
            started_at: now,
            updated_at: now,
            epoch: 0,
            epochs: 0,
            eta_s: None,
            epochs_log: Vec::new(),
            retry: None,
            val_sample: Vec::new(),
            last_outcome,
        };
        let mut this = Self {
            store,
            lock,
            progress: Progress::auto(),
            status,
            plan: None,
            written: Instant::now(),
            stepping: false,
            unwritten: false,
        };
        this.write();
        this
    }

    /// A sentence for people, an event for programs.
    pub fn say(&self, text: &str, event: &Value) {
        self.progress.say(text, event);
    }

    /// The run enters a phase.
    pub fn phase(&mut self, phase: Phase) {
        self.status.phase = phase;
        if phase != Phase::Training {
            self.status.eta_s = None;
        }
        self.write();
    }

    /// Images that the model never sees in training.
    pub fn val_sample(&mut self, paths: impl Iterator<Item = PathBuf>) {
        self.status.val_sample = paths.take(VAL_SAMPLE).collect();
    }

    /// The run is over.
    pub fn ended(&mut self, phase: Phase, result: OutcomeKind, version: Option<Version>, message: &str) {
        self.progress.ended();
        let named = version.as_ref().map(ToString::to_string);
        let event = json!({"event": "ended", "result": result, "version": named, "message": message});
        let prefix = named.map(|version| format!("{version}: ")).unwrap_or_default();
        self.say(&format!("{prefix}{message}"), &event);
        self.status.last_outcome = Some(Outcome { at: Utc::now(), result, version, message: message.to_owned() });
        self.phase(phase);
    }

    /// Best effort: a full disk must not end a training that may still be published when there is room again.
    fn write(&mut self) {
        self.written = Instant::now();
        self.status.updated_at = Utc::now();
        match self.store.write_training_status(&self.status) {
            Ok(()) => self.unwritten = false,
            // Said once: a full disk would otherwise fill the log, every two seconds.
            Err(error) if !std::mem::replace(&mut self.unwritten, true) => {
                tracing::warn!("the training status cannot be written: {error}");
            }
            Err(_) => {}
        }
    }
}

impl Observer for Reporter<'_> {
    fn started(&mut self, plan: &Plan, done: &[EpochLog]) {
        self.plan = Some(*plan);
        self.status.epochs = plan.epochs;
        self.status.epoch = done.len() as u32;
        self.status.epochs_log = done.to_vec();
        self.progress.started(plan, done.len() as u64);
        self.phase(Phase::Training);
    }

    fn batch(&mut self, at: &BatchDone) {
        if let Some(plan) = &self.plan {
            self.progress.batch(plan, at, !std::mem::replace(&mut self.stepping, true));
        }
        self.status.phase = Phase::Training;
        self.status.epoch = at.epoch;
        self.status.epochs = at.epochs;
        self.status.eta_s = Some(at.eta_s);
        if self.written.elapsed() >= STATUS_EVERY {
            self.write();
        }
    }

    fn retrying(&mut self, retry: &LowerRate) {
        let LowerRate { epoch, batch, lr0_before, lr0 } = *retry;
        self.status.retry = Some(*retry);
        self.say(
            &format!("diverged in epoch {epoch} at a rate of {lr0_before}: one more try at {lr0}"),
            &json!({"event": "retry", "epoch": epoch, "batch": batch, "lr0_before": lr0_before, "lr0": lr0}),
        );
    }

    fn judging(&mut self) {
        self.status.phase = Phase::Judging;
    }

    fn epoch(&mut self, log: &EpochLog) -> anyhow::Result<()> {
        if let Some(plan) = &self.plan {
            self.progress.epoch(plan, log, self.status.eta_s.unwrap_or_default());
        }
        self.status.phase = Phase::Training;
        self.status.epochs_log.push(log.clone());
        self.write();
        anyhow::ensure!(self.lock.still_held(), "another trainer took the training lock over; this one stops");
        Ok(())
    }
}
