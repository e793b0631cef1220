//! What a user can set: each a flag with an environment twin. Resolved once into the numbers of a run.

mod keep;

use std::path::PathBuf;

use clap::{Args, Parser, ValueEnum};
use edgeloop_model::Scale;
use edgeloop_service::{limits, logs::LogArgs};
use tch::Device;

use crate::{
    data::{Augment, DataOptions, Dataset},
    fit::{Hyper, optimiser::Rule, schedule::Schedule},
    gate::Gate,
    machine,
    replay::Replay,
    start::Init,
    unattended::Unattended,
};

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
    /// Passes over the images.
    #[arg(long, env = "EPOCHS", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub epochs: u32,
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
    /// How fast it learns.
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

/// Settings of the optimiser.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Learning")]
pub struct Learning {
    /// `auto`: AdamW for runs of up to 10,000 batches, SGD for longer ones.
    #[arg(long, env = "OPTIMIZER", value_enum, default_value_t = Optimizer::Auto)]
    pub optimizer: Optimizer,
    /// Learning rate after warm-up; by default 0.01 for SGD, for AdamW 0.028 / (4 + classes) and less with small batches; a
    /// quarter of that when it starts from weights.
    #[arg(long, env = "LR0")]
    pub lr0: Option<f64>,
    /// Share of the learning rate that is left at the end.
    #[arg(long, env = "LRF", default_value_t = 0.01)]
    pub lrf: f64,
    /// Momentum (SGD) or first beta (AdamW).
    #[arg(long, env = "MOMENTUM", default_value_t = 0.9)]
    pub momentum: f64,
    /// Weight decay, for the nominal batch.
    #[arg(long, env = "WEIGHT_DECAY", default_value_t = 0.0005)]
    pub weight_decay: f64,
    /// Images of an optimiser step, over as many batches as that takes; by default 64, and fewer in short runs.
    #[arg(long, env = "NOMINAL_BATCH", value_parser = clap::value_parser!(u64).range(1..=65536))]
    pub nominal_batch: Option<u64>,
    /// Epochs of warm-up (at least 100 batches, at most a tenth of the run).
    #[arg(long, env = "WARMUP_EPOCHS", default_value_t = 3.0)]
    pub warmup_epochs: f64,
    /// `auto`: bf16 where the processor multiplies it in hardware.
    #[arg(long, env = "PRECISION", value_enum, default_value_t = Precision::Auto)]
    pub precision: Precision,
}

/// Which optimiser.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Optimizer {
    /// By the length of the run.
    Auto,
    /// SGD with Nesterov momentum.
    Sgd,
    /// AdamW.
    #[value(name = "adamw")]
    AdamW,
}

/// Which numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Precision {
    /// bf16 where the processor has it.
    Auto,
    /// float32 throughout.
    F32,
    /// bf16 where bits allow.
    Bf16,
}

/// Settings of augmentation.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Augmentation")]
pub struct Pictures {
    /// Share of pictures made of four.
    #[arg(long, env = "MOSAIC", default_value_t = 1.0)]
    pub mosaic: f32,
    /// Epochs at the end without mosaic; at most half of the run.
    #[arg(long, env = "CLOSE_MOSAIC", default_value_t = 10)]
    pub close_mosaic: u32,
    /// Rotation, degrees either way.
    #[arg(long, env = "DEGREES", default_value_t = 0.0)]
    pub degrees: f32,
    /// Shift, fraction of the input either way.
    #[arg(long, env = "TRANSLATE", default_value_t = 0.1)]
    pub translate: f32,
    /// Scale by 1 ± this.
    #[arg(long, env = "ZOOM", default_value_t = 0.5)]
    pub zoom: f32,
    /// Shear, degrees either way.
    #[arg(long, env = "SHEAR", default_value_t = 0.0)]
    pub shear: f32,
    /// Hue, fraction of the circle either way.
    #[arg(long, env = "HSV_H", default_value_t = 0.015)]
    pub hsv_h: f32,
    /// Saturation times 1 ± this.
    #[arg(long, env = "HSV_S", default_value_t = 0.7)]
    pub hsv_s: f32,
    /// Brightness times 1 ± this.
    #[arg(long, env = "HSV_V", default_value_t = 0.4)]
    pub hsv_v: f32,
    /// Share mirrored left to right.
    #[arg(long, env = "FLIPLR", default_value_t = 0.5)]
    pub fliplr: f32,
    /// Share mirrored top to bottom.
    #[arg(long, env = "FLIPUD", default_value_t = 0.0)]
    pub flipud: f32,
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

/// Settings of the machine.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Resources")]
pub struct Resources {
    /// Threads of one operation; 0: all cores that this process may use, but for one where they are shared.
    #[arg(long, env = "THREADS", default_value_t = 0)]
    pub threads: usize,
    /// Threads that make batches; 0: one for every four cores.
    #[arg(long, env = "WORKERS", default_value_t = 0)]
    pub workers: usize,
    /// Memory for decoded pictures, MiB; 0: a quarter of what this process may use, at most 2048.
    #[arg(long, env = "CACHE_MB", default_value_t = 0)]
    pub cache_mb: usize,
    /// Something else needs the same cores: leave it one. Also the case for a niced process.
    #[arg(long, env = "SHARE_CORES", default_value_t = false, num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub share_cores: bool,
    /// Published versions to keep, the promoted one and its predecessor among them.
    #[arg(long, env = "KEEP_VERSIONS", default_value_t = 10)]
    pub keep_versions: usize,
    /// Bytes that all versions together may take.
    #[arg(long, env = "KEEP_BYTES")]
    pub keep_bytes: Option<u64>,
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
        let Learning { lr0, lrf, momentum, weight_decay, warmup_epochs, .. } = self.learning;
        let ranges = [
            ("LR0", lr0.unwrap_or(0.01), 0.0..=10.0),
            ("LRF", lrf, 0.0..=1.0),
            ("MOMENTUM", momentum, 0.0..=0.9999),
            ("WEIGHT_DECAY", weight_decay, 0.0..=1.0),
            ("WARMUP_EPOCHS", warmup_epochs, 0.0..=1e6),
            ("VAL_SHARE", self.split.val_share, 0.001..=0.9),
        ];
        for (name, value, range) in ranges {
            if !range.contains(&value) {
                return Err(format!("{name} is {value}; it must be between {} and {}", range.start(), range.end()));
            }
        }
        if self.imgsz == 0 || !self.imgsz.is_multiple_of(32) || self.imgsz > 4096 {
            return Err(format!("IMGSZ is {}; it must be a multiple of 32, up to 4096", self.imgsz));
        }
        self.gate.check()?;
        self.replay.check()?;
        self.unattended.check()?;
        self.augment().problem().map_or(Ok(()), Err)
    }

