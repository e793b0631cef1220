//! One process' share of a run.

mod batch;
mod judging;
mod pace;
mod retry;
mod saving;

use std::time::Instant;

use edgeloop_model::Role;
use edgeloop_store::EpochLog;
use tch::{Device, Kind, TchError, Tensor};

use super::{
    BatchDone, FitError, Fitted, Job, Observer, Plan, checkpoint::Position, ema::Ema, judge_every, optimiser::Optimiser, schedule::Schedule,
};
use crate::{
    data::{Batch, LoaderConfig, TrainLoader, ValLoader},
    judge::Predictions,
    loss::Loss,
    net::Yolo,
};

use batch::Batched;
pub(super) use pace::JUDGED_IMAGE;
use pace::Pace;

/// The last epochs are judged whatever it costs: the rate is low there, and the best is usually among them.
const LAST_JUDGED: u32 = 3;

type Variables = Vec<(String, Tensor, Role)>;

pub(super) struct Session<'a> {
    job: &'a Job<'a>,
    loss: Loss,
    schedule: Schedule,
    train: TrainLoader,
    val: ValLoader,
    net: Yolo,
    average: Yolo,
    variables: Variables,
    averages: Variables,
    optimiser: Optimiser,
    ema: Ema,
    /// The averages of the best epoch, in the order of `averages`.
    best: Vec<Tensor>,
    position: Position,
    pace: Pace,
    saved: Instant,
}

/// How an epoch ended.
enum Turn {
    /// It is done.
    Done,
    /// By the stop flag.
    Stopped,
    /// It cannot go on like this.
    Diverged,
}

/// Bytes to what the network takes: `[n, 3, h, w]`, float32, 0–1.
///
/// # Errors
/// When libtorch refuses.
pub fn to_input(batch: &Batch, device: Device) -> Result<Tensor, TchError> {
    let shape = [batch.n as i64, 3, batch.h as i64, batch.w as i64];
    let bytes = Tensor::f_from_data_size(&batch.images, &shape, Kind::Uint8)?;
    bytes.f_to_device(device)?.f_to_kind(Kind::Float)?.f_div_scalar(255.0)
}

/// A network as the judge takes it: float32, norms with their running statistics.
pub fn predictor(net: &Yolo) -> impl FnMut(&Batch) -> anyhow::Result<Predictions> + '_ {
    |batch| {
        let output = tch::no_grad(|| -> anyhow::Result<Tensor> {
            let head = net.try_forward(&to_input(batch, net.device())?, false)?;
            Ok(net.try_decode(&head)?.to_device(Device::Cpu).contiguous())
        })?;
        let mut data = vec![0f32; output.numel()];
        let len = data.len();
        output.f_copy_data(&mut data, len)?;
        Ok(Predictions { data })
    }
}

impl<'a> Session<'a> {
    pub(super) fn new(job: &'a Job<'a>) -> Result<Self, FitError> {
        let hyper = &job.hyper;
        let recipe = hyper.recipe;
        let config = LoaderConfig {
            imgsz: hyper.imgsz,
            batch: hyper.batch_size,
            seed: hyper.seed,
            workers: job.workers,
            augment: hyper.augment,
            // The budget is one for both sides; val is the smaller one, and is only read now and then.
            cache_mb: job.cache_mb - job.cache_mb / 4,
        };
        let val_config = LoaderConfig { batch: hyper.batch_size.max(8), cache_mb: job.cache_mb / 4, ..config.clone() };
        let val = ValLoader::new(job.dataset.clone(), val_config)?;
        let train = TrainLoader::new(job.dataset.clone(), config)?;
        let make = || -> Result<Yolo, FitError> {
            let mut net = match job.init {
                Some(weights) => Yolo::from_weights(job.network, job.device, weights)?,
                None => Yolo::new(job.network, job.device, hyper.seed)?,
            };
            net.to_channels_last()?;
            Ok(net)
        };
        let (mut net, average) = (make()?, make()?);
        net.set_bf16(hyper.bf16);
        net.freeze(|name| recipe.freezes(name));
        let (variables, averages) = (net.variables(), average.variables());
        for average in &averages {
            let _ = average.1.set_requires_grad(false);
        }
        let optimiser = Optimiser::new(hyper.optimiser, recipe.clip_norm, &variables);
        let batches = train.batches_per_epoch() as u64;
        let schedule = Schedule {
            batches,
            end: u64::from(hyper.epochs) * batches,
            batch_size: hyper.batch_size as u64,
            nominal_batch: hyper.nominal_batch,
            lr0: hyper.lr0,
            lrf: hyper.lrf,
            momentum: hyper.momentum,
            weight_decay: hyper.weight_decay,
            warmup: hyper.warmup_batches,
            cosine: recipe.cosine,
            warmup_momentum: recipe.warmup_momentum,
            warmup_bias_lr: recipe.warmup_bias_lr,
        };
        let ema = Ema::new(&averages, &variables)?;
        let best = Vec::new();
        let mut this = Self {
            job,
            loss: Loss { gains: recipe.gains, ..Loss::default() },
            schedule,
            train,
            val,
            net,
            average,
            variables,
            averages,
            optimiser,
            ema,
            best,
            position: Position::default(),
            pace: Pace::new(),
            saved: Instant::now(),
        };
        if let Some(found) = this.checkpoint() {
            this.restore(&found)?;
            let Position { epoch, batch, .. } = &this.position;
            tracing::info!(epochs_done = epoch, batches_done = batch, "going on from the checkpoint");
        }
        this.pace = Pace::from(&this.position, batches);
        Ok(this)
    }

