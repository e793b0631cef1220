//! Nothing loads a model in this process before a child has: whatever engine, whatever shape, now or later.
//!
//! A child is started when a version is about to be read and takes the first trial: most likely of the kind of engine that serves,
//! so that it begins to load as soon as the model is hashed. Every other trial starts a child of its own. What has
//! been tried is remembered by the model's bytes, so that another engine of the same kind costs no further trial, and neither does
//! going back to a version in an outage.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use edgeloop_engine::EngineError;

use super::Engines;
use super::factory::{EngineFactory, MakeError, Model};
use super::kind::Kind;
use super::shapes::Shape;
use super::traffic::Traffic;
use crate::trial::{Bad, Candidate, Trial, TrialError, Trials};

/// As many trials are remembered: those of the versions that a roll-back may come to.
const MOST_REMEMBERED: usize = 32;
/// Kinds and shapes that one load tries at most.
const MOST_A_LOAD: u32 = 3;
/// Each of them: load, run.
const STEPS: u32 = 2;

/// What children have tried.
#[derive(Debug, Default)]
pub(crate) struct Tried {
    pub(super) trials: Option<Trials>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// A child that waits, or loads already.
    early: Option<Trial>,
    /// The kind that it is most likely about.
    likely: Option<Kind>,
    /// The shape that will be wanted beside the square one: the same child tries both.
    also: Option<Shape>,
    /// What came through, newest last.
    good: Vec<(String, Kind, Shape)>,
    /// Time that the trials of the load under way took.
    spent: Duration,
}

impl Tried {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EngineFactory {
    /// The same with children that try what is loaded; `None` for without.
    #[must_use]
    pub fn with_trials(mut self, trials: Option<Trials>) -> Self {
        self.tried.trials = trials;
        self
    }

    /// How long the trials of one load can take.
    #[must_use]
    pub fn longest_trials(&self) -> Duration {
        self.tried.trials.as_ref().map_or(Duration::ZERO, |trials| trials.timeout * STEPS * MOST_A_LOAD)
    }

    /// A version with this model, of this side, is about to be read: a child is started that will try it. In an outage, with nothing
    /// `before` it, what has been tried is trusted: every millisecond is an unanswered request.
    pub fn begin_trials(&self, digest: &str, side: u32, before: Option<&Engines>) {
        let Some(trials) = &self.tried.trials else { return };
        let also = before.and_then(|before| before.live_shape(side));
        // Without any it is the one that is ready soonest.
        let likely = before.map(|before| before.square().kind).or_else(|| self.kinds().last().copied());
        // One that cannot be started is told when it is needed.
        let early = likely.and_then(|kind| trials.start(kind.device, Engines::traffic(before).niceness()).ok());
        let mut state = self.tried.lock();
        state.spent = Duration::ZERO;
        (state.early, state.likely, state.also) = (early, likely, also);
        if before.is_some() {
            state.good.retain(|(tried, ..)| tried != digest);
        }
    }

    /// The model is there: the child need not wait for the rest of the version.
    pub fn give_early(&self, onnx: &[u8], digest: &str, side: u32, traffic: Traffic) {
        let square = Shape::square(side);
        let (trial, kind, also) = {
            let mut state = self.tried.lock();
            let Some(kind) = state.likely.filter(|kind| !state.is_good(digest, *kind, square)) else { return };
            (state.early.take(), kind, state.also)
        };
        let shapes: Vec<Shape> = [Some(square), also].into_iter().flatten().collect();
        // One that has gone is told when it is needed.
        let early = trial.and_then(|mut trial| {
            trial.give(&Candidate { kind, threads: traffic.cores(), shapes: &shapes, onnx }).ok()?;
            Some(trial)
        });
        self.tried.lock().early = early;
    }

    /// The load is over; the time that its trials took.
    pub(crate) fn end_trials(&self) -> Duration {
        let mut state = self.tried.lock();
        // A child that was not needed is ended outside of the lock.
        let (early, spent) = (state.early.take(), state.spent);
        drop(state);
        drop(early);
        spent
    }

    /// Whether a child has loaded and run these bytes with this kind of engine in this shape.
    pub(super) fn is_tried(&self, kind: Kind, model: &Model<'_>, shape: Shape) -> bool {
        self.tried.lock().is_good(model.digest, kind, shape)
    }

