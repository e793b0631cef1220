//! From a data set and a network to trained weights: batches, steps, averages, an epoch judged now and then, a checkpoint.
//!
//! All numbers are a function of the settings, the seed, the data and the number of threads: batches come from (seed, epoch,
//! image), the network's start from the seed, and which epochs are judged from counts, never from a clock. So a run that was
//! stopped and went on from its checkpoint ends with the weights of one that was not stopped. Only a time budget brings the
//! clock in, and only where the time is too short for all that was asked.

pub mod budget;
pub mod checkpoint;
pub mod ema;
pub mod optimiser;
pub mod progress;
pub mod recipe;
pub mod schedule;
mod session;
#[cfg(test)]
mod tests;

use std::{path::PathBuf, sync::Arc, time::Duration};

use edgeloop_model::{Network, Weights};
use edgeloop_store::{EpochLog, LowerRate};
use serde::{Deserialize, Serialize};
use tch::{Device, TchError};

pub use session::{predictor, to_input};

use crate::{
    data::{Augment, DataError, Dataset},
    fit::{budget::Budget, checkpoint::CheckpointError, optimiser::Rule, recipe::Recipe},
    judge::JudgeError,
    net::NetError,
};

/// Everything that decides the numbers of a run, except the data, the network and where it starts from.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Hyper {
    /// Passes over the train side.
    pub epochs: u32,
    /// Images of a batch.
    pub batch_size: usize,
    /// Side of the square input, pixels.
    pub imgsz: u32,
    /// Of every random draw.
    pub seed: u64,
    /// SGD or AdamW.
    pub optimiser: Rule,
    /// Learning rate after warm-up.
    pub lr0: f64,
    /// Share of it that is left at the end.
    pub lrf: f64,
    /// Momentum, or AdamW's first beta.
    pub momentum: f64,
    /// Decay of weights that are neither norms nor biases.
    pub weight_decay: f64,
    /// Images of an optimiser step.
    pub nominal_batch: u64,
    /// Batches of warm-up.
    pub warmup_batches: u64,
    /// Epochs at the end without mosaic.
    pub close_mosaic: u32,
    /// How pictures are changed.
    pub augment: Augment,
    /// Forward and backward in bf16 where bits allow.
    pub bf16: bool,
    /// The finer points.
    pub recipe: Recipe,
}

/// What a run needs besides its numbers.
pub struct Job<'a> {
    /// The numbers.
    pub hyper: Hyper,
    /// The network.
    pub network: &'a Network,
    /// Where it starts from; from the seed where there is none.
    pub init: Option<&'a Weights>,
    /// What it learns from.
    pub dataset: Arc<Dataset>,
    /// Where it computes.
    pub device: Device,
    /// Threads that make batches.
    pub workers: usize,
    /// Memory for decoded pictures, MiB.
    pub cache_mb: usize,
    /// Where it can be gone on from.
    pub checkpoint: Option<Keep>,
    /// The time that it has; as long as it takes where there is none.
    pub budget: Option<Budget>,
    /// Asked after every batch: save and stop?
    pub stop: &'a dyn Fn() -> bool,
}

/// Where checkpoints go, and when.
#[derive(Debug, Clone)]
pub struct Keep {
    /// The folder.
    pub dir: PathBuf,
    /// What tells this run from others in it.
    pub run: String,
    /// How often, besides after every epoch.
    pub every: Duration,
}

/// Told what happens, in the thread that trains: be quick.
pub trait Observer {
    /// The run begins, or goes on after `done` epochs, with the figures of those.
    fn started(&mut self, plan: &Plan, done: &[EpochLog]);
    /// A batch is done.
    fn batch(&mut self, at: &BatchDone);
    /// An epoch's batches are done and it is going to be judged.
    fn judging(&mut self) {}
    /// The run diverged and goes back; `started` follows.
    fn retrying(&mut self, _retry: &LowerRate) {}
    /// An epoch is done. An error ends the run: the training lock is gone, for one.
    ///
    /// # Errors
    /// As the observer likes.
    fn epoch(&mut self, log: &EpochLog) -> anyhow::Result<()>;
}

/// What is going to happen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Plan {
    /// Epochs in all.
    pub epochs: u32,
    /// Batches of an epoch.
    pub batches: u64,
    /// Images of an epoch.
    pub images: u64,
    /// Trained values of the network.
    pub parameters: u64,
    /// Every how many epochs it is judged.
    pub judge_every: u32,
}

/// Where the run is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatchDone {
    /// The epoch, from 1.
    pub epoch: u32,
    /// Epochs of the run; with a time budget, those that fit into it.
    pub epochs: u32,
    /// Batches of it that are done.
    pub batch: u64,
    /// Mean losses of the epoch so far: box, class, DFL.
    pub losses: [f64; 3],
    /// Seconds of training left, by the pace of this process so far.
    pub eta_s: f64,
    /// Images per second in this epoch.
    pub images_per_s: f64,
}

/// How a fit ended.
#[derive(Debug)]
pub enum Fitted {
    /// With weights to judge and publish.
    Done(Box<Done>),
    /// As it was asked to; a checkpoint is there, if there is a folder for it.
    Stopped {
        /// Epochs finished.
        epochs_done: u32,
    },
}

/// A finished run.
#[derive(Debug)]
pub struct Done {
    /// The averaged weights of the best epoch.
    pub weights: Weights,
    /// Which that was.
    pub best_epoch: u32,
    /// Figures of all epochs.
    pub log: Vec<EpochLog>,
    /// Seconds of training, judging included, over all processes of the run.
    pub seconds: f64,
    /// Images per second over all epochs, without judging.
    pub images_per_s: f64,
    /// The second try, if the first diverged.
    pub retry: Option<LowerRate>,
}

/// A run that ended without weights.
#[derive(Debug, thiserror::Error)]
pub enum FitError {
    /// The losses or gradients were not finite, batch after batch.
    #[error(
        "the training diverged in epoch {epoch}: {in_a_row} batches in a row gave losses or gradients that are not finite; \
         lower LR0 (it was {lr0}) or set PRECISION=f32"
    )]
    Diverged {
        /// From 1.
        epoch: u32,
        /// How many.
        in_a_row: u32,
        /// The learning rate.
        lr0: f64,
    },
    /// libtorch refused.
    #[error("libtorch: {0}")]
    Torch(#[from] TchError),
    /// The network cannot be made.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The images cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The model cannot be judged.
    #[error(transparent)]
    Judge(#[from] JudgeError),
    /// The checkpoint cannot be written or read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The observer ended it.
    #[error("{0:#}")]
    Observer(anyhow::Error),
}

/// Trains.
///
/// # Errors
/// See [`FitError`].
pub fn fit(job: &Job<'_>, observer: &mut dyn Observer) -> Result<Fitted, FitError> {
    session::Session::new(job)?.run(observer)
}

/// Every how many epochs to judge. A judged image costs about 0.4 of a trained one (forward only, though in f32): as often as
/// that stays within a tenth of the training. Counts, not clocks, so that a run is repeatable.
pub fn judge_every(train: usize, val: usize) -> u32 {
    let share = session::JUDGED_IMAGE * val as f64 / train.max(1) as f64;
    // 0.13: a split of 80 and 20 is a tenth exactly and counts as cheap, also where the hash gave val a few more.
    ((share / 0.13).ceil() as u32).max(1)
}
