//! The moving average of the variables: what is judged and published. It trails the weights by about `1 / (1 − decay)` steps,
//! and by less at the start, where the average would otherwise remember the random initialisation.

use edgeloop_model::Role;
use tch::{TchError, Tensor};

/// Decay in the long run.
const DECAY: f64 = 0.9999;
/// Steps after which the decay has 63 % of it.
const RAMP: f64 = 2000.0;

/// Steps of the ramp of a run of `steps`: a quarter of it where that is less. With 2,000 a run of 500 steps would end with a
/// decay of 0.22, which averages next to nothing; with 125 it ends with 0.98, the last fifty steps.
pub fn ramp(steps: u64) -> f64 {
    (steps as f64 / 4.0).clamp(1.0, RAMP)
}

/// Decay of the `step`-th update, from 1.
pub fn decay(step: u64, ramp: f64) -> f64 {
    DECAY * (1.0 - (-(step as f64) / ramp).exp())
}

/// The pairs of an average and what it averages.
#[derive(Debug)]
pub struct Ema {
    averages: Vec<Tensor>,
    values: Vec<Tensor>,
    counters: (Vec<Tensor>, Vec<Tensor>),
    steps: u64,
    ramp: f64,
}

impl Ema {
    /// `averages` and `values` are the variables of two networks of one kind; the averages start as the values.
    /// The run is going to have `steps` updates.
    ///
    /// # Errors
    /// When the two do not pair up.
    pub fn new(averages: &[(String, Tensor, Role)], values: &[(String, Tensor, Role)], steps: u64) -> Result<Self, TchError> {
        let pick = |variables: &[(String, Tensor, Role)], counter: bool| -> Vec<Tensor> {
            let chosen = variables.iter().filter(|v| (v.2 == Role::NumBatches) == counter);
            chosen.map(|v| v.1.detach()).collect()
        };
        let this = Self {
            averages: pick(averages, false),
            values: pick(values, false),
            counters: (pick(averages, true), pick(values, true)),
            steps: 0,
            ramp: ramp(steps),
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
        edgeloop_torch::ema_step(&self.averages, &self.values, decay(self.steps, self.ramp))?;
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
        let long = ramp(100_000);
        assert_eq!(decay(0, long), 0.0);
        // 0.9999 · (1 − 1/e)
        assert!((decay(2000, long) - 0.632_057).abs() < 1e-5);
        assert!((decay(100_000, long) - 0.9999).abs() < 1e-9);
    }

    #[test]
    fn a_short_run_averages_too() {
        // 0.9999 · (1 − e⁻⁴)
        assert!((decay(500, ramp(500)) - 0.981_586).abs() < 1e-5);
        assert_eq!(ramp(8_000), 2000.0);
        assert_eq!(ramp(0), 1.0);
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
        let mut ema = Ema::new(&averages, &values, 100_000).unwrap();
        assert_eq!(averages[0].1.double_value(&[0]), 1.0);
        let _ = values[0].1.shallow_clone().fill_(2.0);
        let _ = values[1].1.shallow_clone().fill_(4);
        ema.update().unwrap();
        // 2 − decay(1) · (2 − 1)
        assert!((averages[0].1.double_value(&[0]) - (2.0 - decay(1, 2000.0))).abs() < 1e-6);
        assert_eq!(averages[1].1.int64_value(&[0]), 4);
    }
}
