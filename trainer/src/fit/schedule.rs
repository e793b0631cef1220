//! How fast to learn at which batch: pure arithmetic over the position in the run.

/// Constants of a run's pace.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// Batches of an epoch.
    pub batches: u64,
    /// Batches of the run: of all epochs, or as many as fit into a time budget.
    pub end: u64,
    /// Images of a batch.
    pub batch_size: u64,
    /// Images per optimiser step that the run is made for.
    pub nominal_batch: u64,
    /// Learning rate after warm-up.
    pub lr0: f64,
    /// Share of it that is left at the end.
    pub lrf: f64,
    /// Momentum (SGD) or first beta (AdamW) after warm-up.
    pub momentum: f64,
    /// Weight decay for the nominal batch.
    pub weight_decay: f64,
    /// Batches of warm-up.
    pub warmup: u64,
    /// The rate falls along half a cosine; otherwise along a line.
    pub cosine: bool,
    /// Where momentum starts from.
    pub warmup_momentum: f64,
    /// Where the rate of biases starts from: they may run ahead of the weights (SGD), or start at 0 as these do.
    pub warmup_bias_lr: f64,
}

/// The pace of one batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// Learning rate of weights and norms.
    pub lr: f64,
    /// Learning rate of biases.
    pub bias_lr: f64,
    /// Momentum or first beta.
    pub momentum: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// Batches whose gradients make one step.
    pub accumulate: u64,
}

impl Schedule {
    /// Warm-up of `epochs` epochs, but at least 100 batches (a small folder's epoch is soon over) and at most a tenth of the run.
    pub fn warmup_batches(epochs: f64, batches: u64, total: u64) -> u64 {
        let asked = (epochs * batches as f64).round() as u64;
        if asked == 0 { 0 } else { asked.max(100).min(total / 10) }
    }

    /// Images per step: 64, as the family is trained, unless that leaves fewer than 1,000 steps: a short run on a small folder
    /// needs steps more than it needs smooth ones.
    pub fn nominal_batch(batch_size: u64, total: u64) -> u64 {
        let per_step = total / 1000;
        (batch_size * per_step).clamp(batch_size, 64.max(batch_size))
    }

    /// The pace of batch `index` of the whole run, from 0.
    pub fn at(&self, index: u64) -> Pace {
        let done = (index as f64 / self.end.max(1) as f64).min(1.0);
        // From 1 to lrf.
        let left = if self.cosine { (1.0 + (std::f64::consts::PI * done).cos()) / 2.0 } else { 1.0 - done };
        let factor = self.lrf + (1.0 - self.lrf) * left;
        let lr = self.lr0 * factor;
        let full = ((self.nominal_batch as f64 / self.batch_size as f64).round() as u64).max(1);
        let warm = if index >= self.warmup { 1.0 } else { index as f64 / self.warmup as f64 };
        let between = |from: f64, to: f64| from + (to - from) * warm;
        let accumulate = (between(1.0, full as f64).round() as u64).max(1);
        // Gradients of a step add up, decay does not: it is scaled to the images that a full step has.
        let weight_decay = self.weight_decay * (self.batch_size * full) as f64 / self.nominal_batch as f64;
        Pace {
            lr: between(0.0, lr),
            bias_lr: between(self.warmup_bias_lr, lr),
            momentum: between(self.warmup_momentum, self.momentum),
            weight_decay,
            accumulate,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule() -> Schedule {
        Schedule {
            batches: 100,
            end: 1000,
            batch_size: 4,
            nominal_batch: 64,
            lr0: 0.01,
            lrf: 0.01,
            momentum: 0.9,
            weight_decay: 5e-4,
            warmup: 200,
            cosine: true,
            warmup_momentum: 0.8,
            warmup_bias_lr: 0.1,
        }
    }

    fn near(got: f64, want: f64) {
        assert!((got - want).abs() < 1e-9, "{got} is not {want}");
    }

    #[test]
    fn warm_up_starts_at_nothing_and_biases_ahead() {
        let pace = schedule().at(0);
        near(pace.lr, 0.0);
        near(pace.bias_lr, 0.1);
        near(pace.momentum, 0.8);
        assert_eq!(pace.accumulate, 1);
        // 64 / 4 = 16 batches a step; halfway 8.5, rounded
        assert_eq!(schedule().at(100).accumulate, 9);
        assert_eq!(schedule().at(200).accumulate, 16);
    }

    #[test]
    fn the_rate_falls_along_half_a_cosine() {
        // halfway: 0.01 + 0.99 · ½ = 0.505 of lr0
        near(schedule().at(500).lr, 0.01 * 0.505);
        near(schedule().at(1000).lr, 0.01 * 0.01);
        near(schedule().at(5000).lr, 0.01 * 0.01);
        near(schedule().at(500).momentum, 0.9);
    }

    #[test]
    fn or_along_a_line() {
        let line = Schedule { cosine: false, ..schedule() };
        // After a quarter: 0.01 + 0.99 · ¾ = 0.7525 of lr0, where the cosine still has 0.855.
        near(line.at(250).lr, 0.01 * 0.7525);
        near(line.at(500).lr, 0.01 * 0.505);
        near(line.at(1000).lr, 0.01 * 0.01);
        assert!((schedule().at(250).lr - 0.01 * 0.855).abs() < 1e-5);
    }

    #[test]
    fn decay_follows_the_images_of_a_step() {
        near(schedule().at(500).weight_decay, 5e-4);
        // 64 / 24 = 2.67, rounded 3: 72 images a step
        near(Schedule { batch_size: 24, ..schedule() }.at(500).weight_decay, 5e-4 * 72.0 / 64.0);
    }

    #[test]
    fn short_runs_step_more_often() {
        assert_eq!(Schedule::nominal_batch(16, 480), 16);
        assert_eq!(Schedule::nominal_batch(4, 8_000), 32);
        assert_eq!(Schedule::nominal_batch(4, 1_000_000), 64);
        assert_eq!(Schedule::nominal_batch(128, 1_000_000), 128);
    }

    #[test]
    fn warm_up_is_bounded_both_ways() {
        assert_eq!(Schedule::warmup_batches(3.0, 12, 480), 48);
        assert_eq!(Schedule::warmup_batches(3.0, 12, 4_800), 100);
        assert_eq!(Schedule::warmup_batches(3.0, 1_000, 100_000), 3_000);
        assert_eq!(Schedule::warmup_batches(0.0, 12, 480), 0);
    }
}
