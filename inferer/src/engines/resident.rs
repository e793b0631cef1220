//! The engines of one input shape.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use edgeloop_engine::{Engine, EngineInfo, EnginePool};

use super::budget::Share;
use super::kind::Kind;
use super::shapes::Shape;

/// Jobs that may wait before the engines. Every decoding thread and the folder loop have at most one each; more would only
/// be memory.
const QUEUE: usize = 64;

fn twin(engine: &dyn Engine, shape: Shape) -> Option<Box<dyn Engine>> {
    engine.in_shape(shape.height as usize, shape.width as usize)
}

/// Instances of one kind at one shape behind one queue, warm and checked.
#[derive(Debug)]
pub struct Resident {
    /// The instances.
    pub pool: EnginePool,
    /// What they are.
    pub kind: Kind,
    /// Their input.
    pub shape: Shape,
    /// Threads inside a run of an instance.
    pub threads: usize,
    /// Why the engine that was asked for does not run it; `None` when it does.
    pub fallback: Option<String>,
    /// About what the instances take, in bytes.
    pub bytes: u64,
    shares: Mutex<Vec<Share>>,
    solo_tried: AtomicBool,
    instances_tried: AtomicBool,
    twins: Mutex<Twins>,
}

/// Second handles to the models that the pool's threads hold: what is loaded once serves every shape, where the engine can.
#[derive(Default)]
struct Twins {
    instances: Vec<Box<dyn Engine>>,
    solo: Option<Box<dyn Engine>>,
}

impl std::fmt::Debug for Twins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Twins").field("instances", &self.instances.len()).field("solo", &self.solo.is_some()).finish()
    }
}

impl Resident {
    /// Starts the threads of instances.
    ///
    /// # Errors
    /// The system refuses one.
    pub(super) fn start(
        engines: Vec<Box<dyn Engine>>,
        of: (Kind, Shape, usize),
        fallback: Option<String>,
        share: (Share, u64),
    ) -> io::Result<Self> {
        let instances = engines.iter().filter_map(|engine| twin(&**engine, of.1)).collect();
        let mut engines = engines.into_iter();
        let first = engines.next().ok_or_else(|| io::Error::other("no engine was loaded"))?;
        let pool = EnginePool::spawn_all(first, engines.collect(), QUEUE)?;
        Ok(Self::of(pool, Twins { instances, solo: None }, of, fallback, share))
    }

    /// Starts with an engine of all cores and no instance yet: what is ready soonest.
    ///
    /// # Errors
    /// The system refuses its thread.
    pub(super) fn start_solo(
        engine: Box<dyn Engine>,
        of: (Kind, Shape, usize),
        fallback: Option<String>,
        share: (Share, u64),
    ) -> io::Result<Self> {
        let solo = twin(&*engine, of.1);
        let resident = Self::of(EnginePool::spawn_solo(engine, QUEUE)?, Twins { instances: Vec::new(), solo }, of, fallback, share);
        resident.solo_tried.store(true, Ordering::Relaxed);
        Ok(resident)
    }

    fn of(
        pool: EnginePool,
        twins: Twins,
        (kind, shape, threads): (Kind, Shape, usize),
        fallback: Option<String>,
        (share, bytes): (Share, u64),
    ) -> Self {
        let (shares, twins) = (Mutex::new(vec![share]), Mutex::new(twins));
        let (solo_tried, instances_tried) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { pool, kind, shape, threads, fallback, bytes, shares, solo_tried, instances_tried, twins }
    }

    /// Puts instances beside the solo engine.
    pub(super) fn add_instances(&self, engines: Vec<Box<dyn Engine>>) -> io::Result<()> {
        let twins: Vec<_> = engines.iter().filter_map(|engine| twin(&**engine, self.shape)).collect();
        self.pool.add(engines)?;
        self.twins().instances = twins;
        Ok(())
    }

    /// Whether instances are to be made now: true once, where there is none.
    pub(super) fn try_instances(&self) -> bool {
        self.pool.instances() == 0 && !self.instances_tried.swap(true, Ordering::Relaxed)
    }

    /// The same models as engines of another shape, without loading anything; empty where each shape must be loaded.
    pub(super) fn in_shape(&self, shape: Shape) -> Vec<Box<dyn Engine>> {
        self.twins().instances.iter().filter_map(|engine| twin(&**engine, shape)).collect()
    }

    /// The same for the solo engine.
    pub(super) fn solo_in_shape(&self, shape: Shape) -> Option<Box<dyn Engine>> {
        twin(self.twins().solo.as_deref()?, shape)
    }

    /// Puts an engine for lone images beside the instances.
    pub(super) fn set_solo(&self, engine: Box<dyn Engine>) -> io::Result<()> {
        let twin = twin(&*engine, self.shape);
        self.pool.set_solo(engine)?;
        self.twins().solo = twin;
        Ok(())
    }

    fn twins(&self) -> MutexGuard<'_, Twins> {
        self.twins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds another share of the memory for as long as this lives.
    pub(super) fn keep(&self, share: Share) {
        self.shares.lock().unwrap_or_else(PoisonError::into_inner).push(share);
    }

    /// Whether a solo engine would be of use and has not been tried yet.
    pub(super) fn wants_solo(&self) -> bool {
        !self.solo_tried.load(Ordering::Relaxed) && self.pool.wants_solo()
    }

    /// Whether a solo engine is to be made now: true once.
    pub(super) fn try_solo(&self) -> bool {
        !self.solo_tried.swap(true, Ordering::Relaxed)
    }

    /// What was loaded.
    #[must_use]
    pub fn info(&self) -> &EngineInfo {
        self.pool.info()
    }
}
