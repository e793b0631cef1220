//! One process' share of a run.

use std::{sync::atomic::Ordering, time::Instant};

use edgeloop_model::{Role, Weights};
use edgeloop_store::EpochLog;
use edgeloop_vision::map::MapReport;
use tch::{Device, Kind, TchError, Tensor};

use super::{
    BatchDone, Done, FitError, Fitted, Job, Observer, Plan,
    checkpoint::{self, Best, Checkpoint, Position},
    ema::Ema,
    judge_every,
    optimiser::{Optimiser, Stepped},
    schedule::Schedule,
};
use crate::{
    data::{Batch, LoaderConfig, TrainLoader, ValLoader},
    judge::{Predictions, judge},
    loss::Loss,
    net::Yolo,
};

/// Batches in a row without a finite step after which the run is given up.
const MAX_NOT_FINITE: u32 = 10;

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
    not_finite: u32,
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
    pub(super) fn new(job: &'a Job<'a>, loss: Loss) -> Result<Self, FitError> {
        let hyper = &job.hyper;
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
        let (variables, averages) = (net.variables(), average.variables());
        for average in &averages {
            let _ = average.1.set_requires_grad(false);
        }
        let optimiser = Optimiser::new(hyper.optimiser, &variables);
        let schedule = Schedule {
            epochs: hyper.epochs,
            batches: train.batches_per_epoch() as u64,
            batch_size: hyper.batch_size as u64,
            nominal_batch: hyper.nominal_batch,
            lr0: hyper.lr0,
            lrf: hyper.lrf,
            momentum: hyper.momentum,
            weight_decay: hyper.weight_decay,
            warmup: hyper.warmup_batches,
            warmup_momentum: 0.8,
            warmup_bias_lr: if hyper.optimiser == super::Rule::Sgd { 0.1 } else { 0.0 },
        };
        let ema = Ema::new(&averages, &variables)?;
        let best = Vec::new();
        let mut this = Self {
            job,
            loss,
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
            not_finite: 0,
        };
        if let Some((dir, run)) = &job.checkpoint
            && let Some(found) = checkpoint::load(dir, run)?
        {
            this.restore(&found)?;
            let Position { epoch, batch, .. } = &this.position;
            tracing::info!(epochs_done = epoch, batches_done = batch, "going on from the checkpoint");
        }
        Ok(this)
    }

    pub(super) fn run(mut self, observer: &mut dyn Observer) -> Result<Fitted, FitError> {
        let hyper = self.job.hyper;
        let plan = Plan {
            epochs: hyper.epochs,
            batches: self.schedule.batches,
            images: self.job.dataset.train.len() as u64,
            parameters: self.variables.iter().filter(|v| v.2.trainable()).map(|v| v.1.numel() as u64).sum(),
            judge_every: judge_every(self.job.dataset.train.len(), self.val.images()),
        };
        observer.started(&plan, &self.position.log);
        // Pace of this process, for the ETA: batches and seconds since it began.
        let (began, first) = (Instant::now(), self.position.epoch as u64 * plan.batches + self.position.batch);
        while self.position.epoch < hyper.epochs {
            let epoch = self.position.epoch + 1;
            let mosaic = epoch + hyper.close_mosaic <= hyper.epochs;
            let skip = self.position.batch as usize;
            let mut clock = Instant::now();
            let before = self.position.seconds;
            for batch in self.train.epoch(self.position.epoch, mosaic).skip(skip) {
                self.batch(&batch?)?;
                let spent = clock.elapsed().as_secs_f64();
                self.position.seconds = [before[0] + spent, before[1] + spent];
                let done = u64::from(self.position.epoch) * plan.batches + self.position.batch;
                let left = u64::from(plan.epochs) * plan.batches - done;
                let images = (self.position.batch * hyper.batch_size as u64).min(plan.images) as f64;
                observer.batch(&BatchDone {
                    epoch,
                    batch: self.position.batch,
                    losses: self.mean_losses(),
                    eta_s: began.elapsed().as_secs_f64() / (done - first) as f64 * left as f64,
                    images_per_s: images / self.position.seconds[1],
                });
                if self.job.stop.load(Ordering::Relaxed) {
                    self.save()?;
                    return Ok(Fitted::Stopped { epochs_done: self.position.epoch });
                }
            }

            let mut log = EpochLog {
                epoch,
                box_loss: self.mean_losses()[0],
                cls_loss: self.mean_losses()[1],
                dfl_loss: self.mean_losses()[2],
                map50: f64::NAN,
                map50_95: f64::NAN,
                lr: self.schedule.at(u64::from(epoch) * plan.batches - 1).lr,
                seconds: self.position.seconds[1],
                images_per_s: plan.images as f64 / self.position.seconds[1],
            };
            clock = Instant::now();
            if epoch.is_multiple_of(plan.judge_every) || epoch + LAST_JUDGED > hyper.epochs {
                observer.judging();
                let report = self.judge()?;
                (log.map50, log.map50_95) = (report.map50, report.map50_95);
                self.keep_if_best(epoch, &report)?;
            }
            let position = &mut self.position;
            (position.epoch, position.batch, position.losses) = (epoch, 0, [0.0; 3]);
            position.seconds = [position.seconds[0] + clock.elapsed().as_secs_f64(), 0.0];
            position.log.push(log.clone());
            self.save()?;
            observer.epoch(&log).map_err(FitError::Observer)?;
        }
        self.finish()
    }

    /// Forward, backward, and a step where enough gradients have gathered.
    fn batch(&mut self, batch: &Batch) -> Result<(), FitError> {
        let index = u64::from(self.position.epoch) * self.schedule.batches + self.position.batch;
        let pace = self.schedule.at(index);
        let head = self.net.try_forward(&to_input(batch, self.job.device)?, true)?;
        let losses = self.loss.of(&head, &batch.targets, batch.h, batch.w)?;
        drop(head);
        self.position.batch += 1;
        if losses.parts.iter().any(|part| !part.is_finite()) {
            self.optimiser.drop_gradients()?;
            self.position.pending = 0;
            return self.was_not_finite();
        }
        losses.total.f_backward()?;
        for (sum, part) in self.position.losses.iter_mut().zip(losses.parts) {
            *sum += part;
        }
        self.position.pending += 1;
        if self.position.pending < pace.accumulate {
            return Ok(());
        }
        self.position.pending = 0;
        if self.optimiser.step(&pace)? == Stepped::NotFinite {
            return self.was_not_finite();
        }
        self.not_finite = 0;
        Ok(self.ema.update()?)
    }

    fn was_not_finite(&mut self) -> Result<(), FitError> {
        self.not_finite += 1;
        tracing::warn!(epoch = self.position.epoch + 1, batch = self.position.batch, "a batch that is not finite was left out");
        if self.not_finite < MAX_NOT_FINITE {
            return Ok(());
        }
        Err(FitError::Diverged { epoch: self.position.epoch + 1, in_a_row: self.not_finite, lr0: self.job.hyper.lr0 })
    }

    fn mean_losses(&self) -> [f64; 3] {
        self.position.losses.map(|sum| sum / self.position.batch.max(1) as f64)
    }

    fn judge(&self) -> Result<MapReport, FitError> {
        Ok(judge(&mut predictor(&self.average), &self.val, &self.job.dataset.classes)?)
    }

    fn keep_if_best(&mut self, epoch: u32, report: &MapReport) -> Result<(), FitError> {
        // Tight boxes are what a detector is for, but early in a training they are all zero, and mAP50 tells epochs apart.
        let fitness = 0.1 * report.map50 + 0.9 * report.map50_95;
        let fitness = if fitness.is_finite() { fitness } else { 0.0 };
        // Equal counts as better: it was trained longer.
        if self.position.best.is_some_and(|best| best.fitness > fitness) {
            return Ok(());
        }
        self.position.best = Some(Best { epoch, fitness });
        if self.best.is_empty() {
            self.best = self.averages.iter().map(|v| v.1.zeros_like()).collect();
        }
        let averages: Vec<Tensor> = self.averages.iter().map(|v| v.1.shallow_clone()).collect();
        Ok(edgeloop_torch::copy(&self.best, &averages)?)
    }

    fn finish(self) -> Result<Fitted, FitError> {
        let averages: Vec<Tensor> = self.averages.iter().map(|v| v.1.shallow_clone()).collect();
        let best_epoch = match self.position.best {
            Some(best) => {
                edgeloop_torch::copy(&averages, &self.best)?;
                best.epoch
            }
            // No epoch at all: the weights as they came.
            None => 0,
        };
        let weights: Weights = self.average.weights()?;
        let trained: f64 = self.position.log.iter().map(|e| e.seconds).sum();
        let images = self.job.dataset.train.len() as f64 * self.position.log.len() as f64;
        Ok(Fitted::Done(Box::new(Done {
            weights,
            best_epoch,
            log: self.position.log,
            seconds: self.position.seconds[0],
            images_per_s: images / trained.max(f64::MIN_POSITIVE),
        })))
    }

    /// What a checkpoint holds, by name.
    fn tensors(&self) -> Vec<(String, Tensor)> {
        let named = |kind: &str, variables: &Variables| -> Vec<(String, Tensor)> {
            variables.iter().map(|(n, t, _)| (format!("{kind}.{n}"), t.detach())).collect()
        };
        let mut out = named("net", &self.variables);
        out.extend(named("ema", &self.averages));
        out.extend(self.averages.iter().zip(&self.best).map(|(v, t)| (format!("best.{}", v.0), t.shallow_clone())));
        out.extend(self.optimiser.state().into_iter().map(|(n, t)| (format!("optimiser.{n}"), t)));
        if self.position.pending > 0 {
            let with_grad = self.variables.iter().filter(|v| v.2.trainable() && v.1.grad().defined());
            out.extend(with_grad.map(|(n, t, _)| (format!("grad.{n}"), t.grad())));
        }
        out
    }

    fn save(&mut self) -> Result<(), FitError> {
        let Some((dir, run)) = &self.job.checkpoint else { return Ok(()) };
        self.position.steps = self.optimiser.steps();
        self.position.ema_steps = self.ema.steps();
        Ok(checkpoint::save(dir, run, &self.position, &self.tensors())?)
    }

    fn restore(&mut self, from: &Checkpoint) -> Result<(), FitError> {
        self.position = from.position.clone();
        self.optimiser.set_steps(self.position.steps);
        self.ema.set_steps(self.position.ema_steps);
        if self.position.best.is_some() {
            self.best = self.averages.iter().map(|v| v.1.zeros_like()).collect();
        }
        for (name, tensor) in self.tensors() {
            if !name.starts_with("grad.") {
                from.restore(&name, &tensor)?;
            }
        }
        if self.position.pending == 0 {
            return Ok(());
        }
        // A gradient can only be had from a backward pass: that of Σ g·p is g. It is laid out as its parameter.
        for (name, tensor, _) in self.variables.iter().filter(|v| v.2.trainable()) {
            if let Some(grad) = from.get(&format!("grad.{name}")) {
                let grad = grad.to_device(self.job.device);
                (tensor * grad).sum(Kind::Float).f_backward()?;
            }
        }
        Ok(())
    }
}
