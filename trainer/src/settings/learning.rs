//! How a network learns: settings with the names of the field, and the numbers of a run that follow from them.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use tch::Device;

use super::Settings;
use crate::{
    data::Dataset,
    fit::{Hyper, optimiser::Rule, recipe::Recipe, schedule::Schedule},
    loss::Gains,
};

/// Epochs without a better one after which a run ends, as in the field.
const PATIENCE: u32 = 100;
/// Those are soon over in a small folder: so many batches must pass as well.
const PATIENCE_BATCHES: u64 = 1000;
/// Fewer batches get nowhere from random weights: 20 epochs of 10 are 200.
const MIN_ITERATIONS: u64 = 1000;
/// Most epochs of a run.
const MOST_EPOCHS: u64 = 100_000;

/// Settings of the optimiser and the loss.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Learning")]
pub struct Learning {
    /// YAML with any of the settings of this table under the names of the field (`lr0: 0.01`, `scale: 0.5`). Flags and environment
    /// win over it, it wins over defaults.
    #[arg(long, env = "HYP", value_name = "FILE")]
    pub hyp: Option<PathBuf>,
    /// Which defaults: `edge` is made for a few hundred images and short runs, `family` is the recipe that YOLOv8 is published with.
    #[arg(long, env = "RECIPE", value_enum, default_value_t = Preset::Edge)]
    pub recipe: Preset,
    /// `auto`: AdamW for runs of up to 10,000 batches, SGD for longer ones, which ends better but takes that long to get there.
    #[arg(long, env = "OPTIMIZER", value_enum, ignore_case = true, default_value_t = Optimizer::Auto)]
    pub optimizer: Optimizer,
    /// Learning rate after warm-up; by default 0.01 for SGD, for AdamW 0.028 / (4 + classes) and less with small batches; a
    /// quarter of that when it starts from weights. Lower it when the losses jump.
    #[arg(long, env = "LR0")]
    pub lr0: Option<f64>,
    /// Share of the learning rate that is left at the end.
    #[arg(long, env = "LRF", default_value_t = 0.01)]
    pub lrf: f64,
    /// The rate falls along half a cosine (default), or with `false` along a line, as the family's does.
    #[arg(long, env = "COS_LR", num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub cos_lr: Option<bool>,
    /// Momentum (SGD) or first beta (AdamW), 0.9 by default.
    #[arg(long, env = "MOMENTUM")]
    pub momentum: Option<f64>,
    /// Weight decay for the nominal batch. Of weights only: norms and biases never decay.
    #[arg(long, env = "WEIGHT_DECAY", default_value_t = 0.0005)]
    pub weight_decay: f64,
    /// Images of an optimiser step, over as many batches as that takes; by default 64, and fewer in short runs, which need steps
    /// more than smooth ones. `nbs` in a file.
    #[arg(long, visible_alias = "nbs", env = "NOMINAL_BATCH", value_parser = clap::value_parser!(u64).range(1..=65536))]
    pub nominal_batch: Option<u64>,
    /// Epochs of warm-up (at least 100 batches, at most a tenth of the run).
    #[arg(long, env = "WARMUP_EPOCHS", default_value_t = 3.0)]
    pub warmup_epochs: f64,
    /// Momentum at the start of the warm-up.
    #[arg(long, env = "WARMUP_MOMENTUM", default_value_t = 0.8)]
    pub warmup_momentum: f64,
    /// Learning rate of biases at the start of the warm-up, 0.1 for SGD and 0 for AdamW by default: they find the share of
    /// background before the weights move.
    #[arg(long, env = "WARMUP_BIAS_LR")]
    pub warmup_bias_lr: Option<f64>,
    /// Gradients with a larger norm are scaled down to it, so that one odd batch cannot undo an epoch; 0: never.
    #[arg(long, env = "CLIP_NORM", default_value_t = 10.0)]
    pub clip_norm: f64,
    /// Gain of the box loss: higher for tighter boxes.
    #[arg(id = "box", long = "box", env = "BOX", default_value_t = 7.5)]
    pub box_gain: f64,
    /// Gain of the class loss: higher where classes are mixed up.
    #[arg(id = "cls", long = "cls", env = "CLS", default_value_t = 0.5)]
    pub cls_gain: f64,
    /// Gain of the loss over the distributions of box sides.
    #[arg(id = "dfl", long = "dfl", env = "DFL", default_value_t = 1.5)]
    pub dfl_gain: f64,
    /// Epochs without a better one (0.1 mAP50 + 0.9 mAP50-95) after which it ends; 0: it never ends early. By default 100, and as
    /// many as 1,000 batches take: epochs are short in a small folder.
    #[arg(long, env = "PATIENCE")]
    pub patience: Option<u32>,
    /// Batches that a training from random weights has at least: its epochs are raised to that. By default 1000, and none where
    /// EPOCHS is given, which is kept to the letter.
    #[arg(long, env = "MIN_ITERATIONS")]
    pub min_iterations: Option<u64>,
    /// Layers at the input that do not learn; 10 is the whole backbone. For a few new images on a model that is good already.
    #[arg(long, env = "FREEZE", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=22))]
    pub freeze: u32,
    /// `auto`: bf16 where the processor multiplies it in hardware.
    #[arg(long, env = "PRECISION", value_enum, default_value_t = Precision::Auto)]
    pub precision: Precision,
}

