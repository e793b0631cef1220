//! Where a run is, besides its tensors.

use edgeloop_store::{EpochLog, LowerRate};
use serde::{Deserialize, Serialize};

/// The best epoch so far.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// From 1.
    pub epoch: u32,
    /// 0.1 · mAP50 + 0.9 · mAP50-95
    #[serde(with = "bits")]
    pub fitness: f64,
}

/// Where in the run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// Epochs finished.
    pub epoch: u32,
    /// Batches of the next epoch that are done.
    pub batch: u64,
    /// Batches whose gradients wait for the rest of their step.
    pub pending: u64,
    /// Batches in a row that were not finite.
    pub not_finite: u32,
    /// Optimiser steps.
    pub steps: u64,
    /// Updates of the average.
    pub ema_steps: u64,
    /// The best epoch so far.
    pub best: Option<Best>,
    /// Sums of box, class and DFL loss over the batches of the unfinished epoch.
    pub losses: [f64; 3],
    /// Seconds spent so far: in all, and in the unfinished epoch.
    pub seconds: [f64; 2],
    /// Figures of the finished epochs.
    pub log: Vec<EpochLog>,
    /// With a time budget: the batch at which the run ends, by the pace so far.
    pub end: Option<u64>,
    /// The second try, if the first diverged.
    pub retry: Option<LowerRate>,
}

/// A number by its bits: what is compared with a later one must come back as it was, and decimal text is an ulp off at times.
mod bits {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(value.to_bits())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        u64::deserialize(deserializer).map(f64::from_bits)
    }
}
