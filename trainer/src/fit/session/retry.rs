//! A training that diverged gets one second try: from its last checkpoint, or from its start, at a lower rate.

use std::time::Instant;

use edgeloop_store::LowerRate;

use super::{Pace, Session, batch::MAX_NOT_FINITE};
use crate::fit::{FitError, Observer};

/// A rate that breaks a training is usually several times too high; a tenth of it learns slowly, and the gate judges the result.
pub(super) const FACTOR: f64 = 0.1;

impl<'a> Session<'a> {
    /// Goes back and on at a lower rate.
    ///
    /// # Errors
    /// [`FitError::Diverged`] when this was the second try.
    pub(super) fn tried_again(self, observer: &mut dyn Observer) -> Result<Self, FitError> {
        let (epoch, batch, job) = (self.position.epoch + 1, self.position.batch, self.job);
        let before = self.schedule.lr0;
        let diverged = FitError::Diverged { epoch, in_a_row: MAX_NOT_FINITE, lr0: before };
        if self.position.retry.is_some() {
            return Err(diverged);
        }
        let seconds = self.position.seconds[0];
        // Two of them need not be in memory at once.
        drop(self);
        let mut again: Session<'a> = Session::new(job)?;
        let retry = LowerRate { epoch, batch, lr0_before: before, lr0: before * FACTOR };
        tracing::warn!(
            epoch,
            batch,
            lr0_before = before,
            lr0 = retry.lr0,
            from_epoch = again.position.epoch,
            "{diverged}; once, it goes back to its last checkpoint and on at a lower rate"
        );
        again.position.retry = Some(retry);
        again.position.not_finite = 0;
        // What the first try took was spent, too.
        again.position.seconds[0] = seconds;
        again.pace = Pace::from(&again.position, again.schedule.batches);
        again.follow();
        // Killed now, it must not try the high rate again.
        again.save_or_say();
        again.saved = Instant::now();
        observer.retrying(&retry);
        observer.started(&again.plan(), &again.position.log);
        Ok(again)
    }
}