    fn augment(&self) -> Augment {
        let Pictures { mosaic, close_mosaic: _, degrees, translate, zoom, shear, hsv_h, hsv_s, hsv_v, fliplr, flipud } = self.pictures;
        Augment { mosaic, degrees, translate, scale: zoom, shear, hsv_h, hsv_s, hsv_v, fliplr, flipud }
    }

    /// The numbers of a run on `dataset`; `from_weights`: it does not start from random ones.
    pub fn hyper(&self, dataset: &Dataset, from_weights: bool) -> Hyper {
        let Learning { optimizer, lr0, lrf, momentum, weight_decay, nominal_batch, warmup_epochs, precision } = self.learning;
        let batch = u64::from(self.batch_size);
        let batches = (dataset.train.len() as u64).div_ceil(batch);
        let total = batches * u64::from(self.epochs);
        let optimiser = match optimizer {
            Optimizer::Sgd => Rule::Sgd,
            Optimizer::AdamW => Rule::AdamW,
            // SGD ends better, but takes that long to get there.
            Optimizer::Auto if total > 10_000 => Rule::Sgd,
            Optimizer::Auto => Rule::AdamW,
        };
        let nominal_batch = nominal_batch.unwrap_or_else(|| Schedule::nominal_batch(batch, total)).max(batch);
        let from_scratch = match optimiser {
            Rule::Sgd => 0.01,
            // 0.004 for 3 classes. Measured on 204 images, 520 steps of 16: 0.0014 ends at mAP50 0.75, 0.004 at 0.81, 0.008 is
            // slower at first. Steps of fewer images are noisier and want less, by the root of their number.
            Rule::AdamW => 0.028 / (4.0 + dataset.classes.len() as f64) * (nominal_batch as f64 / 16.0).min(1.0).sqrt(),
        };
        // A model that already knows something forgets it at the rate that teaches a new one.
        let usual = if from_weights { from_scratch / 4.0 } else { from_scratch };
        Hyper {
            epochs: self.epochs,
            batch_size: self.batch_size as usize,
            imgsz: self.imgsz,
            seed: self.seed,
            optimiser,
            lr0: lr0.unwrap_or(usual),
            lrf,
            momentum,
            weight_decay,
            nominal_batch,
            warmup_batches: Schedule::warmup_batches(warmup_epochs, batches, total),
            close_mosaic: self.pictures.close_mosaic.min(self.epochs / 2),
            augment: self.augment(),
            bf16: match precision {
                Precision::Auto => self.device == Device::Cpu && edgeloop_torch::cpu_has_bf16(),
                Precision::F32 => false,
                Precision::Bf16 => true,
            },
        }
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

impl Resources {
    /// Threads of one operation.
    pub fn threads(&self) -> usize {
        if self.threads > 0 {
            return self.threads;
        }
        // All threads of an operation wait for the slowest: one that shares its core with a busy process makes the others wait.
        // On two cores beside a busy thread, niced: 115 images/s with one thread, under 7 with two.
        let shared = self.share_cores || machine::is_niced();
        limits::available_cpus().saturating_sub(usize::from(shared)).max(1)
    }

    /// Threads that make batches.
    pub fn workers(&self) -> usize {
        if self.workers > 0 { self.workers } else { (self.threads() / 4).max(1) }
    }

    /// Memory for decoded pictures, MiB.
    pub fn cache_mb(&self) -> usize {
        // Without a limit to go by: 512 MiB hold some 400 pictures of 640×640.
        let usual = limits::memory_limit().map_or(512, |bytes| ((bytes / 4) >> 20).clamp(16, 2048) as usize);
        if self.cache_mb > 0 { self.cache_mb } else { usual }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn settings(more: &[&str]) -> Result<Settings, clap::Error> {
        Settings::try_parse_from(["edgeloop-trainer"].iter().chain(more))
    }

    #[test]
    fn the_manuals_defaults_hold() {
        let s = settings(&[]).unwrap();
        assert_eq!((s.images_dir, s.model_dir), ("/data/images".into(), "/data/models".into()));
        assert_eq!((s.epochs, s.batch_size, s.device, s.imgsz, s.scale), (20, 4, Device::Cpu, 640, Scale::N));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_name() {
        assert!(settings(&["--epochs", "0"]).is_err());
        assert!(settings(&["--device", "tpu"]).is_err());
        assert!(settings(&["--imgsz", "100"]).unwrap().check().unwrap_err().contains("IMGSZ"));
        assert!(settings(&["--lr0=-1"]).unwrap().check().unwrap_err().contains("LR0"));
        assert!(settings(&["--mosaic", "7"]).unwrap().check().unwrap_err().contains("mosaic"));
        settings(&[]).unwrap().check().unwrap();
    }
}
