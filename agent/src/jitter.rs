//! Small random delays, so that a fleet that booted together does not ask the gateway or the API server in step.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// A source of jitter (splitmix64, seeded from the operating system). Not for secrets.
#[derive(Clone, Debug)]
pub struct Jitter {
    state: u64,
}

impl Jitter {
    /// Seeded differently in each process.
    #[must_use]
    pub fn new() -> Self {
        Self::seeded(RandomState::new().hash_one(std::process::id()))
    }

    /// Always the same sequence.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Jitter { state: seed }
    }

    /// The next number, uniform over u64.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// `base`, longer or shorter by at most the share `spread` (0.1 = ±10 %).
    pub fn around(&mut self, base: Duration, spread: f64) -> Duration {
        // 53 bits: what an f64 holds exactly.
        let unit = (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        base.mul_f64(1.0 + spread * (2.0 * unit - 1.0))
    }
}

impl Default for Jitter {
    fn default() -> Self {
        Self::new()
    }
}

/// Delays that double from `first` to `most`, each ±20 %.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
    jitter: Jitter,
}

impl Backoff {
    /// Starts at `first`.
    #[must_use]
    pub fn new(first: Duration, most: Duration, jitter: Jitter) -> Self {
        Backoff { first, most, next: first, jitter }
    }

    /// How long to wait before the next attempt.
    pub fn delay(&mut self) -> Duration {
        let delay = self.next;
        self.next = delay.saturating_mul(2).min(self.most);
        self.jitter.around(delay, 0.2)
    }

    /// After a success.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn jitter_stays_within_its_spread(seed: u64, millis in 1_u64..1_000_000) {
            let base = Duration::from_millis(millis);
            let mut jitter = Jitter::seeded(seed);
            for _ in 0..50 {
                let delay = jitter.around(base, 0.1);
                prop_assert!(delay >= base.mul_f64(0.899_999) && delay <= base.mul_f64(1.100_001));
            }
        }
    }

    #[test]
    fn back_off_doubles_up_to_its_limit_and_starts_again_after_a_success() {
        let second = Duration::from_secs(1);
        let mut backoff = Backoff::new(second, 8 * second, Jitter::seeded(1));
        let delays: Vec<u64> = (0..6).map(|_| backoff.delay().as_secs_f64().round() as u64).collect();
        for (delay, centre) in delays.iter().zip([1.0, 2.0, 4.0, 8.0, 8.0, 8.0]) {
            assert!((*delay as f64 - centre).abs() <= 0.2 * centre + 0.5, "{delays:?}");
        }
        backoff.reset();
        assert!(backoff.delay() <= second.mul_f64(1.2));
    }
}
