//! `training_status.json`: what the trainer is doing, for `edgeloop status` and whoever looks.

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::files::{self, number_or_null};
use crate::{Store, StoreError, Version};

/// What the trainer is at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Nothing has run yet.
    #[default]
    Idle,
    /// Reading images and labels.
    Scanning,
    /// Fitting.
    Training,
    /// Measuring on the val split.
    Judging,
    /// Writing and comparing the ONNX.
    Exporting,
    /// Handing over.
    Publishing,
    /// Ended with a version, promoted or rejected.
    Done,
    /// Ended with an error.
    Failed,
    /// Stopped by a signal; a checkpoint is there.
    Stopped,
    /// Images, but no label at all.
    WaitingForLabels,
    /// Images and settings are those of the last attempt.
    NothingNew,
    /// It is an hour in which nothing is trained.
    QuietHours,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeKind {
    /// A new version serves.
    Promoted,
    /// A new version was not good enough.
    Rejected,
    /// Images, but no label at all.
    WaitingForLabels,
    /// An error.
    Failed,
    /// A signal, quiet hours or a time budget; a checkpoint is there.
    Stopped,
    /// Images and settings are those of the last attempt: nothing was trained.
    NothingNew,
    /// It did not begin: it is an hour in which nothing is trained.
    QuietHours,
}

impl std::fmt::Display for OutcomeKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Promoted => "promoted",
            Self::Rejected => "rejected",
            Self::WaitingForLabels => "waiting for labels",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
            Self::NothingNew => "nothing new",
            Self::QuietHours => "quiet hours",
        })
    }
}

/// A training that diverged and was tried once more, from its last checkpoint, at a lower rate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LowerRate {
    /// Where it diverged: the epoch, from 1.
    pub epoch: u32,
    /// Batches of that epoch that had been done.
    pub batch: u64,
    /// Learning rate of the first try.
    pub lr0_before: f64,
    /// Learning rate of the second.
    pub lr0: f64,
}

/// The end of the last run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// When.
    pub at: DateTime<Utc>,
    /// How.
    pub result: OutcomeKind,
    /// The version it published.
    pub version: Option<Version>,
    /// In a sentence.
    pub message: String,
}

/// One epoch's figures. `null` in the file is NaN here: not measured in that epoch.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EpochLog {
    /// From 1.
    pub epoch: u32,
    /// Mean box loss.
    #[serde(deserialize_with = "number_or_null")]
    pub box_loss: f64,
    /// Mean class loss.
    #[serde(deserialize_with = "number_or_null")]
    pub cls_loss: f64,
    /// Mean distribution focal loss.
    #[serde(deserialize_with = "number_or_null")]
    pub dfl_loss: f64,
    /// Val mAP at IoU 0.5.
    #[serde(rename = "mAP50", deserialize_with = "number_or_null")]
    pub map50: f64,
    /// Val mAP over IoU 0.50 to 0.95.
    #[serde(rename = "mAP50-95", deserialize_with = "number_or_null")]
    pub map50_95: f64,
    /// Learning rate at its end.
    #[serde(deserialize_with = "number_or_null")]
    pub lr: f64,
    /// Wall time.
    #[serde(deserialize_with = "number_or_null")]
    pub seconds: f64,
    /// Throughput.
    #[serde(deserialize_with = "number_or_null")]
    pub images_per_s: f64,
}

/// The file. Written by the trainer alone, replaced whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainingStatus {
    /// What it is at.
    pub phase: Phase,
    /// The trainer's process.
    pub pid: u32,
    /// When this run began.
    pub started_at: DateTime<Utc>,
    /// When this was written.
    pub updated_at: DateTime<Utc>,
    /// The epoch it is in, from 1; 0 before the first.
    #[serde(default)]
    pub epoch: u32,
    /// Epochs asked for.
    #[serde(default)]
    pub epochs: u32,
    /// Seconds until the fit ends, by the pace so far.
    #[serde(default)]
    pub eta_s: Option<f64>,
    /// Figures of the epochs so far.
    #[serde(default)]
    pub epochs_log: Vec<EpochLog>,
    /// The second try, if the first diverged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<LowerRate>,
    /// The first few images of the val split, never trained on: for whoever wants to try the model (the demo does).
    #[serde(default)]
    pub val_sample: Vec<PathBuf>,
    /// How the last finished run ended: this run's at its end, the one before until then.
    #[serde(default)]
    pub last_outcome: Option<Outcome>,
}

impl Store {
    /// Replaces `training_status.json`. A reader sees the old or the new one, whole.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn write_training_status(&self, status: &TrainingStatus) -> Result<(), StoreError> {
        let bytes = files::to_json(status);
        // One name per process: only the trainer writes this, and a leftover is overwritten or swept.
        let staged = self.layout.staging().join(format!("status-{}.tmp", status.pid));
        files::make_dir(&self.layout.staging())?;
        files::replace(&staged, &self.layout.training_status(), &bytes)
    }

    /// What the trainer last said; `None` when none ever ran here.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::BadFile`].
    pub fn training_status(&self) -> Result<Option<TrainingStatus>, StoreError> {
        files::read_json(&self.layout.training_status())
    }
}
