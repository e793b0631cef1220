//! One batch: forward, backward, and a step where enough gradients have gathered.

use edgeloop_model::Role;

use super::{Session, to_input};
use crate::{data::Batch, fit::FitError, fit::optimiser::Stepped};

/// Batches in a row without a finite step after which the run is given up.
pub(super) const MAX_NOT_FINITE: u32 = 10;

/// What came of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Batched {
    /// It was learnt from, or left out.
    Fine,
    /// One too many was not finite.
    Diverged,
}

impl Session<'_> {
    pub(super) fn batch(&mut self, batch: &Batch) -> Result<Batched, FitError> {
        let pace = self.schedule.at(self.index());
        let head = self.net.try_forward(&to_input(batch, self.job.device)?, true)?;
        let losses = self.loss.of(&head, &batch.targets, batch.h, batch.w)?;
        drop(head);
        self.position.batch += 1;
        if losses.parts.iter().any(|part| !part.is_finite()) {
            self.optimiser.drop_gradients()?;
            self.position.pending = 0;
            return self.was_not_finite();
        }
        losses.total.f_backward()?;
        for (sum, part) in self.position.losses.iter_mut().zip(losses.parts) {
            *sum += part;
        }
        self.position.pending += 1;
        if self.position.pending < pace.accumulate {
            return Ok(Batched::Fine);
        }
        self.position.pending = 0;
        if self.optimiser.step(&pace)? == Stepped::NotFinite {
            return self.was_not_finite();
        }
        self.position.not_finite = 0;
        self.ema.update()?;
        Ok(Batched::Fine)
    }

    fn was_not_finite(&mut self) -> Result<Batched, FitError> {
        self.position.not_finite += 1;
        tracing::warn!(epoch = self.position.epoch + 1, batch = self.position.batch, "a batch that is not finite was left out");
        // The forward pass has put it into the norms' running statistics, and no later batch would get it out again.
        for (value, average) in self.variables.iter().zip(&self.averages) {
            let (_, tensor, role) = value;
            if matches!(role, Role::RunningMean | Role::RunningVar) && tensor.isfinite().all().int64_value(&[]) == 0 {
                edgeloop_torch::copy(&[tensor.detach()], &[average.1.detach()])?;
            }
        }
        Ok(if self.position.not_finite < MAX_NOT_FINITE { Batched::Fine } else { Batched::Diverged })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use edgeloop_model::{Network, Scale};

    use super::*;
    use crate::fit::tests::{toy, toy_job};

    #[test]
    fn a_bad_batch_leaves_no_trace_in_the_norms() {
        let dir = tempfile::tempdir().unwrap();
        let (dataset, hyper) = toy(dir.path());
        let network = Network::yolov8(Scale::N, 2);
        let job = toy_job(hyper, &network, dataset);
        let mut session = Session::new(&job).unwrap();
        let weight = session.variables[0].1.detach();
        let (good, bad) = (weight.copy(), weight.full_like(f64::NAN));
        edgeloop_torch::copy(&[weight.shallow_clone()], &[bad]).unwrap();
        let batch = session.train.epoch(0, false).next().unwrap().unwrap();
        assert_eq!(session.batch(&batch).unwrap(), Batched::Fine);
        assert_eq!(session.position.not_finite, 1);
        edgeloop_torch::copy(&[weight], &[good]).unwrap();
        let finite = |t: &tch::Tensor| t.isfinite().all().int64_value(&[]) == 1;
        assert!(session.variables.iter().all(|(_, tensor, _)| finite(tensor)));
        session.batch(&batch).unwrap();
        assert_eq!(session.position.not_finite, 0);
    }
}
