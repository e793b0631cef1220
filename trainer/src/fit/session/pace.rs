//! How fast this process is, and where a run with a time budget ends by that.

use std::time::{Duration, Instant};

use super::{Session, retry::FACTOR};
use crate::fit::{
    budget::{Budget, Costs},
    checkpoint::Position,
};

/// Batches before a pace can be told: the first ones fill caches.
const ENOUGH: u64 = 5;

/// A judged image against a trained one: forward only, though in float32.
pub(in crate::fit) const JUDGED_IMAGE: f64 = 0.4;

/// Counters of this process.
pub(super) struct Pace {
    began: Instant,
    /// Batches of the run that were done before.
    first: u64,
    /// Seconds of the run that were spent before.
    before: f64,
    judging: Duration,
    judgings: u32,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), first: 0, before: 0.0, judging: Duration::ZERO, judgings: 0 }
    }

    pub(super) fn from(position: &Position, batches: u64) -> Self {
        Self { first: u64::from(position.epoch) * batches + position.batch, before: position.seconds[0], ..Self::new() }
    }

    pub(super) fn judged(&mut self, took: Duration) {
        self.judging += took;
        self.judgings += 1;
    }

    /// Seconds of a batch, its share of the judging included.
    pub(super) fn per_batch(&self, index: u64) -> f64 {
        self.began.elapsed().as_secs_f64() / index.saturating_sub(self.first).max(1) as f64
    }
}

impl Session<'_> {
    /// With a time budget: where the run ends, so that it ends in time with a low rate.
    pub(super) fn plan_the_end(&mut self) {
        let Some(budget): Option<Budget> = self.job.budget else { return };
        let (index, Pace { began, first, before, judging, judgings }) = (self.index(), &self.pace);
        let done = index - first;
        if done < ENOUGH && before + budget.before < budget.seconds {
            return;
        }
        let elapsed = began.elapsed();
        let batch = elapsed.saturating_sub(*judging).as_secs_f64() / done.max(1) as f64;
        let judging = if *judgings > 0 {
            judging.as_secs_f64() / f64::from(*judgings)
        } else {
            JUDGED_IMAGE * self.val.images() as f64 * batch / self.job.hyper.batch_size as f64
        };
        let asked = u64::from(self.job.hyper.epochs) * self.schedule.batches;
        let spent = before + elapsed.as_secs_f64();
        let end = budget.end(asked, index, self.schedule.batches, spent, &Costs { batch, judging });
        self.position.end = Some(end);
        self.follow();
    }

    /// Sets the schedule to what the position says.
    pub(super) fn follow(&mut self) {
        let hyper = &self.job.hyper;
        self.schedule.end = self.position.end.unwrap_or(u64::from(hyper.epochs) * self.schedule.batches);
        if self.position.end.is_some() {
            // As in the settings: at most a tenth of the run.
            self.schedule.warmup = hyper.warmup_batches.min(self.schedule.end / 10);
        }
        let factor = if self.position.retry.is_some() { FACTOR } else { 1.0 };
        self.schedule.lr0 = hyper.lr0 * factor;
        self.schedule.warmup_bias_lr = hyper.recipe.warmup_bias_lr * factor;
    }
}
