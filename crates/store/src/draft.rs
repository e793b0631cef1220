//! What a trainer hands over: everything about a version except its name and its place.

use crate::{Architecture, DatasetInfo, FileKind, Metrics, Producer, TrainingInfo, Version};

/// A version before it has a name.
#[derive(Debug, Clone)]
pub struct Draft {
    /// The network.
    pub architecture: Architecture,
    /// Side of the square training input, pixels.
    pub image_size: u32,
    /// Class names by index.
    pub classes: Vec<String>,
    /// What it was trained on.
    pub dataset: DatasetInfo,
    /// How it was trained.
    pub training: TrainingInfo,
    /// How good it is.
    pub metrics: Metrics,
    /// The version that the gate compared it with.
    pub compared_with: Option<Version>,
    /// Who made it.
    pub producer: Producer,
    /// The files as bytes: weights and ONNX, and the check file where there is one.
    pub files: Vec<(FileKind, Vec<u8>)>,
}
