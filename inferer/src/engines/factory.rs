//! Makes the engines of a version: which kind, load, hold against the check file, start their threads.
//!
//! ```text
//! asked for ─► candidates ─► remembered speeds? ─ yes ─► fastest first ─► first that reproduces the check file
//!                                              └─ no ──► the safe one now, the keeper measures the others meanwhile
//! none of them can be had ─► what works, and why (DEVICE_STRICT: refused)
//! ```

mod beside;
mod failures;
mod load;
mod measure;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use edgeloop_engine::{Engine, EngineError, LoadOptions, Plan, cpu};

use super::budget::{Budget, Share};
use super::check::CheckSet;
use super::kind::{Kind, candidates};
use super::metrics::EngineMetrics;
use super::remembered::{Key, Remembered, Speed};
use super::shapes::Shape;
use super::traffic::Traffic;
use super::tried::Tried;
use super::{Choice, EngineArgs, Engines, Resident, Source, Todo};
use crate::load::Runtime;
use crate::trial::TrialError;
use failures::Failures;
use load::Loaded;

/// Why the one that was measured fastest serves.
const FASTEST: &str = "it is the fastest here that reproduces the version's check file";

/// Why there are no engines for a version.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    /// No engine takes it.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// It does not reproduce the outputs that it was published with.
    #[error("it does not reproduce its check file: {0}")]
    Check(String),
    /// The system refuses a thread.
    #[error("no thread for its engine: {0}")]
    Thread(#[from] std::io::Error),
    /// A child that tried it has no verdict.
    #[error(transparent)]
    Trial(#[from] TrialError),
}

/// A model as the factory needs it.
#[derive(Debug, Clone, Copy)]
pub struct Model<'a> {
    /// The ONNX file's bytes.
    pub onnx: &'a [u8],
    /// What it must reproduce.
    pub check: &'a CheckSet,
    /// Family and scale, such as `yolov8n`.
    pub family: &'a str,
    /// Input side in pixels.
    pub side: u32,
    /// SHA-256 of the ONNX file.
    pub digest: &'a str,
}

/// Engines and where the time went.
#[derive(Debug)]
pub struct Made {
    /// The engines, checked and warm.
    pub engines: Engines,
    /// Children's loads and checks.
    pub trial: Duration,
    /// The engine's own load.
    pub load: Duration,
    /// Reproducing the check file.
    pub check: Duration,
    /// What the images that come want beside the square engines.
    pub shape: Duration,
}

/// Makes engines as the settings say. One a process.
pub struct EngineFactory {
    runtime: Arc<dyn Runtime>,
    settings: EngineArgs,
    plan: Plan,
    budget: Arc<Budget>,
    remembered: Remembered,
    failures: Failures,
    metrics: EngineMetrics,
    pub(super) tried: Tried,
    notices: (Sender<()>, Receiver<()>),
}

impl EngineFactory {
    /// With a runtime of the caller's: production uses [`Native`](crate::load::Native).
    #[must_use]
    pub fn new(runtime: Arc<dyn Runtime>, settings: EngineArgs, metrics: EngineMetrics) -> Self {
        let plan = settings.plan();
        let budget = Budget::new(settings.memory());
        let remembered = Remembered::new(settings.cache_file());
        let failures = Failures::new(settings.engine_retry);
        Self { runtime, settings, plan, budget, remembered, failures, metrics, tried: Tried::default(), notices: bounded(1) }
    }

