//! Loading and checking the instances of one kind, without disturbing those who serve more than needed.

use std::time::{Duration, Instant};

use edgeloop_engine::{Device, Engine};

use super::{EngineFactory, MakeError, Model};
use crate::engines::budget;
use crate::engines::kind::Kind;
use crate::engines::shapes::Shape;

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
    pub(super) fn load_checked(&self, kind: Kind, model: &Model<'_>, shape: Shape, urgent: bool) -> Result<Loaded, MakeError> {
        let before = budget::resident();
        self.try_first(kind, model, shape, urgent)?;
        let started = Instant::now();
        let mut engines = self.load_raw(kind, model, shape, urgent)?;
        let load = started.elapsed();
        let of = engines.len();
        verify(&mut engines, model, of, self.is_quiet(urgent)).map_err(MakeError::Check)?;
        let check = started.elapsed() - load;
        let bytes = cost(before, &engines, model);
        Ok(Loaded { engines, bytes, load, check })
    }

    pub(super) fn load_raw(&self, kind: Kind, model: &Model<'_>, shape: Shape, urgent: bool) -> Result<Vec<Box<dyn Engine>>, MakeError> {
        self.try_first(kind, model, shape, urgent)?;
        let options = self.options(kind, shape, self.plan.threads);
        let load = || self.runtime.load_many(model.onnx, &options, self.plan.instances);
        // OpenVINO makes threads while it compiles, whatever their number.
        if self.is_quiet(urgent) && kind.device == Device::Cpu { Ok(quietly(load)?) } else { Ok(load()?) }
    }

    /// Whether loads and checks may have a low priority. A run of one thread is done by the thread that asks for it; of more than one
    /// threads are made that would keep the priority for ever.
    pub(super) fn is_quiet(&self, urgent: bool) -> bool {
        !urgent && self.plan.threads == 1
    }
}

/// What an engine takes beside its weights at the very least: a stack, an arena, its buffers.
const LEAST_BESIDE_WEIGHTS: usize = 4 << 20;

/// About what `engines` take, by what the process has gained. Other threads allocate and free too: a guess with a floor.
pub(super) fn cost(before: u64, engines: &[Box<dyn Engine>], model: &Model<'_>) -> u64 {
    let least = (model.onnx.len() + LEAST_BESIDE_WEIGHTS) * engines.len();
    budget::resident().saturating_sub(before).max(least as u64)
}

/// Holds each instance against every `of`th of the check file's images, side by side; the runs warm it as well.
pub(super) fn verify(engines: &mut [Box<dyn Engine>], model: &Model<'_>, of: usize, quiet: bool) -> Result<(), String> {
    std::thread::scope(|scope| {
        let share = |(k, engine): (usize, &'_ mut Box<dyn Engine>)| {
            if quiet {
                lower_priority();
            }
            model.check.reproduce_share(&mut **engine, k, of)
        };
        let runs: Vec<_> = engines.iter_mut().enumerate().map(|item| scope.spawn(move || share(item))).collect();
        let lost = |_| Err("the checking thread panicked".to_owned());
        runs.into_iter().try_for_each(|run| run.join().unwrap_or_else(lost))
    })
}

/// Does `work` on a thread of low priority: whoever serves goes first.
pub(super) fn quietly<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let done = scope.spawn(|| {
            lower_priority();
            work()
        });
        match done.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// A tenth of a normal thread's share. With 19 a box whose cores are all taken would need half a minute for a load of half a second.
const NICE: i32 = 10;

/// Of the calling thread; Linux counts niceness by thread, and threads that it starts inherit it.
fn lower_priority() {
    // A refusal means the normal priority.
    let _ = rustix::process::nice(NICE);
}
