//! The engines of one input shape.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use edgeloop_engine::{EngineInfo, EnginePool};

use super::budget::Share;
use super::kind::Kind;
use super::shapes::Shape;

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
}

impl Resident {
    pub(super) fn new(
        pool: EnginePool,
        kind: Kind,
        shape: Shape,
        threads: usize,
        fallback: Option<String>,
        share: Share,
        bytes: u64,
    ) -> Self {
        Self { pool, kind, shape, threads, fallback, bytes, shares: Mutex::new(vec![share]), solo_tried: AtomicBool::new(false) }
    }

    /// Holds another share of the memory for as long as this lives.
    pub(super) fn keep(&self, share: Share) {
        self.shares.lock().unwrap_or_else(PoisonError::into_inner).push(share);
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
