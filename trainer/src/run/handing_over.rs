//! From a judged model to a version in the store.

use std::sync::Arc;

use edgeloop_model::Network;
use edgeloop_store::{Metadata, Phase, Retention, Store, TrainLock, TrainingInfo, Version};
use serde_json::{Value, json};

use super::judging::Judged;
use crate::{
    data::Dataset,
    fit::{Done, Hyper},
    publish::{self, Content},
    replay::Seen,
    report::Reporter,
    settings::Settings,
};

/// Which versions are kept.
pub(super) fn retention(settings: &Settings) -> Retention {
    Retention { keep_versions: settings.resources.keep_versions, keep_bytes: settings.resources.keep_bytes, ..Retention::default() }
}

/// What a version is made of, besides its verdict.
pub(super) struct Finished<'a> {
    pub(super) settings: &'a Settings,
    pub(super) dataset: &'a Arc<Dataset>,
    pub(super) network: &'a Network,
    pub(super) hyper: Hyper,
    pub(super) done: &'a Done,
    pub(super) parent: Option<Version>,
    pub(super) seen: &'a Seen,
    /// Digest of the settings, by which the next run knows its like.
    pub(super) settings_digest: String,
}

impl Finished<'_> {
    /// Exports and publishes; prunes what is too old afterwards.
    ///
    /// # Errors
    /// When the exported model does not agree with the trained one, or the store refuses.
    pub(super) fn publish(self, judged: Judged, store: &Store, lock: &TrainLock, reporter: &mut Reporter<'_>) -> anyhow::Result<Metadata> {
        reporter.phase(Phase::Exporting);
        let training = self.training_info();
        let Self { settings, dataset, network, done, seen, .. } = self;
        let Judged { val, metrics, verdict, compared_with } = judged;
        let imgsz = settings.imgsz;
        let content = Content { network, weights: &done.weights, dataset, imgsz, training, metrics, compared_with };
        let draft = publish::draft(content, &val)?;

        reporter.phase(Phase::Publishing);
        let metadata = store.publish(lock, draft, verdict)?;
        // The run is in the store: what follows must not turn it into a failure.
        if let Err(error) = store.write_seen(lock, &metadata.version, &seen.images) {
            tracing::warn!("what the version has learnt from could not be written down, its children will see all images: {error}");
        }
        if let Err(error) = store.prune(&retention(settings)) {
            tracing::warn!("old versions could not be pruned: {error}");
        }
        Ok(metadata)
    }

    fn training_info(&self) -> TrainingInfo {
        let Self { settings, hyper, done, parent, seen, .. } = self;
        let mut all = match serde_json::to_value(hyper) {
            Ok(Value::Object(all)) => all,
            _ => serde_json::Map::new(),
        };
        all.insert("best_epoch".to_owned(), done.best_epoch.into());
        all.insert("threads".to_owned(), settings.resources.threads().into());
        all.insert("settings".to_owned(), self.settings_digest.clone().into());
        if let Some(budget) = settings.unattended.time_budget {
            all.insert("time_budget_s".to_owned(), budget.as_secs_f64().into());
        }
        if let Some(retry) = done.retry {
            all.insert("retry".to_owned(), json!(retry));
        }
        let gains = hyper.recipe.gains;
        all.insert("replay".to_owned(), seen.record());
        all.insert("gains".to_owned(), json!({"box": gains.bbox, "class": gains.class, "dfl": gains.dfl}));
        TrainingInfo {
            hyper: all,
            seed: settings.seed,
            epochs: hyper.epochs,
            epochs_done: done.log.len() as u32,
            seconds: done.seconds,
            device: format!("{:?}", settings.device).to_lowercase(),
            precision: if hyper.bf16 { "bf16" } else { "fp32" }.to_owned(),
            parent: parent.clone(),
        }
    }
}