/// Which defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Preset {
    /// Ours.
    Edge,
    /// Those that YOLOv8 is published with.
    Family,
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

/// What the numbers of a run depend on, besides the settings.
#[derive(Debug, Clone, Copy)]
struct Run {
    batch: u64,
    /// Of an epoch.
    batches: u64,
    /// Of the run.
    total: u64,
    classes: f64,
    from_weights: bool,
}

impl Learning {
    /// The first setting that makes no sense, in words.
    ///
    /// # Errors
    /// That sentence.
    pub fn check(&self) -> Result<(), String> {
        let ranges = [
            ("LR0", self.lr0.unwrap_or(0.01), 0.0..=10.0),
            ("LRF", self.lrf, 0.0..=1.0),
            ("MOMENTUM", self.momentum.unwrap_or(0.9), 0.0..=0.9999),
            ("WEIGHT_DECAY", self.weight_decay, 0.0..=1.0),
            ("WARMUP_EPOCHS", self.warmup_epochs, 0.0..=1e6),
            ("WARMUP_MOMENTUM", self.warmup_momentum, 0.0..=0.9999),
            ("WARMUP_BIAS_LR", self.warmup_bias_lr.unwrap_or(0.0), 0.0..=10.0),
            ("CLIP_NORM", self.clip_norm, 0.0..=1e9),
            ("BOX", self.box_gain, 0.0..=1000.0),
            ("CLS", self.cls_gain, 0.0..=1000.0),
            ("DFL", self.dfl_gain, 0.0..=1000.0),
        ];
        ranges.into_iter().try_for_each(|(name, value, range)| super::within(name, value, range))
    }

    /// `auto` resolved.
    fn rule(&self, total: u64) -> Rule {
        match self.optimizer {
            Optimizer::Sgd => Rule::Sgd,
            Optimizer::AdamW => Rule::AdamW,
            Optimizer::Auto if total > 10_000 => Rule::Sgd,
            Optimizer::Auto => Rule::AdamW,
        }
    }

    fn is_family(&self) -> bool {
        self.recipe == Preset::Family
    }

    fn nominal_batch(&self, run: &Run) -> u64 {
        let usual = if self.is_family() { 64 } else { Schedule::nominal_batch(run.batch, run.total) };
        self.nominal_batch.unwrap_or(usual).max(run.batch)
    }

    fn warmup_batches(&self, run: &Run) -> u64 {
        let asked = (self.warmup_epochs * run.batches as f64).round() as u64;
        match asked {
            0 => 0,
            _ if self.is_family() => asked.max(100),
            _ => Schedule::warmup_batches(self.warmup_epochs, run.batches, run.total),
        }
    }

