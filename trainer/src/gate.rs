//! Is the new model good enough to serve? Pure: figures in, verdict out.

use clap::Args;
use edgeloop_store::{Decision, Metrics, Version};

/// Limits of the gate.
#[derive(Debug, Clone, Copy, PartialEq, Args)]
#[command(next_help_heading = "Gate")]
pub struct Gate {
    /// The first model needs at least this mAP50.
    #[arg(long, env = "GATE_MIN_MAP50", default_value_t = 0.1)]
    pub gate_min_map50: f64,
    /// A later one may be worse than the promoted model, on the same images, by at most this in mAP50-95.
    #[arg(long, env = "GATE_MAX_DROP", default_value_t = 0.01)]
    pub gate_max_drop: f64,
}

/// What is promoted now.
#[derive(Debug, Clone, PartialEq)]
pub enum Promoted {
    /// Nothing.
    Nothing,
    /// A model, with its mAP50-95 on today's val images.
    Judged(Version, f64),
    /// A model that cannot be judged on them, and why.
    NotComparable(Version, String),
}

impl Gate {
    /// Promote or reject a model with these figures.
    pub fn decide(&self, new: &Metrics, promoted: &Promoted) -> Decision {
        let (map50, map50_95) = (new.map50, new.map50_95);
        let verdict = |good: bool, reason: String| {
            if good { Decision::Promote { reason } } else { Decision::Reject { reason } }
        };
        let floor = self.gate_min_map50;
        let first = |why: &str| {
            // NaN is not at least anything.
            let sign = if map50 >= floor { "reaches" } else { "does not reach" };
            verdict(map50 >= floor, format!("{why}: mAP50 {map50:.3} {sign} {floor}"))
        };
        match promoted {
            Promoted::Nothing => first("first model"),
            Promoted::NotComparable(version, why) => first(&format!("not comparable with {version} ({why})")),
            Promoted::Judged(version, old) => {
                let allowed = self.gate_max_drop;
                let good = map50_95 >= old - allowed;
                let which = if good { "not worse" } else { "worse" };
                verdict(
                    good,
                    format!("mAP50-95 {map50_95:.3} is {which} than the {old:.3} of {version} on the same images by more than {allowed}"),
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn promotes(map50: f64, map50_95: f64, promoted: &Promoted) -> bool {
        let gate = Gate { gate_min_map50: 0.1, gate_max_drop: 0.01 };
        let metrics = Metrics { map50, map50_95, ..Metrics::default() };
        matches!(gate.decide(&metrics, promoted), Decision::Promote { .. })
    }

    #[test]
    fn the_first_model_needs_the_minimum() {
        assert!(promotes(0.1, 0.0, &Promoted::Nothing));
        assert!(!promotes(0.099, 0.09, &Promoted::Nothing));
        assert!(!promotes(f64::NAN, f64::NAN, &Promoted::Nothing));
    }

    #[test]
    fn a_later_one_may_drop_by_a_hundredth() {
        let old = Promoted::Judged("20261121_030000".parse().unwrap(), 0.5);
        assert!(promotes(0.9, 0.51, &old));
        assert!(promotes(0.9, 0.4901, &old));
        assert!(!promotes(0.9, 0.48, &old));
        assert!(!promotes(0.9, f64::NAN, &old));
    }

    #[test]
    fn what_cannot_be_compared_is_taken_as_first() {
        let old = Promoted::NotComparable("20261121_030000".parse().unwrap(), "other classes".to_owned());
        assert!(promotes(0.2, 0.1, &old));
        assert!(!promotes(0.05, 0.01, &old));
    }
}
