//! Who may come in: places for images that wait, memory for bodies that arrive.
//!
//! A place is one image between the end of its body and its answer, so QUEUE places bound how long the last one waits. Bodies
//! take no place while they arrive (a slow sender would keep it from others) but memory, of which there is a fixed amount.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::metrics::Metrics;
use crate::pace::Pace;

/// Memory is taken in steps of so many bytes: one step holds most requests whole.
const STEP: u64 = 256 << 10;
/// Nobody is told to stay away for longer.
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// Places and memory. Clones are the same.
#[derive(Debug, Clone)]
pub struct Admission {
    places: Arc<Semaphore>,
    all: usize,
    /// Images that are run beside each other.
    beside: usize,
    memory: Arc<Semaphore>,
    traffic: Traffic,
    pace: Pace,
    metrics: Metrics,
}

/// One or more places, given back when dropped.
#[derive(Debug)]
pub struct Place {
    _permit: OwnedSemaphorePermit,
    _inside: Inside,
}

impl Admission {
    /// `places` images, of which `beside` run at once, and `memory` bytes of bodies.
    #[must_use]
    pub fn new(places: usize, beside: usize, memory: u64, traffic: Traffic, pace: Pace, metrics: Metrics) -> Self {
        let steps = usize::try_from(memory.div_ceil(STEP)).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let beside = beside.max(1);
        Self {
            places: Arc::new(Semaphore::new(places)),
            all: places,
            beside,
            memory: Arc::new(Semaphore::new(steps)),
            traffic,
            pace,
            metrics,
        }
    }

    /// Whether all places are taken: then nothing of a body need be read.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.places.available_permits() == 0
    }

    /// Places for so many images at once, if there are.
    #[must_use]
    pub fn enter(&self, images: usize) -> Option<Place> {
        let permit = self.places.clone().try_acquire_many_owned(u32::try_from(images).ok()?).ok()?;
        Some(Place { _permit: permit, _inside: self.traffic.enter(images, &self.metrics) })
    }

    /// The longest batch that can ever find places.
    #[must_use]
    pub fn largest_batch(&self, wanted: usize) -> usize {
        wanted.min(self.all)
    }

    /// After how long another try makes sense: when all that is inside has been run.
    #[must_use]
    pub fn retry_after(&self) -> Duration {
        let inside = (self.all - self.places.available_permits().min(self.all)) as f64;
        let each = self.pace.mean_ms() / 1e3 / self.beside as f64;
        Duration::from_secs_f64((inside * each).ceil().max(1.0)).min(LONGEST_RETRY)
    }

    /// An account for one body, at zero.
    #[must_use]
    pub fn memory(&self) -> Memory {
        Memory { budget: Some(self.memory.clone()), held: None, steps: 0 }
    }
}

/// What one request's body takes of the memory, given back when dropped.
#[derive(Debug)]
pub struct Memory {
    /// `None`: a body so small that nobody counts it.
    budget: Option<Arc<Semaphore>>,
    held: Option<OwnedSemaphorePermit>,
    steps: u64,
}

impl Memory {
    /// An account that always has room.
    #[must_use]
    pub fn free() -> Self {
        Self { budget: None, held: None, steps: 0 }
    }

    /// Makes it hold `bytes`; false when there is no room for that.
    #[must_use]
    pub fn hold(&mut self, bytes: u64) -> bool {
        let Some(budget) = &self.budget else { return true };
        let steps = bytes.div_ceil(STEP);
        let Some(more) = steps.checked_sub(self.steps).filter(|more| *more > 0) else { return true };
        let Some(permit) = u32::try_from(more).ok().and_then(|more| budget.clone().try_acquire_many_owned(more).ok()) else {
            return false;
        };
        match &mut self.held {
            Some(held) => held.merge(permit),
            none => *none = Some(permit),
        }
        self.steps = steps;
        true
    }
}

/// Images of requests between admission and answer, for those who give way to them. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct Traffic {
    inside: Arc<AtomicUsize>,
}

impl Traffic {
    /// Images inside right now.
    #[must_use]
    pub fn inside(&self) -> usize {
        self.inside.load(Ordering::Relaxed)
    }

    fn enter(&self, images: usize, metrics: &Metrics) -> Inside {
        self.inside.fetch_add(images, Ordering::Relaxed);
        metrics.inside(images as i64);
        Inside { traffic: self.clone(), images, metrics: metrics.clone() }
    }
}

#[derive(Debug)]
struct Inside {
    traffic: Traffic,
    images: usize,
    metrics: Metrics,
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.traffic.inside.fetch_sub(self.images, Ordering::Relaxed);
        self.metrics.inside(-(self.images as i64));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use prometheus::Registry;

    fn admission(places: usize, memory: u64) -> Admission {
        let metrics = Metrics::register(&Registry::new()).unwrap();
        Admission::new(places, 2, memory, Traffic::default(), Pace::default(), metrics)
    }

    #[test]
    fn a_batch_takes_a_place_for_each_image_and_gives_them_back() {
        let admission = admission(4, 0);
        let three = admission.enter(3).unwrap();
        assert!(admission.enter(2).is_none() && !admission.is_full());
        let one = admission.enter(1).unwrap();
        assert!(admission.is_full() && admission.traffic.inside() == 4);
        drop((three, one));
        assert_eq!((admission.traffic.inside(), admission.enter(4).is_some()), (0, true));
        assert_eq!(admission.largest_batch(16), 4);
    }

    #[test]
    fn memory_is_held_until_the_account_is_closed() {
        let admission = admission(1, 4 * STEP);
        let (mut first, mut second) = (admission.memory(), admission.memory());
        assert!(first.hold(1) && first.hold(STEP) && first.hold(3 * STEP));
        assert!(second.hold(STEP) && !second.hold(STEP + 1), "three steps and one are all there are");
        drop(first);
        assert!(second.hold(4 * STEP));
    }

    #[test]
    fn who_is_refused_is_told_how_long_the_queue_takes() {
        let admission = admission(8, 0);
        assert_eq!(admission.retry_after(), Duration::from_secs(1));
        admission.pace.ran(Duration::from_millis(500));
        let _inside = admission.enter(8).unwrap();
        assert_eq!(admission.retry_after(), Duration::from_secs(2), "8 of half a second, 2 at once");
        admission.pace.ran(Duration::from_secs(1000));
        assert_eq!(admission.retry_after(), LONGEST_RETRY);
    }
}
