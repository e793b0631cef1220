//! What a version says about itself. `docs/metadata.schema.json` describes the same, and a test holds the two together.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::files::number_or_null;
use crate::{Comparison, Forced, Version};

/// The schema number written here and the newest one read. Raised when a reader of the older one would misunderstand.
pub const SCHEMA: u32 = 1;

/// The files of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileKind {
    /// `.pt`: weights as an ordinary PyTorch state dict.
    Weights,
    /// `.onnx`: the same for serving.
    Onnx,
    /// `.check.safetensors`: inputs and outputs that an engine must reproduce before it serves.
    Check,
}

impl FileKind {
    /// All kinds, in the order in which they are published.
    pub const ALL: [Self; 3] = [Self::Weights, Self::Onnx, Self::Check];

    /// The end of the file's name, with its dot.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Weights => ".pt",
            Self::Onnx => ".onnx",
            Self::Check => ".check.safetensors",
        }
    }

    /// The name of a version's file of this kind: the only name that its metadata may give.
    #[must_use]
    pub fn file_name(self, version: &Version) -> String {
        format!("model_{version}{}", self.extension())
    }
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Weights => "weights (.pt)",
            Self::Onnx => "ONNX",
            Self::Check => "check",
        })
    }
}

/// One file of a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// What it is.
    pub kind: FileKind,
    /// Its name in the folder of its metadata.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// SHA-256, 64 hexadecimal digits, lower case.
    pub sha256: String,
}

/// A version's metadata: `model_VERSION.json`. Immutable once published; readers ignore fields that they do not know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metadata {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Its name.
    pub version: Version,
    /// Its place among all versions ever published here, from 1. The order, whatever the clocks said.
    pub sequence: u64,
    /// When it was published, by the publisher's clock. For people.
    pub created: DateTime<Utc>,
    /// Its files.
    pub files: Vec<FileEntry>,
    /// The network.
    pub architecture: Architecture,
    /// Side of the square input it was trained at, pixels.
    pub image_size: u32,
    /// Class names by index.
    pub classes: Vec<String>,
    /// What it was trained on.
    pub dataset: DatasetInfo,
    /// How it was trained.
    pub training: TrainingInfo,
    /// How good it is on the val split.
    pub metrics: Metrics,
    /// What the gate said.
    pub gate: GateRecord,
    /// Who made it.
    pub producer: Producer,
}

impl Metadata {
    /// The entry of the file of this kind.
    #[must_use]
    pub fn file(&self, kind: FileKind) -> Option<&FileEntry> {
        self.files.iter().find(|file| file.kind == kind)
    }

    /// All files together, bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).fold(0, u64::saturating_add)
    }

    /// What a well-formed JSON file can still get wrong; the reason when it does.
    pub(crate) fn check(&self) -> Result<(), String> {
        for kind in [FileKind::Weights, FileKind::Onnx] {
            if self.file(kind).is_none() {
                return Err(format!("it names no {kind} file"));
            }
        }
        for (index, file) in self.files.iter().enumerate() {
            // Also what keeps `../../etc/passwd` out: a version may only name files that carry its own name.
            if file.name != file.kind.file_name(&self.version) {
                return Err(format!("it names the file {:?}, which is not version {}'s", file.name, self.version));
            }
            if self.files[..index].iter().any(|other| other.kind == file.kind) {
                return Err(format!("it names two {} files", file.kind));
            }
            if file.sha256.len() != 64 || !file.sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
                return Err(format!("the SHA-256 of {} is not 64 lower-case hexadecimal digits", file.name));
            }
        }
        if self.classes.is_empty() {
            return Err("it has no classes".to_owned());
        }
        if self.image_size == 0 {
            return Err("its image_size is 0".to_owned());
        }
        Ok(())
    }
}

/// The network: enough to build it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Architecture {
    /// `yolov8`.
    pub family: String,
    /// `n`, `s`, `m`, `l` or `x`.
    pub scale: String,
}

/// What it was trained on, as counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DatasetInfo {
    /// Readable images found.
    pub images: u64,
    /// Of them in the train split.
    pub train_images: u64,
    /// Of them in the val split.
    pub val_images: u64,
    /// Labelled objects in both splits.
    pub boxes: u64,
    /// Images without a label file, left out.
    pub unlabelled: u64,
    /// Files that could not be used, with their reasons in the trainer's log.
    pub skipped: u64,
    /// A digest over the content: the same data gives the same text.
    pub fingerprint: String,
    /// How train and val were parted.
    pub split: String,
}

/// How it was trained.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TrainingInfo {
    /// Every hyper-parameter by name.
    pub hyper: serde_json::Map<String, serde_json::Value>,
    /// The seed of every random draw.
    pub seed: u64,
    /// Epochs asked for.
    pub epochs: u32,
    /// Epochs run.
    pub epochs_done: u32,
    /// Wall time of the training.
    pub seconds: f64,
    /// `cpu`, …
    pub device: String,
    /// `fp32` or `bf16`.
    pub precision: String,
    /// The version whose weights it started from.
    pub parent: Option<Version>,
}

/// How good it is, on the val split. `null` in the file is NaN here: not defined, as the recall of a class without boxes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Metrics {
    /// Mean average precision at IoU 0.5.
    #[serde(rename = "mAP50", deserialize_with = "number_or_null")]
    pub map50: f64,
    /// The same averaged over IoU 0.50 to 0.95.
    #[serde(rename = "mAP50-95", deserialize_with = "number_or_null")]
    pub map50_95: f64,
    /// Precision at the confidence with the best F1.
    #[serde(deserialize_with = "number_or_null")]
    pub precision: f64,
    /// Recall there.
    #[serde(deserialize_with = "number_or_null")]
    pub recall: f64,
    /// The same for each class.
    pub per_class: Vec<ClassMetrics>,
}

/// One class's share of [`Metrics`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClassMetrics {
    /// The class.
    pub name: String,
    /// Its labelled objects in val.
    pub boxes: u64,
    /// Average precision at IoU 0.5.
    #[serde(rename = "mAP50", deserialize_with = "number_or_null")]
    pub map50: f64,
    /// The same averaged over IoU 0.50 to 0.95.
    #[serde(rename = "mAP50-95", deserialize_with = "number_or_null")]
    pub map50_95: f64,
    /// Precision at the confidence with the best F1.
    #[serde(deserialize_with = "number_or_null")]
    pub precision: f64,
    /// Recall there.
    #[serde(deserialize_with = "number_or_null")]
    pub recall: f64,
    /// Where an inferer cuts this class off, 0 to 1, in place of its own setting. The trainer's CLASS_THRESHOLDS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
}

/// What the gate decided when the version was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GateDecision {
    /// Good enough to serve.
    Promoted,
    /// Kept under `candidates/`.
    Rejected,
}

impl fmt::Display for GateDecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Promoted => "promoted",
            Self::Rejected => "rejected",
        })
    }
}

/// The gate's verdict with its reason.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GateRecord {
    /// The verdict.
    pub decision: GateDecision,
    /// Why, in a sentence.
    pub reason: String,
    /// The version it had to match.
    pub compared_with: Option<Version>,
    /// The figures of both, for each model that it was compared with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub comparisons: Vec<Comparison>,
    /// Who had it promoted when it was published, although the decision is «rejected».
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forced: Option<Forced>,
}

/// Who made it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Producer {
    /// The program.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Where it ran.
    pub host: String,
}
