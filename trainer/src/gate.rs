//! Is the new model good enough to serve? Pure: figures of all models on the same val images in, verdict out.
//!
//! ```text
//! rivals (which models) ─► judged on the same images ─► bootstrap (how sure) ─► comparison (which limits) ─► verdict
//! ```
//!
//! Two equally good models differ by more than 0.01 in a third of the cases on 100 boxes: a plain difference would reject at
//! random. So the images are drawn again a thousand times, the same ones for both models, and a drop counts when it exceeds
//! its limit in as many of the draws as [`Gate::gate_confidence`] asks for. The reasons are in `docs/decisions/gate.md`.

mod bootstrap;
mod comparison;
mod confidence;
mod force;
mod rivals;
#[cfg(test)]
mod tests;

use clap::Args;
use edgeloop_store::{Comparison, Decision, Forced, RivalRole, Verdict, Version};
use edgeloop_vision::map::Ranking;

pub use force::Force;
pub use rivals::{LINEAGE, best};

/// Limits of the gate.
#[derive(Debug, Clone, PartialEq, Args)]
#[command(next_help_heading = "Gate")]
pub struct Gate {
    /// The first model needs at least this mAP50.
    #[arg(long, env = "GATE_MIN_MAP50", default_value_t = 0.1)]
    pub gate_min_map50: f64,
    /// A later one may be worse than the promoted model, and than the best of the last ten, by at most this in mAP50-95.
    #[arg(long, env = "GATE_MAX_DROP", default_value_t = 0.01, allow_negative_numbers = true)]
    pub gate_max_drop: f64,
    /// And by at most this in a class with enough boxes.
    #[arg(long, env = "GATE_MAX_CLASS_DROP", default_value_t = 0.05, allow_negative_numbers = true)]
    pub gate_max_class_drop: f64,
    /// How many boxes are enough for a class to be looked at alone.
    #[arg(long, env = "GATE_MIN_CLASS_BOXES", default_value_t = 50)]
    pub gate_min_class_boxes: u64,
    /// How sure the gate must be to reject: of a hundred equally good models at most a hundred times 1 - this are rejected.
    #[arg(long, env = "GATE_CONFIDENCE", default_value_t = 0.9)]
    pub gate_confidence: f64,
    /// Promote the new model whatever the gate says, and write down why.
    #[arg(long, env = "FORCE_PROMOTE", value_name = "WHY", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    pub force_promote: Force,
}

/// The new model on the val images.
pub struct Candidate<'a> {
    /// Class names, in the order of the ranking.
    pub classes: &'a [String],
    /// mAP50 over all its classes.
    pub map50: f64,
    /// Its hits and misses.
    pub ranking: &'a Ranking,
}

/// A model that served, on the same val images.
pub struct Rival {
    /// Which.
    pub version: Version,
    /// Why it is compared with.
    pub role: RivalRole,
    /// Class names that it knows, in its own order.
    pub classes: Vec<String>,
    /// Its hits and misses, by the candidate's class numbers.
    pub ranking: Ranking,
}

/// What the candidate meets.
#[derive(Default)]
pub struct Field {
    /// Models that were judged, the promoted one first.
    pub rivals: Vec<Rival>,
    /// Models that should have been, and why they could not.
    pub absent: Vec<(Version, String)>,
}

impl Gate {
    /// The first setting that makes no sense, in words.
    ///
    /// # Errors
    /// That sentence.
    pub fn check(&self) -> Result<(), String> {
        let Self { gate_min_map50, gate_max_drop, gate_max_class_drop, gate_min_class_boxes: _, gate_confidence, force_promote: _ } = self;
        let ranges = [
            ("GATE_MIN_MAP50", *gate_min_map50, 0.0..=1.0),
            // Below zero: it has to be better by that.
            ("GATE_MAX_DROP", *gate_max_drop, -2.0..=1.0),
            ("GATE_MAX_CLASS_DROP", *gate_max_class_drop, -2.0..=1.0),
            ("GATE_CONFIDENCE", *gate_confidence, 0.5..=0.999),
        ];
        match ranges.iter().find(|(_, value, range)| !range.contains(value)) {
            Some((name, value, range)) => Err(format!("{name} is {value}; it must be between {} and {}", range.start(), range.end())),
            None => Ok(()),
        }
    }

    /// Promote or reject. `threads` changes how long it takes and nothing else.
    pub fn decide(&self, candidate: &Candidate<'_>, field: &Field, threads: usize) -> Verdict {
        let comparisons = comparison::compare(self, candidate, &field.rivals, threads);
        let decision = if comparisons.is_empty() { self.first(candidate.map50, field) } else { against(&comparisons, &field.absent) };
        Verdict { decision, comparisons, forced: self.force_promote.forced() }
    }

    /// Nothing to compare with.
    fn first(&self, map50: f64, field: &Field) -> Decision {
        let mut why: Vec<String> = field.absent.iter().map(absent).collect();
        why.extend(field.rivals.iter().map(|rival| format!("{} knows none of the classes that have boxes in val", rival.version)));
        let why = if why.is_empty() { "first model".to_owned() } else { why.join("; ") };
        let floor = self.gate_min_map50;
        // NaN is not at least anything.
        if map50 >= floor {
            Decision::Promote { reason: format!("{why}: mAP50 {map50:.3} reaches {floor}") }
        } else {
            Decision::Reject { reason: format!("{why}: mAP50 {map50:.3} does not reach {floor}") }
        }
    }
}

fn against(comparisons: &[Comparison], others: &[(Version, String)]) -> Decision {
    let worse: Vec<String> = comparisons.iter().flat_map(comparison::worse).collect();
    if !worse.is_empty() {
        return Decision::Reject { reason: worse.join("; ") };
    }
    let not_worse: Vec<String> = comparisons.iter().map(comparison::not_worse).chain(others.iter().map(absent)).collect();
    Decision::Promote { reason: not_worse.join("; ") }
}

fn absent((version, why): &(Version, String)) -> String {
    format!("{version} cannot be compared with: {why}")
}

impl Force {
    /// For the record.
    fn forced(&self) -> Option<Forced> {
        let by = std::env::var("USER").unwrap_or_else(|_| "edgeloop-trainer".to_owned());
        self.reason().map(|reason| Forced { by, reason: reason.to_owned() })
    }
}