    /// Has a child load and run a model, unless one has. `traffic` is what it gives way to.
    pub(super) fn try_first(&self, kind: Kind, model: &Model<'_>, shape: Shape, traffic: Traffic) -> Result<(), MakeError> {
        self.try_load(kind, model, shape, traffic)?.map_or(Ok(()), |running| self.try_run(running, model))
    }

    /// Has a child load a model and begin to run it, unless one has: from here on it can be loaded here.
    pub(super) fn try_load(&self, kind: Kind, model: &Model<'_>, shape: Shape, traffic: Traffic) -> Result<Option<Running>, MakeError> {
        // What cannot be had at all says so better here.
        self.check_failures(kind)?;
        let Some(trials) = &self.tried.trials else { return Ok(None) };
        if self.is_tried(kind, model, shape) {
            return Ok(None);
        }
        self.runtime().library_version(kind.device)?;
        let also = Some(shape).filter(|shape| *shape == Shape::square(model.side)).and_then(|_| self.tried.lock().also.take());
        let shapes = [Some(shape), also].into_iter().flatten().collect();
        self.try_shapes(trials, kind, model, shapes, traffic).map(Some)
    }

    /// Waits for the verdict about all shapes of a trial.
    pub(super) fn try_run(&self, running: Running, model: &Model<'_>) -> Result<(), MakeError> {
        let started = Instant::now();
        let Running { trial, kind, shapes, traffic } = running;
        let mut verdict = trial.good();
        self.spent(started);
        if let (Ok(Err(_)), Some(trials), [first, _, ..]) = (&verdict, &self.tried.trials, &*shapes) {
            // Which of them was it?
            let alone = self.try_shapes(trials, kind, model, vec![*first], traffic)?;
            verdict = alone.trial.good();
            return self.settle(verdict, kind, model, &[*first]);
        }
        self.settle(verdict, kind, model, &shapes)
    }

    /// Remembers what came through.
    fn settle(
        &self,
        verdict: Result<Result<(), Bad>, TrialError>,
        kind: Kind,
        model: &Model<'_>,
        shapes: &[Shape],
    ) -> Result<(), MakeError> {
        verdict?.map_err(|bad| told(bad, kind))?;
        let mut state = self.tried.lock();
        state.good.extend(shapes.iter().map(|shape| (model.digest.to_owned(), kind, *shape)));
        let excess = state.good.len().saturating_sub(MOST_REMEMBERED);
        state.good.drain(..excess);
        Ok(())
    }

    /// A child that has loaded the model in the first of `shapes`.
    fn try_shapes(
        &self,
        trials: &Trials,
        kind: Kind,
        model: &Model<'_>,
        shapes: Vec<Shape>,
        traffic: Traffic,
    ) -> Result<Running, MakeError> {
        let started = Instant::now();
        let early = self.tried.lock().early.take();
        let threads = traffic.cores();
        let candidate = Candidate { kind, threads, shapes: &shapes, onnx: model.onnx };
        let mut trial = match early.filter(|early| early.is_waiting() || early.has(kind, threads, &shapes)) {
            Some(early) => early,
            None => trials.start(kind.device, traffic.niceness())?,
        };
        if trial.is_waiting() {
            trial.give(&candidate)?;
        }
        // One image: whether it loads and runs is the child's to find out. All of them are run here.
        let loaded = trial.loaded(&model.check.first());
        self.spent(started);
        loaded?.map_err(|bad| told(bad, kind))?;
        Ok(Running { trial, kind, shapes, traffic })
    }

    fn spent(&self, since: Instant) {
        self.tried.lock().spent += since.elapsed();
    }
}

impl State {
    fn is_good(&self, digest: &str, kind: Kind, shape: Shape) -> bool {
        self.good.iter().any(|(d, k, s)| (d.as_str(), *k, *s) == (digest, kind, shape))
    }
}

/// A child that has loaded its candidate.
pub(super) struct Running {
    trial: Trial,
    kind: Kind,
    shapes: Vec<Shape>,
    traffic: Traffic,
}

/// What a child has against a model, of which it tried this kind of engine.
fn told(bad: Bad, kind: Kind) -> MakeError {
    match bad {
        Bad::Check(reason) => MakeError::Check(reason),
        Bad::Engine(reason) => EngineError::Model { device: kind.device, reason }.into(),
    }
}
