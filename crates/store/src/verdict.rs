//! What the gate says about a draft: promote or reject, the figures behind it, and who insisted.

use serde::{Deserialize, Serialize};

use crate::Version;
use crate::files::number_or_null;

/// Promote or reject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Serve it.
    Promote {
        /// Why, in a sentence.
        reason: String,
    },
    /// Keep it under `candidates/`; what serves goes on serving.
    Reject {
        /// Why, in a sentence.
        reason: String,
    },
}

impl Decision {
    /// Why, in a sentence.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self {
            Self::Promote { reason } | Self::Reject { reason } => reason,
        }
    }
}

/// The gate's decision with everything that goes into the record.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// The gate's own decision.
    pub decision: Decision,
    /// What it compared, and how that came out.
    pub comparisons: Vec<Comparison>,
    /// Somebody wants it to serve whatever the gate says. Of no effect where the gate promotes.
    pub forced: Option<Forced>,
}

impl Verdict {
    /// Whether the version is going to serve.
    #[must_use]
    pub fn promotes(&self) -> bool {
        matches!(self.decision, Decision::Promote { .. }) || self.forced.is_some()
    }
}

impl From<Decision> for Verdict {
    fn from(decision: Decision) -> Self {
        Self { decision, comparisons: Vec::new(), forced: None }
    }
}

/// Who promoted a version that the gate rejected, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forced {
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// Why a model is one to be compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RivalRole {
    /// It serves now.
    Promoted,
    /// It is the best of those that served lately.
    Best,
}

/// A candidate and another model, judged on the same images in the same run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The other model.
    pub rival: Version,
    /// Why that one.
    pub role: RivalRole,
    /// Val images.
    pub images: u64,
    /// How often as many images were drawn from them.
    pub resamples: u32,
    /// mAP50-95 over the classes that both know.
    pub overall: ComparedFigure,
    /// AP50-95 of those of these classes that have enough boxes.
    #[serde(default)]
    pub per_class: Vec<ComparedFigure>,
    /// Classes that only the candidate knows: not compared.
    #[serde(default)]
    pub new_classes: Vec<String>,
    /// Classes that only the other model knows: there are no labels of them any more.
    #[serde(default)]
    pub gone_classes: Vec<String>,
}

/// One figure of both models.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ComparedFigure {
    /// The class; `all` for the mean.
    pub name: String,
    /// Labelled objects behind it.
    pub boxes: u64,
    /// The candidate's.
    #[serde(deserialize_with = "number_or_null")]
    pub candidate: f64,
    /// The other model's.
    #[serde(deserialize_with = "number_or_null")]
    pub rival: f64,
    /// How much worse the candidate may be.
    #[serde(deserialize_with = "number_or_null")]
    pub limit: f64,
    /// Share of the resamples in which it is worse by more than that.
    #[serde(deserialize_with = "number_or_null")]
    pub confidence: f64,
    /// The share from which on that counts as certain.
    #[serde(deserialize_with = "number_or_null")]
    pub needed: f64,
    /// Whether this figure alone rejects the candidate.
    pub worse: bool,
}

impl ComparedFigure {
    /// How much worse the candidate is; negative when it is better.
    #[must_use]
    pub fn drop(&self) -> f64 {
        self.rival - self.candidate
    }
}
