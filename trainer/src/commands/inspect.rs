//! `edgeloop-trainer inspect`: what is in the folder, and what is wrong with it.

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::Args;
use edgeloop_service::exit::{WithExitCode, with_code};
use edgeloop_store::Store;

use crate::{data, inspect, settings::Settings};

/// Looks through the images and labels.
#[derive(Debug, Clone, Args)]
pub struct Inspect {
    /// As JSON.
    #[arg(long)]
    pub json: bool,
    /// Write pictures there: classes.png, boxes.png, examples.png; and inspect.json.
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// Those of a training: IMAGES_DIR, IMGSZ and how to split.
    #[command(flatten)]
    pub settings: Settings,
}

impl Inspect {
    /// Reads the folder as a training would, but goes on where that would stop, and prints what it finds.
    ///
    /// # Errors
    /// Exit code 2 for a folder that cannot be read at all; 1 where the pictures cannot be written.
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        let settings = &self.settings;
        settings.check().map_err(|why| anyhow::anyhow!(why)).exit_code(2)?;
        let mut options = settings.data_options();
        // What the trainer has checked need not be checked again; and the other way round.
        options.memory_dir = Store::open(&settings.model_dir).ok().map(|store| store.scan_dir());
        let survey = data::look_through(&settings.images_dir, &options).map_err(|error| with_code(error.exit_code(), error))?;
        let inspection = inspect::inspect(&survey, settings.imgsz);
        let json = || serde_json::to_string_pretty(&inspection).context("the findings cannot be written as JSON");
        if let Some(dir) = &self.out {
            fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
            for (name, png) in inspect::pictures::all(&survey, &inspection)? {
                let path = dir.join(name);
                fs::write(&path, png).with_context(|| format!("cannot write {}", path.display()))?;
            }
            fs::write(dir.join("inspect.json"), json()?).with_context(|| format!("cannot write to {}", dir.display()))?;
        }
        super::print(&if self.json { json()? } else { inspection.to_string() })?;
        Ok(ExitCode::SUCCESS)
    }
}
