//! Loading and checking the instances of one kind, without disturbing those who serve more than needed.

use std::time::{Duration, Instant};

use edgeloop_engine::{Device, Engine, Precision};

use super::{EngineFactory, MakeError, Model};
use crate::engines::budget;
use crate::engines::kind::Kind;
use crate::engines::shapes::Shape;
use crate::engines::traffic::Traffic;

/// Instances that have reproduced the check file.
pub(super) struct Loaded {
    pub engines: Vec<Box<dyn Engine>>,
    /// About how much memory they take together.
    pub bytes: u64,
    pub load: Duration,
    pub check: Duration,
}

impl EngineFactory {
    /// Loads the planned number of instances and holds them against the check file.
    pub(super) fn load_checked(&self, kind: Kind, model: &Model<'_>, shape: Shape, traffic: Traffic) -> Result<Loaded, MakeError> {
        let before = budget::resident();
        self.try_first(kind, model, shape, traffic)?;
        let started = Instant::now();
        let mut engines = self.load_raw(kind, model, shape, traffic)?;
        let load = started.elapsed();
        verify(&mut engines, model, self.beside(traffic)).map_err(MakeError::Check)?;
        let check = started.elapsed() - load;
        let bytes = cost(before, &engines, model);
        Ok(Loaded { engines, bytes, load, check })
    }

    pub(super) fn load_raw(
        &self,
        kind: Kind,
        model: &Model<'_>,
        shape: Shape,
        traffic: Traffic,
    ) -> Result<Vec<Box<dyn Engine>>, MakeError> {
        self.try_first(kind, model, shape, traffic)?;
        let options = self.options(kind, shape, self.plan.threads);
        let together = || self.runtime.load_many(model.onnx, &options, self.plan.instances);
        // Threads of the engine's own would give way for ever. OpenVINO makes some while it compiles, whatever their number.
        if kind.device != Device::Cpu || self.plan.threads > 1 {
            return Ok(together()?);
        }
        let one_by_one = || (0..self.plan.instances).map(|_| self.runtime.load(model.onnx, &options)).collect();
        Ok(traffic.aside(|| if traffic.cores() == 1 { one_by_one() } else { together() })?)
    }

    /// The traffic to which checks may give way. A run of one thread is done by the thread that asks for it; of more than one threads are
    /// made that would give way for ever.
    pub(super) fn beside(&self, traffic: Traffic) -> Traffic {
        if self.plan.threads == 1 { traffic } else { Traffic::Unserved }
    }
}

/// What an engine takes beside its weights at the very least: a stack, an arena, its buffers.
const LEAST_BESIDE_WEIGHTS: usize = 4 << 20;

/// About what `engines` take, by what the process has gained. Other threads allocate and free too: a guess with a floor.
pub(super) fn cost(before: u64, engines: &[Box<dyn Engine>], model: &Model<'_>) -> u64 {
    let least = (model.onnx.len() + LEAST_BESIDE_WEIGHTS) * engines.len();
    budget::resident().saturating_sub(before).max(least as u64)
}

/// Holds the instances against the check file's images, each against its share; the runs warm it as well.
pub(super) fn verify(engines: &mut [Box<dyn Engine>], model: &Model<'_>, traffic: Traffic) -> Result<(), String> {
    // In float32 an image's hundred thousand values are all there again, or something is wrong that shows in every image; in a lower
    // precision a handful of detections is what there is to compare, so that every image counts. The child has run the first one.
    let exact = engines.iter().all(|engine| engine.info().precision == Precision::Fp32);
    let (first, of) = if exact { (1, model.check.len()) } else { (0, engines.len()) };
    let share = |(k, engine): (usize, &mut Box<dyn Engine>)| model.check.reproduce_share(&mut **engine, first + k, of);
    if traffic.cores() == 1 {
        return traffic.aside(|| engines.iter_mut().enumerate().try_for_each(share));
    }
    std::thread::scope(|scope| {
        let beside = |item| scope.spawn(move || traffic.aside(|| share(item)));
        let runs: Vec<_> = engines.iter_mut().enumerate().map(beside).collect();
        let lost = |_| Err("the checking thread panicked".to_owned());
        runs.into_iter().try_for_each(|run| run.join().unwrap_or_else(lost))
    })
}
