//! Nothing loads a model in this process before a child has: whatever engine, whatever shape, now or later.
//!
//! A child is started when a version is about to be read and takes the first trial; every other trial starts its own. What has
//! been tried is remembered by the model's bytes, so that another engine of the same kind costs no further trial, and neither does
//! going back to a version in an outage.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use edgeloop_engine::{Device, EngineError};

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

/// What children have tried.
#[derive(Debug, Default)]
pub(crate) struct Tried {
    pub(super) trials: Option<Trials>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// A child that waits.
    early: Option<Trial>,
    /// What the last trial was about: most likely the next one is, too.
    last: Device,
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
        self.tried.lock().last = self.settings().device;
        self
    }

    /// How long the trials of one load can take.
    #[must_use]
    pub fn longest_trials(&self) -> Duration {
        self.tried.trials.as_ref().map_or(Duration::ZERO, |trials| trials.timeout * MOST_A_LOAD)
    }

    /// A version is about to be read: a child is started that will try it.
    pub fn expect_trial(&self, traffic: Traffic) {
        let Some(trials) = &self.tried.trials else { return };
        // One that cannot be started is told when it is needed.
        let device = self.tried.lock().last;
        let early = trials.start(device, traffic.niceness()).ok();
        self.tried.lock().early = early;
    }

    /// A load begins. In an outage what has been tried is trusted: every millisecond is an unanswered request.
    pub(super) fn begin_trials(&self, model: &Model<'_>, before: Option<&Engines>) {
        let also = before.and_then(|before| before.live_shape(model.side));
        let mut state = self.tried.lock();
        (state.spent, state.also) = (Duration::ZERO, also);
        if before.is_some() {
            state.good.retain(|(digest, ..)| digest != model.digest);
        }
    }

    /// The load is over; the time that its trials took.
    pub(super) fn end_trials(&self) -> Duration {
        let mut state = self.tried.lock();
        // A child that was not needed is ended outside of the lock.
        let (early, spent) = (state.early.take(), state.spent);
        drop(state);
        drop(early);
        spent
    }

    /// Whether a child has loaded and run these bytes with this kind of engine in this shape.
    pub(super) fn is_tried(&self, kind: Kind, model: &Model<'_>, shape: Shape) -> bool {
        self.tried.lock().good.iter().any(|(digest, k, s)| (digest.as_str(), *k, *s) == (model.digest, kind, shape))
    }

    /// Has a child load and run a model, unless one has. `traffic` is what it gives way to.
    pub(super) fn try_first(&self, kind: Kind, model: &Model<'_>, shape: Shape, traffic: Traffic) -> Result<(), MakeError> {
        // What cannot be had at all says so better here.
        self.check_failures(kind)?;
        let Some(trials) = &self.tried.trials else { return Ok(()) };
        if self.is_tried(kind, model, shape) {
            return Ok(());
        }
        self.runtime().library_version(kind.device)?;
        let also = Some(shape).filter(|shape| *shape == Shape::square(model.side)).and_then(|_| self.tried.lock().also.take());
        let shapes: Vec<Shape> = [Some(shape), also].into_iter().flatten().collect();
        let verdict = match self.try_shapes(trials, kind, model, &shapes, traffic)? {
            // Which of them was it?
            Err(_) if shapes.len() > 1 => self.try_shapes(trials, kind, model, &shapes[..1], traffic)?,
            verdict => verdict,
        };
        verdict.map_err(|bad| match bad {
            Bad::Check(reason) => MakeError::Check(reason),
            Bad::Engine(reason) => EngineError::Model { device: kind.device, reason }.into(),
        })
    }

    /// One child, whose verdict is about all of `shapes`.
    fn try_shapes(
        &self,
        trials: &Trials,
        kind: Kind,
        model: &Model<'_>,
        shapes: &[Shape],
        traffic: Traffic,
    ) -> Result<Result<(), Bad>, TrialError> {
        let started = Instant::now();
        let early = {
            let mut state = self.tried.lock();
            state.last = kind.device;
            state.early.take()
        };
        let trial = match early {
            Some(trial) => trial,
            None => trials.start(kind.device, traffic.niceness())?,
        };
        // Whatever the plan: there is only one.
        // One image: whether it loads and runs is the child's to find out. All of them are run here.
        let check = model.check.first();
        let candidate = Candidate { kind, threads: traffic.cores(), shapes, onnx: model.onnx, check: &check };
        let verdict = trial.run(&candidate)?;
        let mut state = self.tried.lock();
        state.spent += started.elapsed();
        if verdict.is_ok() {
            state.good.extend(shapes.iter().map(|shape| (model.digest.to_owned(), kind, *shape)));
            let excess = state.good.len().saturating_sub(MOST_REMEMBERED);
            state.good.drain(..excess);
        }
        Ok(verdict)
    }
}
