//! What a user can set: each a flag with an environment twin, and what decides how a network learns also a key of a `hyp.yaml`.
//! Resolved once into the numbers of a run.

pub mod hyp;
mod keep;
mod learning;
mod pictures;
mod resources;
mod thresholds;

use std::{ops::RangeInclusive, path::PathBuf};

use clap::{Args, Parser, ValueEnum};
use edgeloop_model::Scale;
use edgeloop_service::logs::LogArgs;
use tch::Device;

pub use learning::{Learning, Optimizer, Precision, Preset};
pub use pictures::Pictures;
pub use resources::Resources;
pub use thresholds::ClassThresholds;

use crate::{data::DataOptions, gate::Gate, replay::Replay, start::Init, unattended::Unattended};

/// Trains a better detector from a folder of images and publishes it for the inferer.
#[derive(Debug, Clone, Parser)]
#[command(name = "edgeloop-trainer", version, about)]
pub struct Settings {
    /// Folder of images and labels.
    #[arg(long, env = "IMAGES_DIR", default_value = "/data/images")]
    pub images_dir: PathBuf,
    /// Folder of models, shared with the inferer.
    #[arg(long, env = "MODEL_DIR", default_value = "/data/models")]
    pub model_dir: PathBuf,
    /// Passes over the images, 20 by default. From random weights a tiny folder gets more, unless this is given: see MIN_ITERATIONS.
    #[arg(long, env = "EPOCHS", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub epochs: Option<u32>,
    /// Images of a batch.
    #[arg(long, env = "BATCH_SIZE", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub batch_size: u32,
    /// Where to compute: `cpu`, or `cuda:N` with a libtorch that has CUDA.
    #[arg(long, env = "DEVICE", default_value = "cpu", value_parser = device)]
    pub device: Device,
    /// Side of the square input in pixels, a multiple of 32.
    #[arg(long, env = "IMGSZ", default_value_t = 640)]
    pub imgsz: u32,
    /// Size of the network: n, s, m, l or x.
    #[arg(long, env = "SCALE", default_value = "n")]
    pub scale: Scale,
    /// Of every random draw: the same seed, data and threads give the same model.
    #[arg(long, env = "SEED", default_value_t = 0)]
    pub seed: u64,
    /// What it starts from instead of the promoted model.
    #[command(flatten)]
    pub init: Init,
    /// What to start from: the promoted model, or random weights.
    #[arg(long, env = "START_FROM", value_enum, default_value_t = StartFrom::Promoted)]
    pub start_from: StartFrom,
    /// Go on from the checkpoint of an interrupted run with the same images and settings.
    #[arg(long, env = "RESUME", default_value_t = true, action = clap::ArgAction::Set)]
    pub resume: bool,
    /// How it learns.
    #[command(flatten)]
    pub learning: Learning,
    /// How pictures are changed.
    #[command(flatten)]
    pub pictures: Pictures,
    /// Which images are for judging.
    #[command(flatten)]
    pub split: Split,
    /// What it sees again.
    #[command(flatten)]
    pub replay: Replay,
    /// What is good enough.
    #[command(flatten)]
    pub gate: Gate,
    /// Confidences below which serving drops detections of single classes, as in bolt=0.4,nut=0.3; kept with the model. The other classes
    /// have the inferer's own.
    #[arg(long, env = "CLASS_THRESHOLDS", default_value = "", hide_default_value = true)]
    pub class_thresholds: ClassThresholds,
    /// What it may use.
    #[command(flatten)]
    pub resources: Resources,
    /// What it may keep on disk.
    #[command(flatten)]
    pub keep: Keep,
    /// What it does on its own.
    #[command(flatten)]
    pub unattended: Unattended,
    /// Logs.
    #[command(flatten)]
    pub logs: LogArgs,
}

pub use keep::Keep;

/// Where a run starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StartFrom {
    /// The promoted model, where there is one of the same scale.
    Promoted,
    /// Random weights.
    Scratch,
}

/// Settings of the scan.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Images")]
pub struct Split {
    /// Images under this folder are for judging, all others for training.
    #[arg(long, env = "VAL_DIR")]
    pub val_dir: Option<PathBuf>,
    /// Share of the images that is for judging where no folder or file says so.
    #[arg(long, env = "VAL_SHARE", default_value_t = 0.2)]
    pub val_share: f64,
    /// Take images without a label file as background.
    #[arg(long, env = "UNLABELLED_AS_BACKGROUND", default_value_t = false, num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub unlabelled_as_background: bool,
}

/// Epochs where nobody asks for a number.
const EPOCHS: u32 = 20;

fn within(name: &str, value: f64, range: RangeInclusive<f64>) -> Result<(), String> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(format!("{name} is {value}; it must be between {} and {}", range.start(), range.end()))
}

fn device(text: &str) -> Result<Device, String> {
    let number = match text.to_ascii_lowercase().as_str() {
        "cpu" => return Ok(Device::Cpu),
        "cuda" | "gpu" => "0".to_owned(),
        other => other.strip_prefix("cuda:").unwrap_or(other).to_owned(),
    };
    let number: usize = number.parse().map_err(|_| "use `cpu` or `cuda:N`".to_owned())?;
    if tch::Cuda::is_available() && (number as i64) < tch::Cuda::device_count() {
        return Ok(Device::Cuda(number));
    }
    Err("this libtorch finds no such CUDA device; use `cpu`".to_owned())
}

impl Settings {
    /// The first setting that makes no sense, in words.
    ///
    /// # Errors
    /// That sentence.
    pub fn check(&self) -> Result<(), String> {
        self.learning.check()?;
        within("VAL_SHARE", self.split.val_share, 0.001..=0.9)?;
        if self.imgsz == 0 || !self.imgsz.is_multiple_of(32) || self.imgsz > 4096 {
            return Err(format!("IMGSZ is {}; it must be a multiple of 32, up to 4096", self.imgsz));
        }
        self.gate.check()?;
        self.replay.check()?;
        self.unattended.check()?;
        self.pictures.augment().problem().map_or(Ok(()), Err)
    }

    /// Passes over the images that were asked for.
    pub fn epochs(&self) -> u32 {
        self.epochs.unwrap_or(EPOCHS)
    }

    /// How to read the folder.
    pub fn data_options(&self) -> DataOptions {
        let Split { val_dir, val_share, unlabelled_as_background } = self.split.clone();
        DataOptions {
            val_dir,
            val_share,
            unlabelled_as_background,
            threads: self.resources.threads(),
            disk: self.keep.options(),
            ..DataOptions::default()
        }
    }
}

#[cfg(test)]
mod tests;
