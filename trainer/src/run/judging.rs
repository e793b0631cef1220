//! The new model's figures on the val images, those of the models that served on the same, and the verdict.

use std::sync::Arc;

use edgeloop_model::{Network, Weights};
use edgeloop_service::exit::with_code;
use edgeloop_store::{Metadata, Metrics, RivalRole, Store, Verdict, Version};
use edgeloop_vision::map::Evaluator;

use crate::{
    data::{Augment, Dataset, LoaderConfig, ValLoader},
    fit,
    gate::{Candidate, Field, LINEAGE, Rival, best},
    judge::evaluate,
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
}

/// A judged model.
pub(super) struct Judged {
    /// The val images that it was judged on, letterboxed to the size that it was trained for.
    pub(super) val: ValLoader,
    pub(super) metrics: Metrics,
    pub(super) verdict: Verdict,
    /// The version that the gate compared it with, or would have.
    pub(super) compared_with: Option<Version>,
}

impl Court<'_> {
    /// Judges `weights` and decides. Which model serves is asked now: it may have changed since the training began.
    ///
    /// # Errors
    /// When a val image is gone, libtorch refuses, or the store cannot be read. A model that served and cannot be judged is
    /// none: the verdict says so.
    pub(super) fn judged(&self, network: &Network, weights: &Weights) -> anyhow::Result<Judged> {
        let classes = &self.dataset.classes;
        let val = self.val(self.settings.imgsz)?;
        let mut evaluator = self.evaluated(weights, network, &val, classes)?;
        let (report, ranking) = (evaluator.finish(), evaluator.ranking());
        let lineage = self.store.lineage(LINEAGE)?;
        let field = self.field(&lineage);
        let candidate = Candidate { classes, map50: report.map50, ranking: &ranking };
        let verdict = self.settings.gate.decide(&candidate, &field, self.settings.resources.threads());
        let compared_with = lineage.first().map(|promoted| promoted.version.clone());
        let mut metrics = publish::metrics(&report, classes);
        self.settings.class_thresholds.keep(&mut metrics);
        Ok(Judged { val, metrics, verdict, compared_with })
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
    fn evaluated(&self, weights: &Weights, network: &Network, val: &ValLoader, knows: &[String]) -> anyhow::Result<Evaluator> {
        let mut net = Yolo::from_weights(network, self.settings.device, weights)?;
        net.to_channels_last()?;
        Ok(evaluate(&mut fit::predictor(&net), val, knows, &self.dataset.classes)?)
    }

    /// The promoted model, and the best of those that served lately where that is another.
    fn field(&self, lineage: &[Metadata]) -> Field {
        let promoted = lineage.first().map(|metadata| (metadata, RivalRole::Promoted));
        let best = best(lineage).map(|metadata| (metadata, RivalRole::Best));
        let mut field = Field::default();
        for (metadata, role) in promoted.into_iter().chain(best) {
            match self.rival(metadata, role) {
                Ok(rival) => field.rivals.push(rival),
                Err(error) => {
                    let version: Version = metadata.version.clone();
                    tracing::warn!(%version, "a model that served cannot be judged: {error:#}");
                    field.absent.push((version, format!("{error:#}")));
                }
            }
        }
        field
    }

    /// A model that served, on today's val images, at the size that it serves at.
    fn rival(&self, metadata: &Metadata, role: RivalRole) -> anyhow::Result<Rival> {
        let Metadata { version, classes, image_size, .. } = metadata;
        let shared = classes.iter().any(|name| self.dataset.classes.contains(name));
        anyhow::ensure!(shared, "it knows other classes ({})", classes.join(", "));
        let (network, weights) = model_of(self.store, metadata)?;
        let mut evaluator = self.evaluated(&weights, &network, &self.val(*image_size)?, classes)?;
        Ok(Rival { version: version.clone(), role, classes: classes.clone(), ranking: evaluator.ranking() })
    }
}
