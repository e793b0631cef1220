//! How fast images go and whether one is at work: what `/api/stats` and `Retry-After` say.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Share of a new figure in the running mean: Frigate's, whose readers know how fast it moves.
const NEW: f64 = 0.1;

/// Clones are the same pace.
#[derive(Debug, Clone, Default)]
pub struct Pace {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Bits of the running mean in milliseconds; 0 before the first image.
    mean_ms: AtomicU64,
    lanes: Mutex<Vec<Arc<AtomicU64>>>,
}

/// One worker's place in the list: when the image that it is at began, in microseconds since 1970; 0 while it is idle.
#[derive(Debug)]
pub struct Lane {
    began: Arc<AtomicU64>,
}

/// An image at work, until it is dropped.
#[derive(Debug)]
pub struct Running<'a>(&'a Lane);

impl Pace {
    /// A worker's place. It stays for the life of the process, as the workers do.
    #[must_use]
    pub fn lane(&self) -> Lane {
        let began = Arc::new(AtomicU64::new(0));
        self.shared.lanes.lock().unwrap_or_else(PoisonError::into_inner).push(began.clone());
        Lane { began }
    }

    /// Takes one run of the model into the mean.
    pub fn ran(&self, time: Duration) {
        let time = time.as_secs_f64() * 1e3;
        let next = |bits: u64| {
            let mean = f64::from_bits(bits);
            Some(if bits == 0 { time } else { mean + NEW * (time - mean) }.to_bits())
        };
        let _ = self.shared.mean_ms.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }

    /// The running mean of the model's runs in milliseconds; 0 before the first.
    #[must_use]
    pub fn mean_ms(&self) -> f64 {
        f64::from_bits(self.shared.mean_ms.load(Ordering::Relaxed))
    }

    /// When the image that has been at work for longest began, in seconds since 1970; 0 while none is.
    #[must_use]
    pub fn working_since(&self) -> f64 {
        let lanes = self.shared.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let began = lanes.iter().map(|lane| lane.load(Ordering::Relaxed)).filter(|began| *began > 0).min();
        began.unwrap_or(0) as f64 / 1e6
    }
}

impl Lane {
    /// An image begins.
    #[must_use]
    pub fn begin(&self) -> Running<'_> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64;
        self.began.store(now.max(1), Ordering::Relaxed);
        Running(self)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.began.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_starts_at_the_first_run_and_moves_by_a_tenth() {
        let pace = Pace::default();
        assert_eq!(pace.mean_ms(), 0.0);
        pace.ran(Duration::from_millis(100));
        assert_eq!(pace.mean_ms(), 100.0);
        pace.ran(Duration::from_millis(200));
        assert!((pace.mean_ms() - 110.0).abs() < 1e-9);
    }

    #[test]
    fn the_longest_at_work_is_named_and_nobody_when_all_are_idle() {
        let pace = Pace::default();
        let lanes = [pace.lane(), pace.lane()];
        let first = lanes[0].begin();
        let since = pace.working_since();
        let second = lanes[1].begin();
        assert!(since > 1.7e9 && pace.working_since() == since);
        drop(first);
        assert!(pace.working_since() >= since);
        drop(second);
        assert_eq!(pace.working_since(), 0.0);
    }
}
