//! The moving average of the variables: what is judged and published. It trails the weights by about `1 / (1 − decay)` steps,
//! and by less at the start, where the average would otherwise remember the random initialisation.

use edgeloop_model::Role;
use tch::{TchError, Tensor};

/// Decay in the long run.
const DECAY: f64 = 0.9999;
/// Steps after which the decay has 63 % of it. Shorter ramps for short runs were tried and were worse: the norms' running
/// statistics trail the weights by some 33 steps already, and averaging them over 50 more takes them too far behind (96 steps:
/// mAP50 0; 520 steps: mAP50-95 0.53 instead of 0.58).
const RAMP: f64 = 2000.0;

/// Decay of the `step`-th update, from 1.
pub fn decay(step: u64) -> f64 {
    DECAY * (1.0 - (-(step as f64) / RAMP).exp())
}

/// The pairs of an average and what it averages.
#[derive(Debug)]
pub struct Ema {
    averages: Vec<Tensor>,
    values: Vec<Tensor>,
    counters: (Vec<Tensor>, Vec<Tensor>),
    steps: u64,
}

impl Ema {
    /// `averages` and `values` are the variables of two networks of one kind; the averages start as the values.
    ///
    /// # Errors
    /// When the two do not pair up.
    pub fn new(averages: &[(String, Tensor, Role)], values: &[(String, Tensor, Role)]) -> Result<Self, TchError> {
        let pick = |variables: &[(String, Tensor, Role)], counter: bool| -> Vec<Tensor> {
            let chosen = variables.iter().filter(|v| (v.2 == Role::NumBatches) == counter);
            chosen.map(|v| v.1.detach()).collect()
        };
        let this = Self {
            averages: pick(averages, false),
            values: pick(values, false),
            counters: (pick(averages, true), pick(values, true)),
            steps: 0,
        };
        edgeloop_torch::copy(&this.averages, &this.values)?;
        edgeloop_torch::copy(&this.counters.0, &this.counters.1)?;
        Ok(this)
    }

    /// One update, after a step of the optimiser.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn update(&mut self) -> Result<(), TchError> {
        self.steps += 1;
        edgeloop_torch::ema_step(&self.averages, &self.values, decay(self.steps))?;
        edgeloop_torch::copy(&self.counters.0, &self.counters.1)
    }

    /// Updates so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// For a run that goes on: the updates made before.
    pub fn set_steps(&mut self, steps: u64) {
        self.steps = steps;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_decay_ramps_up() {
        assert_eq!(decay(0), 0.0);
        // 0.9999 · (1 − 1/e)
        assert!((decay(2000) - 0.632_057).abs() < 1e-5);
        assert!((decay(100_000) - 0.9999).abs() < 1e-9);
    }

    #[test]
    fn averages_follow_values_and_counters_are_copied() {
        let pair = |value: f32, count: i64| {
            vec![
                ("w".to_owned(), Tensor::from_slice(&[value]), Role::Weight),
                ("n".to_owned(), Tensor::from_slice(&[count]), Role::NumBatches),
            ]
        };
        let (averages, values) = (pair(0.0, 0), pair(1.0, 3));
        let mut ema = Ema::new(&averages, &values).unwrap();
        assert_eq!(averages[0].1.double_value(&[0]), 1.0);
        let _ = values[0].1.shallow_clone().fill_(2.0);
        let _ = values[1].1.shallow_clone().fill_(4);
        ema.update().unwrap();
        // 2 − decay(1) · (2 − 1)
        assert!((averages[0].1.double_value(&[0]) - (2.0 - decay(1))).abs() < 1e-6);
        assert_eq!(averages[1].1.int64_value(&[0]), 4);
    }
}