    pub(super) fn run(mut self, observer: &mut dyn Observer) -> Result<Fitted, FitError> {
        observer.started(&self.plan(), &self.position.log);
        while self.index() < self.schedule.end && !self.out_of_patience() {
            match self.epoch(observer)? {
                Turn::Done => {}
                Turn::Stopped => return Ok(Fitted::Stopped { epochs_done: self.position.epoch }),
                Turn::Diverged => self = self.tried_again(observer)?,
            }
        }
        self.finish()
    }

    fn plan(&self) -> Plan {
        let train = self.job.dataset.train.len();
        Plan {
            epochs: self.job.hyper.epochs,
            batches: self.schedule.batches,
            images: train as u64,
            parameters: self.variables.iter().filter(|v| v.1.requires_grad()).map(|v| v.1.numel() as u64).sum(),
            judge_every: judge_every(train, self.val.images()),
        }
    }

    /// Batches of the run that are done.
    fn index(&self) -> u64 {
        u64::from(self.position.epoch) * self.schedule.batches + self.position.batch
    }

    /// Epochs of the run, an unfinished last one included.
    fn epochs(&self) -> u32 {
        self.schedule.end.div_ceil(self.schedule.batches.max(1)) as u32
    }

    /// What is left of an epoch.
    fn epoch(&mut self, observer: &mut dyn Observer) -> Result<Turn, FitError> {
        let hyper = &self.job.hyper;
        let epoch = self.position.epoch + 1;
        // A run that was cut short still ends without mosaic.
        let mosaic = epoch + hyper.close_mosaic.min(self.epochs() / 2) <= self.epochs();
        let clock = Instant::now();
        let before = self.position.seconds;
        for batch in self.train.epoch_from(self.position.epoch, mosaic, self.position.batch as usize) {
            if self.batch(&batch?)? == Batched::Diverged {
                return Ok(Turn::Diverged);
            }
            let spent = clock.elapsed().as_secs_f64();
            self.position.seconds = [before[0] + spent, before[1] + spent];
            self.plan_the_end();
            observer.batch(&self.batch_done());
            if (self.job.stop)() {
                self.save()?;
                return Ok(Turn::Stopped);
            }
            if self.index() >= self.schedule.end {
                break;
            }
            self.save_if_due();
        }
        self.close_epoch(observer)?;
        Ok(Turn::Done)
    }

    fn batch_done(&self) -> BatchDone {
        BatchDone {
            epoch: self.position.epoch + 1,
            epochs: self.epochs(),
            batch: self.position.batch,
            losses: self.mean_losses(),
            eta_s: self.pace.per_batch(self.index()) * self.schedule.end.saturating_sub(self.index()) as f64,
            images_per_s: self.images_per_s(),
        }
    }

    /// Images of the unfinished epoch.
    fn images(&self) -> u64 {
        (self.position.batch * self.job.hyper.batch_size as u64).min(self.job.dataset.train.len() as u64)
    }

    fn images_per_s(&self) -> f64 {
        self.images() as f64 / self.position.seconds[1].max(f64::MIN_POSITIVE)
    }

    fn mean_losses(&self) -> [f64; 3] {
        self.position.losses.map(|sum| sum / self.position.batch.max(1) as f64)
    }

    fn close_epoch(&mut self, observer: &mut dyn Observer) -> Result<(), FitError> {
        let epoch = self.position.epoch + 1;
        let [box_loss, cls_loss, dfl_loss] = self.mean_losses();
        let mut log = EpochLog {
            epoch,
            box_loss,
            cls_loss,
            dfl_loss,
            map50: f64::NAN,
            map50_95: f64::NAN,
            lr: self.schedule.at(self.index().saturating_sub(1)).lr,
            seconds: self.position.seconds[1],
            images_per_s: self.images_per_s(),
        };
        let clock = Instant::now();
        if epoch.is_multiple_of(self.plan().judge_every) || epoch + LAST_JUDGED > self.epochs() {
            observer.judging();
            let report = self.judge()?;
            (log.map50, log.map50_95) = (report.map50, report.map50_95);
            self.keep_if_best(epoch, &report)?;
            self.pace.judged(clock.elapsed());
        }
        let over = self.index() >= self.schedule.end;
        if over {
            // A last epoch that was cut short counts as one.
            self.schedule.end = u64::from(epoch) * self.schedule.batches;
            self.position.end = self.position.end.map(|_| self.schedule.end);
        }
        let position = &mut self.position;
        (position.epoch, position.batch, position.losses) = (epoch, 0, [0.0; 3]);
        position.seconds = [position.seconds[0] + clock.elapsed().as_secs_f64(), 0.0];
        position.log.push(log.clone());
        if !over {
            self.plan_the_end();
        }
        self.save_or_say();
        observer.epoch(&log).map_err(FitError::Observer)
    }
}
