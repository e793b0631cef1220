//! The new model's figures on the val images, the promoted one's on the same, and the verdict.

use std::sync::Arc;

use edgeloop_model::{Network, Weights};
use edgeloop_service::exit::with_code;
use edgeloop_store::{Decision, Metadata, Metrics, Store, Version};
use edgeloop_vision::map::MapReport;

use crate::{
    data::{Augment, Dataset, LoaderConfig, ValLoader},
    fit,
    gate::Promoted,
    judge::judge,
    net::Yolo,
    publish,
    settings::Settings,
    start::model_of,
};

/// What the new model is judged on, and against.
pub(super) struct Court<'a> {
    pub(super) settings: &'a Settings,
    pub(super) store: &'a Store,
    pub(super) dataset: &'a Arc<Dataset>,
    /// The version that serves now.
    pub(super) promoted: Option<&'a Metadata>,
}

/// A judged model.
pub(super) struct Judged {
    /// The val images that it was judged on, letterboxed to the size that it was trained for.
    pub(super) val: ValLoader,
    pub(super) metrics: Metrics,
    pub(super) decision: Decision,
    /// The version that the gate compared it with.
    pub(super) compared_with: Option<Version>,
}

impl Court<'_> {
    /// Judges `weights` and decides.
    ///
    /// # Errors
    /// When a val image is gone or libtorch refuses. A promoted model that cannot be judged is none: the verdict says so.
    pub(super) fn judged(&self, network: &Network, weights: &Weights) -> anyhow::Result<Judged> {
        let val = self.val(self.settings.imgsz)?;
        let report = self.report(weights, network, &val)?;
        let metrics = publish::metrics(&report, &self.dataset.classes);
        let rival = self.rival();
        let decision = self.settings.gate.decide(&metrics, &rival);
        let compared_with = match rival {
            Promoted::Nothing => None,
            Promoted::Judged(version, _) | Promoted::NotComparable(version, _) => Some(version),
        };
        Ok(Judged { val, metrics, decision, compared_with })
    }

    fn val(&self, imgsz: u32) -> anyhow::Result<ValLoader> {
        let config = LoaderConfig {
            imgsz,
            batch: (self.settings.batch_size as usize).max(8),
            seed: self.settings.seed,
            workers: self.settings.resources.workers(),
            augment: Augment::NONE,
            // One pass: nothing to keep.
            cache_mb: 0,
        };
        ValLoader::new(self.dataset.clone(), config).map_err(|e| with_code(e.exit_code(), e))
    }

    /// In float32, as it will serve.
    fn report(&self, weights: &Weights, network: &Network, val: &ValLoader) -> anyhow::Result<MapReport> {
        let mut net = Yolo::from_weights(network, self.settings.device, weights)?;
        net.to_channels_last()?;
        Ok(judge(&mut fit::predictor(&net), val, &self.dataset.classes)?)
    }

    /// The promoted model on today's val images, at the size that it serves at.
    fn rival(&self) -> Promoted {
        let Some(promoted) = self.promoted else { return Promoted::Nothing };
        let version: Version = promoted.version.clone();
        if promoted.classes != self.dataset.classes {
            return Promoted::NotComparable(version, format!("it knows the classes {}", promoted.classes.join(", ")));
        }
        let judged = || -> anyhow::Result<MapReport> {
            let (network, weights) = model_of(self.store, promoted)?;
            self.report(&weights, &network, &self.val(promoted.image_size)?)
        };
        match judged() {
            Ok(report) => Promoted::Judged(version, report.map50_95),
            Err(error) => {
                tracing::warn!(%version, "the promoted model cannot be judged: {error:#}");
                Promoted::NotComparable(version, format!("it cannot be judged: {error:#}"))
            }
        }
    }
}
