//! An epoch judged, the best one kept, and what the run ends with.

use edgeloop_model::Weights;
use edgeloop_vision::map::MapReport;
use tch::Tensor;

use super::{Session, predictor};
use crate::{
    fit::{Done, FitError, Fitted, checkpoint::Best},
    judge::judge,
};

impl Session<'_> {
    pub(super) fn judge(&self) -> Result<MapReport, FitError> {
        Ok(judge(&mut predictor(&self.average), &self.val, &self.job.dataset.classes)?)
    }

    pub(super) fn keep_if_best(&mut self, epoch: u32, report: &MapReport) -> Result<(), FitError> {
        // Tight boxes are what a detector is for, but early in a training they are all zero, and mAP50 tells epochs apart.
        let fitness = 0.1 * report.map50 + 0.9 * report.map50_95;
        let fitness = if fitness.is_finite() { fitness } else { 0.0 };
        // Equal counts as better: it was trained longer.
        if self.position.best.is_some_and(|best| best.fitness > fitness) {
            return Ok(());
        }
        self.position.best = Some(Best { epoch, fitness });
        if self.best.is_empty() {
            self.best = self.averages.iter().map(|v| v.1.zeros_like()).collect();
        }
        let averages: Vec<Tensor> = self.averages.iter().map(|v| v.1.shallow_clone()).collect();
        Ok(edgeloop_torch::copy(&self.best, &averages)?)
    }

    /// Whether the run ends early. A function of the position, so that a run that goes on ends where one that was not stopped does.
    pub(super) fn out_of_patience(&self) -> bool {
        let recipe = &self.job.hyper.recipe;
        let position = &self.position;
        // Between judgings nothing is known that was not known at the last one.
        let judged = position.batch == 0 && position.log.last().is_some_and(|last| !last.map50.is_nan());
        let Some(best) = position.best.filter(|best| judged && recipe.out_of_patience(position.epoch, best.epoch)) else { return false };
        tracing::info!(
            best_epoch = best.epoch,
            epoch = position.epoch,
            patience = recipe.patience,
            "no better epoch for PATIENCE epochs: it ends"
        );
        true
    }

    pub(super) fn finish(self) -> Result<Fitted, FitError> {
        let averages: Vec<Tensor> = self.averages.iter().map(|v| v.1.shallow_clone()).collect();
        let best_epoch = match self.position.best {
            Some(best) => {
                edgeloop_torch::copy(&averages, &self.best)?;
                best.epoch
            }
            // No epoch at all: the weights as they came.
            None => 0,
        };
        let weights: Weights = self.average.weights()?;
        let trained: f64 = self.position.log.iter().map(|e| e.seconds).sum();
        let images: f64 = self.position.log.iter().map(|e| e.images_per_s * e.seconds).sum();
        Ok(Fitted::Done(Box::new(Done {
            weights,
            best_epoch,
            log: self.position.log,
            retry: self.position.retry,
            seconds: self.position.seconds[0],
            images_per_s: images / trained.max(f64::MIN_POSITIVE),
        })))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use edgeloop_model::{Network, Scale};
    use edgeloop_store::EpochLog;

    use super::*;
    use crate::fit::{
        BatchDone, Hyper, Observer, Plan,
        recipe::Recipe,
        tests::{toy, toy_job},
    };

    struct Nobody;

    impl Observer for Nobody {
        fn started(&mut self, _: &Plan, _: &[EpochLog]) {}
        fn batch(&mut self, _: &BatchDone) {}
        fn epoch(&mut self, _: &EpochLog) -> anyhow::Result<()> {
            Ok(())
        }
    }

    /// Epochs that a run of nine makes whose first was better than any other can be.
    fn epochs(patience: u32) -> usize {
        let dir = tempfile::tempdir().unwrap();
        let (dataset, hyper) = toy(dir.path());
        let hyper = Hyper { epochs: 9, recipe: Recipe { patience, ..Recipe::default() }, ..hyper };
        let network = Network::yolov8(Scale::N, 2);
        let job = toy_job(hyper, &network, dataset);
        let mut session = Session::new(&job).unwrap();
        session.position.best = Some(Best { epoch: 1, fitness: 2.0 });
        session.best = session.averages.iter().map(|v| v.1.copy()).collect();
        let Fitted::Done(done) = session.run(&mut Nobody).unwrap() else { panic!("nobody stopped it") };
        assert_eq!(done.best_epoch, 1);
        done.log.len()
    }

    #[test]
    fn patience_ends_a_run_that_gets_no_better() {
        // 8 train and 4 val images: judged every second epoch and in the last three.
        assert_eq!(epochs(0), 9);
        assert_eq!(epochs(3), 4);
        // The fifth would be out of patience, but is not judged.
        assert_eq!(epochs(4), 6);
    }
}