    /// How many engines with how many threads are planned.
    #[must_use]
    pub fn plan(&self) -> Plan {
        self.plan
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> &EngineArgs {
        &self.settings
    }

    /// The memory of all engines.
    #[must_use]
    pub fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    pub(super) fn runtime(&self) -> &dyn Runtime {
        &*self.runtime
    }

    /// Whether a kind is left alone for a while because it failed.
    pub(super) fn check_failures(&self, kind: Kind) -> Result<(), EngineError> {
        self.failures.check(kind).map_err(|reason| EngineError::Model { device: kind.device, reason })
    }

    pub(super) fn metrics(&self) -> &EngineMetrics {
        &self.metrics
    }

    /// Something about the engines in service has changed.
    pub(super) fn notify(&self) {
        // Full means that a look is due anyway.
        let _ = self.notices.0.try_send(());
    }

    /// What the keeper waits for.
    pub(super) fn notices(&self) -> Receiver<()> {
        self.notices.1.clone()
    }

    /// The engines of a model, ready to serve. `before` are the engines that serve meanwhile and that these go on from; without any it
    /// is urgent: what is ready soonest goes first and something faster replaces it later.
    ///
    /// # Errors
    /// See [`MakeError`].
    pub fn make(self: &Arc<Self>, model: &Model<'_>, source: Source, before: Option<&Engines>) -> Result<Made, MakeError> {
        let made = self.make_one(model, source, Engines::traffic(before)).map(|made| {
            let started = Instant::now();
            if let Some(before) = before {
                made.engines.take_over(before, model);
            }
            Made { shape: started.elapsed(), ..made }
        });
        let trial = self.end_trials();
        made.map(|made| Made { trial, ..made })
    }

    fn make_one(self: &Arc<Self>, model: &Model<'_>, source: Source, traffic: Traffic) -> Result<Made, MakeError> {
        let kinds = self.kinds();
        let speeds = self.remembered.get(&self.key(model));
        let (order, todo) = order(&kinds, speeds.as_deref(), !traffic.gives_way());
        let mut choice = Choice::default();
        let (mut first_error, mut paused) = (None, None);
        for kind in &order {
            // Better than what will serve instead of it, and it will be back: that is a fallback too.
            if let Err(reason) = self.failures.check(*kind) {
                paused.get_or_insert_with(|| format!("{kind}: {reason}"));
            }
            match self.start(*kind, model, Shape::square(model.side), traffic, paused.clone()) {
                Ok((resident, load, check)) => {
                    choice.reason = match (kinds.len(), todo) {
                        (1, _) => "it was asked for".into(),
                        (_, Some(Todo::Measure)) => "it is ready soonest; the others are being measured".into(),
                        (_, Some(Todo::Upgrade)) => "it is ready soonest; a faster one is being loaded".into(),
                        (_, None) => FASTEST.into(),
                    };
                    choice.speeds = speeds.unwrap_or_default();
                    let engines = Engines::new(resident, choice, todo, source, self.clone(), model);
                    return Ok(Made { engines, trial: Duration::ZERO, load, check, shape: Duration::ZERO });
                }
                // In float32 the engine is not what differs.
                Err(error @ MakeError::Check(_)) if *kind == Kind::SAFE => return Err(error),
                // What makes one engine crash or hang is no model to try the next one on.
                Err(error @ MakeError::Trial(_)) => return Err(error),
                Err(error) => {
                    choice.refused.push((*kind, error.to_string()));
                    first_error.get_or_insert(error);
                }
            }
        }
        let error = first_error.unwrap_or(MakeError::Check("no engine was tried".into()));
        if self.settings.device_strict {
            return Err(error);
        }
        self.instead(&order, model, source, error, choice)
    }

    /// None of those that were asked for can be had: what works, and why.
    fn instead(
        self: &Arc<Self>,
        tried: &[Kind],
        model: &Model<'_>,
        source: Source,
        error: MakeError,
        mut choice: Choice,
    ) -> Result<Made, MakeError> {
        let fallback = format!("{} was asked for: {error}", self.asked());
        let mut last = None;
        for kind in [Kind::SAFE, Kind::SECOND].into_iter().filter(|kind| !tried.contains(kind)) {
            match self.start(kind, model, Shape::square(model.side), Traffic::Unserved, Some(fallback.clone())) {
                Ok((resident, load, check)) => {
                    choice.reason = "it works; the one that was asked for does not".into();
                    let engines = Engines::new(resident, choice, None, source, self.clone(), model);
                    return Ok(Made { engines, trial: Duration::ZERO, load, check, shape: Duration::ZERO });
                }
                Err(error @ MakeError::Check(_)) if kind == Kind::SAFE => return Err(error),
                Err(error @ MakeError::Trial(_)) => return Err(error),
                Err(error) => last = Some(error),
            }
        }
        Err(match (error, last) {
            (MakeError::Engine(first), Some(MakeError::Engine(second))) => {
                EngineError::NoEngine { first: Box::new(first), second: Box::new(second) }.into()
            }
            (error, _) => error,
        })
    }

    fn asked(&self) -> String {
        match self.settings.precision {
            super::settings::PrecisionWish::Auto => self.settings.device.to_string(),
            wish => format!("{} {wish}", self.settings.device),
        }
    }

    /// The kinds that the settings leave to choose from, on this CPU; the safe one last.
    pub(super) fn kinds(&self) -> Vec<Kind> {
        candidates(self.settings.device, self.settings.precision, cpu())
    }

    /// What a measurement of this model holds for.
    fn key(&self, model: &Model<'_>) -> Key {
        let mut devices: Vec<_> = self.kinds().iter().map(|k| k.device).collect();
        devices.dedup();
        let version = |device| self.runtime.library_version(device).unwrap_or_else(|_| "none".into());
        Key {
            cpu: cpu().name.clone(),
            libraries: devices.into_iter().map(|d| (d.to_string(), version(d))).collect(),
            family: model.family.to_owned(),
            side: model.side,
            threads: self.plan.threads,
        }
    }

    fn speeds(&self, model: &Model<'_>) -> Vec<Speed> {
        self.remembered.get(&self.key(model)).unwrap_or_default()
    }

    fn options(&self, kind: Kind, shape: Shape, threads: usize) -> LoadOptions {
        let Kind { device, precision } = kind;
        LoadOptions { device, precision, threads, height: shape.height as usize, width: shape.width as usize }
    }

    /// Loads, checks and starts the instances of one kind.
    fn start(
        &self,
        kind: Kind,
        model: &Model<'_>,
        shape: Shape,
        traffic: Traffic,
        fallback: Option<String>,
    ) -> Result<(Resident, Duration, Duration), MakeError> {
        if let Some(threads) = self.plan.solo.filter(|_| kind == Kind::SAFE && traffic != Traffic::Live) {
            return self.start_solo((kind, threads), model, shape, traffic, fallback);
        }
        let Loaded { engines, bytes, load, check } = self.load_checked(kind, model, shape, traffic)?;
        Ok((self.start_loaded(kind, shape, engines, self.budget.take(bytes), bytes, fallback)?, load, check))
    }

    fn start_loaded(
        &self,
        kind: Kind,
        shape: Shape,
        engines: Vec<Box<dyn Engine>>,
        share: Share,
        bytes: u64,
        fallback: Option<String>,
    ) -> Result<Resident, MakeError> {
        Ok(Resident::start(engines, (kind, shape, self.plan.threads), fallback, (share, bytes))?)
    }

    /// The kind in service, which is not the safe one, has failed: the safe one instead.
    pub(super) fn replace(&self, failed: &Resident, model: &Model<'_>, reason: &str) -> Option<Resident> {
        self.metrics.failed(failed.kind);
        let started = Instant::now();
        self.failures.note(failed.kind, reason);
        let fallback = format!("{} failed: {reason}", failed.kind);
        match self.start(Kind::SAFE, model, Shape::square(model.side), Traffic::Unserved, Some(fallback)) {
            Ok((resident, ..)) => {
                let took_ms = started.elapsed().as_millis() as u64;
                tracing::error!(failed = %failed.kind, reason, serving = %Kind::SAFE, took_ms, "an engine failed; another one serves");
                Some(resident)
            }
            Err(error) => {
                tracing::error!(failed = %failed.kind, reason, %error, "an engine failed, and the safe one cannot be had");
                None
            }
        }
    }
}

/// In which order kinds are tried now, by the speeds that are remembered, and what is left for later.
fn order(kinds: &[Kind], speeds: Option<&[Speed]>, urgent: bool) -> (Vec<Kind>, Option<Todo>) {
    let (Some(safe), true) = (kinds.last(), kinds.len() > 1) else { return (kinds.to_vec(), None) };
    // The safe one first, then the rest as a rule fastest first.
    let soonest = || std::iter::once(*safe).chain(kinds.iter().copied().filter(|k| k != safe)).collect::<Vec<_>>();
    let Some(speeds) = speeds else { return (soonest(), Some(Todo::Measure)) };
    let measured: Vec<Kind> = speeds.iter().map(|s| s.kind).filter(|k| kinds.contains(k)).collect();
    if urgent && measured.first() != Some(safe) {
        return (soonest(), Some(Todo::Upgrade));
    }
    // What could not be measured comes last.
    let rest = kinds.iter().copied().filter(|k| !measured.contains(k));
    (measured.iter().copied().chain(rest).collect(), None)
}
