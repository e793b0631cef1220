//! `edgeloop-trainer eval`: how good a model is on the val images of a folder.

use std::{fs, path::PathBuf, process::ExitCode, sync::Arc};

use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};
use edgeloop_service::exit::{BAD_INPUT, WithExitCode, bad_input, with_code};
use edgeloop_store::Store;

use crate::{
    data::{Augment, Dataset, LoaderConfig, Scan, ValLoader, scan},
    eval::{Evaluation, Subject, evaluate, model::Model, pictures},
    machine,
    settings::Settings,
};

/// Evaluates a model.
#[derive(Debug, Clone, Args)]
pub struct Eval {
    /// `latest` (the promoted one), a version of MODEL_DIR, or a file: .pt, .safetensors, .onnx.
    #[arg(long, default_value = "latest")]
    pub model: String,
    /// Which images.
    #[arg(long, value_enum, default_value_t = On::Val)]
    pub on: On,
    /// As JSON.
    #[arg(long)]
    pub json: bool,
    /// Write pictures there: confusion.png, curves.png; and eval.json.
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// Side of the input; by default the one that the model was made for, where it says so, and IMGSZ otherwise.
    #[arg(long)]
    pub size: Option<u32>,
    /// Those of a training: IMAGES_DIR, MODEL_DIR, how to split.
    #[command(flatten)]
    pub settings: Settings,
}

/// Which images a model is evaluated on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum On {
    /// Those that no training learns from.
    Val,
    /// Those that it learns from: good figures here and bad ones on val mean that it learnt them by heart.
    Train,
}

impl Eval {
    /// Evaluates and prints.
    ///
    /// # Errors
    /// Exit code 2 for images, labels, models and settings that cannot be used.
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        let mut settings = self.settings.clone();
        settings.imgsz = self.size.unwrap_or(settings.imgsz);
        settings.check().map_err(|why| bad_input(anyhow::anyhow!(why)))?;
        machine::use_threads(settings.resources.threads());
        let evaluation = self.evaluate(&settings)?;
        let json = || serde_json::to_string_pretty(&evaluation).context("the figures cannot be written as JSON");
        if let Some(dir) = &self.out {
            fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
            for (name, png) in pictures::all(&evaluation)? {
                let path = dir.join(name);
                fs::write(&path, png).with_context(|| format!("cannot write {}", path.display()))?;
            }
            fs::write(dir.join("eval.json"), json()?).with_context(|| format!("cannot write to {}", dir.display()))?;
        }
        super::print(&if self.json { json()? } else { evaluation.to_string() })?;
        Ok(ExitCode::SUCCESS)
    }

    fn evaluate(&self, settings: &Settings) -> anyhow::Result<Evaluation> {
        let mut model = Model::open(&self.model, settings).exit_code(BAD_INPUT)?;
        let dataset = self.dataset(settings)?;
        let imgsz = self.size.or(model.imgsz).unwrap_or(settings.imgsz);
        let knows = match &model.classes {
            Some(classes) => classes.clone(),
            None => {
                let (count, labelled) = (model.count, dataset.classes.len());
                let same = || -> anyhow::Result<()> {
                    ensure!(
                        count == labelled,
                        "{} names no classes and has {count}, the labels have {labelled}: set INIT_CLASSES",
                        model.name
                    );
                    Ok(())
                };
                same().exit_code(BAD_INPUT)?;
                dataset.classes.clone()
            }
        };
        let engine = model.prepare(imgsz, settings.resources.threads()).exit_code(BAD_INPUT)?;
        let config = LoaderConfig {
            imgsz,
            batch: (settings.batch_size as usize).max(8),
            seed: 0,
            workers: settings.resources.workers(),
            augment: Augment::NONE,
            cache_mb: 0,
        };
        let val = ValLoader::new(dataset.clone(), config).map_err(|error| with_code(error.exit_code(), error))?;
        let name = model.name.clone();
        let subject = Subject { name: &name, engine, knows: &knows, imgsz };
        Ok(evaluate(&subject, &mut |batch| model.predict(batch), &val, &dataset.classes)?)
    }

    fn dataset(&self, settings: &Settings) -> anyhow::Result<Arc<Dataset>> {
        let mut options = settings.data_options();
        // One pass: what is decoded is not wanted again. What the trainer has checked need not be checked again.
        options.disk = None;
        options.memory_dir = Store::open(&settings.model_dir).ok().map(|store| store.scan_dir());
        let mut dataset = match scan(&settings.images_dir, &options).map_err(|error| with_code(error.exit_code(), error))? {
            Scan::Ready(dataset) => dataset,
            Scan::WaitingForLabels(report) => return Err(bad_input(anyhow::anyhow!("there is nothing to evaluate on: {report}"))),
        };
        if self.on == On::Train {
            std::mem::swap(&mut dataset.train, &mut dataset.val);
        }
        Ok(Arc::new(dataset))
    }
}