    fn lr0(&self, run: &Run, nominal_batch: u64) -> f64 {
        let from_scratch = match (self.rule(run.total), self.recipe, self.optimizer) {
            (Rule::Sgd, ..) => 0.01,
            // What `auto` takes; an AdamW that was asked for has the rate that stands in the family's table.
            (Rule::AdamW, Preset::Family, Optimizer::Auto) => 0.01 / (4.0 + run.classes),
            (Rule::AdamW, Preset::Family, _) => 0.01,
            // 0.004 for 3 classes. Measured on 204 images, 520 steps of 16: 0.0014 ends at mAP50 0.75, 0.004 at 0.81, 0.008 is
            // slower at first. Steps of fewer images are noisier and want less, by the root of their number.
            (Rule::AdamW, Preset::Edge, _) => 0.028 / (4.0 + run.classes) * (nominal_batch as f64 / 16.0).min(1.0).sqrt(),
        };
        // A model that already knows something forgets it at the rate that teaches a new one.
        let usual = if run.from_weights && !self.is_family() { from_scratch / 4.0 } else { from_scratch };
        self.lr0.unwrap_or(usual)
    }

    fn momentum(&self) -> f64 {
        let usual = if self.is_family() && self.optimizer != Optimizer::Auto { 0.937 } else { 0.9 };
        self.momentum.unwrap_or(usual)
    }

    fn warmup_bias_lr(&self, rule: Rule) -> f64 {
        let usual = match (self.recipe, self.optimizer) {
            (Preset::Family, Optimizer::Auto) => 0.0,
            (Preset::Family, _) => 0.1,
            // SGD's may run ahead of the weights, AdamW's steps have their size from the start.
            (Preset::Edge, _) => {
                if rule == Rule::Sgd {
                    0.1
                } else {
                    0.0
                }
            }
        };
        self.warmup_bias_lr.unwrap_or(usual)
    }

    fn patience(&self, run: &Run) -> u32 {
        let enough = PATIENCE_BATCHES.div_ceil(run.batches.max(1)).min(MOST_EPOCHS) as u32;
        let usual = if self.is_family() { PATIENCE } else { PATIENCE.max(enough) };
        self.patience.unwrap_or(usual)
    }

    fn recipe(&self, run: &Run) -> Recipe {
        Recipe {
            cosine: self.cos_lr.unwrap_or(!self.is_family()),
            warmup_momentum: self.warmup_momentum,
            warmup_bias_lr: self.warmup_bias_lr(self.rule(run.total)),
            clip_norm: self.clip_norm,
            gains: Gains { bbox: self.box_gain, class: self.cls_gain, dfl: self.dfl_gain },
            patience: self.patience(run),
            freeze: self.freeze,
        }
    }
}

impl Settings {
    /// The numbers of a run on `dataset`; `from_weights`: it does not start from random ones.
    pub fn hyper(&self, dataset: &Dataset, from_weights: bool) -> Hyper {
        let learning = &self.learning;
        let batch = u64::from(self.batch_size);
        let batches = (dataset.train.len() as u64).div_ceil(batch);
        let usual = if self.epochs.is_some() || learning.is_family() { 0 } else { MIN_ITERATIONS };
        let least = if from_weights { 0 } else { learning.min_iterations.unwrap_or(usual) };
        let epochs = self.epochs().max(least.div_ceil(batches.max(1)).min(MOST_EPOCHS) as u32);
        let total = batches * u64::from(epochs);
        let run = Run { batch, batches, total, classes: dataset.classes.len() as f64, from_weights };
        let nominal_batch = learning.nominal_batch(&run);
        Hyper {
            epochs,
            batch_size: self.batch_size as usize,
            imgsz: self.imgsz,
            seed: self.seed,
            optimiser: learning.rule(total),
            lr0: learning.lr0(&run, nominal_batch),
            lrf: learning.lrf,
            momentum: learning.momentum(),
            weight_decay: learning.weight_decay,
            nominal_batch,
            warmup_batches: learning.warmup_batches(&run),
            close_mosaic: self.pictures.close_mosaic.min(epochs / 2),
            augment: self.pictures.augment(),
            bf16: match learning.precision {
                Precision::Auto => self.device == Device::Cpu && edgeloop_torch::cpu_has_bf16(),
                Precision::F32 => false,
                Precision::Bf16 => true,
            },
            recipe: learning.recipe(&run),
        }
    }
}
