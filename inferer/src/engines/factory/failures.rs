//! Kinds of engine that failed while they served: each is left alone for a while, longer every time.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::engines::kind::Kind;

/// The pause grows to this many times the first one.
const MOST_TIMES: u32 = 10;

#[derive(Debug)]
struct Failure {
    reason: String,
    times: u32,
    at: Instant,
    again: Instant,
}

#[derive(Debug)]
pub(super) struct Failures {
    pause: Duration,
    failed: Mutex<HashMap<Kind, Failure>>,
}

impl Failures {
    pub(super) fn new(pause: Duration) -> Self {
        Self { pause, failed: Mutex::default() }
    }

    pub(super) fn note(&self, kind: Kind, reason: &str) {
        let now = Instant::now();
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        // What worked for long since it failed last begins anew.
        let times = failed.get(&kind).filter(|f| now.duration_since(f.at) < self.pause * MOST_TIMES * 2).map_or(1, |f| f.times + 1);
        let pause = self.pause.saturating_mul(1 << (times - 1).min(8)).min(self.pause * MOST_TIMES);
        failed.insert(kind, Failure { reason: reason.to_owned(), times, at: now, again: now + pause });
    }

    /// Whether `kind` may be tried.
    pub(super) fn check(&self, kind: Kind) -> Result<(), String> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        match failed.get(&kind).filter(|f| Instant::now() < f.again) {
            Some(failure) => Err(format!("it failed while it served ({}); it is tried again later", failure.reason)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn each_failure_makes_the_pause_longer_up_to_a_bound() {
        let failures = Failures::new(Duration::from_secs(60));
        assert_eq!(failures.check(Kind::SECOND), Ok(()));
        for seconds in [60, 120, 240, 480, 600, 600] {
            failures.note(Kind::SECOND, "broken");
            let failed = failures.failed.lock().unwrap();
            let failure = &failed[&Kind::SECOND];
            assert_eq!((failure.again - failure.at).as_secs(), seconds);
        }
        assert!(failures.check(Kind::SECOND).unwrap_err().contains("broken"));
        assert_eq!(failures.check(Kind::SAFE), Ok(()), "the others may be tried");
    }
}
