//! What goes into a checkpoint and comes back out of it.

use std::time::Instant;

use tch::{Kind, Tensor};

use super::{Session, Variables};
use crate::fit::{
    FitError, Keep,
    checkpoint::{self, Checkpoint, CheckpointError},
};

impl Session<'_> {
    /// What a checkpoint holds, by name.
    pub(super) fn tensors(&self) -> Vec<(String, Tensor)> {
        let named = |kind: &str, variables: &Variables| -> Vec<(String, Tensor)> {
            variables.iter().map(|(n, t, _)| (format!("{kind}.{n}"), t.detach())).collect()
        };
        let mut out = named("net", &self.variables);
        out.extend(named("ema", &self.averages));
        out.extend(self.averages.iter().zip(&self.best).map(|(v, t)| (format!("best.{}", v.0), t.shallow_clone())));
        out.extend(self.optimiser.state().into_iter().map(|(n, t)| (format!("optimiser.{n}"), t)));
        if self.position.pending > 0 {
            let with_grad = self.variables.iter().filter(|v| v.2.trainable() && v.1.grad().defined());
            out.extend(with_grad.map(|(n, t, _)| (format!("grad.{n}"), t.grad())));
        }
        out
    }

    pub(super) fn save(&mut self) -> Result<(), CheckpointError> {
        let Some(Keep { dir, run, .. }) = &self.job.checkpoint else { return Ok(()) };
        self.position.steps = self.optimiser.steps();
        self.position.ema_steps = self.ema.steps();
        checkpoint::save(dir, run, &self.position, &self.tensors())?;
        self.saved = Instant::now();
        Ok(())
    }

    /// A disk that is full now must not end a training whose result may find room later; what was saved before is still there.
    /// While batches are not finite nothing is saved: a second try should start from before them.
    pub(super) fn save_or_say(&mut self) {
        if self.position.not_finite > 0 {
            return;
        }
        if let Err(error) = self.save() {
            tracing::error!("{error}; the training goes on, and would lose what it did since the last checkpoint if it was killed");
            // Not at every batch.
            self.saved = Instant::now();
        }
    }

    pub(super) fn save_if_due(&mut self) {
        if self.job.checkpoint.as_ref().is_some_and(|keep| self.saved.elapsed() >= keep.every) {
            self.save_or_say();
        }
    }

    /// What this run can go on from.
    pub(super) fn checkpoint(&self) -> Option<Checkpoint> {
        let Keep { dir, run, .. } = self.job.checkpoint.as_ref()?;
        checkpoint::load(dir, run, |found| self.fits(found))
    }

    /// Everything that is there without one is there in it. What is there at times (the best, gradients) is covered by its digest.
    fn fits(&self, found: &Checkpoint) -> Result<(), CheckpointError> {
        let expected = self.tensors().into_iter().filter(|(name, _)| !name.starts_with("grad.") && !name.starts_with("best."));
        expected.into_iter().try_for_each(|(name, tensor)| found.has(&name, &tensor).map(drop))
    }

    pub(super) fn restore(&mut self, from: &Checkpoint) -> Result<(), FitError> {
        self.position = from.position.clone();
        // An end that an earlier budget asked for.
        self.position.end = self.position.end.filter(|_| self.job.budget.is_some());
        self.optimiser.set_steps(self.position.steps);
        self.ema.set_steps(self.position.ema_steps);
        if self.position.best.is_some() {
            self.best = self.averages.iter().map(|v| v.1.zeros_like()).collect();
        }
        self.follow();
        for (name, tensor) in self.tensors() {
            if !name.starts_with("grad.") {
                from.restore(&name, &tensor)?;
            }
        }
        if self.position.pending == 0 {
            return Ok(());
        }
        // A gradient can only be had from a backward pass: that of Σ g·p is g. It is laid out as its parameter.
        for (name, tensor, _) in self.variables.iter().filter(|v| v.2.trainable()) {
            if let Some(grad) = from.get(&format!("grad.{name}")) {
                let grad = grad.to_device(self.job.device);
                (tensor * grad).sum(Kind::Float).f_backward()?;
            }
        }
        Ok(())
    }
}
