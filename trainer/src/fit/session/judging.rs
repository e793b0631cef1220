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
