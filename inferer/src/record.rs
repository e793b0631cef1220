//! How the runs of a model in service went, and when that makes the model bad.
//!
//! A check file holds four images, a camera makes thousands: what no check shows, the first minute does. In it a share of
//! failed runs is enough; later only failures in a row count, because an old model that fails now and then has better
//! explanations than its weights.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// After so many failed runs in a row a version counts as bad, at any age: one may be an odd input, three are the model.
pub const BAD_IN_A_ROW: u32 = 3;
/// A share says nothing about fewer failures than this.
const FEWEST_FAILURES: u64 = 3;

/// When the first runs of a model make it bad.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rule {
    /// How long from its first moment in service a model is watched.
    pub watched: Duration,
    /// The share of failed runs above which it is bad within that time.
    pub share: f32,
}

impl Default for Rule {
    fn default() -> Self {
        Self { watched: Duration::from_secs(60), share: 0.05 }
    }
}

/// The runs of one model.
#[derive(Debug)]
pub struct Record {
    rule: Rule,
    since: Instant,
    answered: AtomicU64,
    failed: AtomicU64,
    in_a_row: AtomicU32,
    trouble: OnceLock<String>,
}

impl Record {
    /// Nothing has run yet; the time that it is watched starts now.
    #[must_use]
    pub fn new(rule: Rule) -> Self {
        let (answered, failed, in_a_row) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU32::new(0));
        Self { rule, since: Instant::now(), answered, failed, in_a_row, trouble: OnceLock::new() }
    }

    /// Counts a run that worked.
    pub fn ran(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
        self.in_a_row.store(0, Ordering::Relaxed);
    }

    /// Counts a run that failed; true when the model has become bad with it.
    pub fn run_failed(&self) -> bool {
        let failed = self.failed.fetch_add(1, Ordering::Relaxed) + 1;
        let in_a_row = self.in_a_row.fetch_add(1, Ordering::Relaxed) + 1;
        match self.judge(failed, in_a_row, self.since.elapsed()) {
            Some(trouble) => self.trouble.set(trouble).is_ok(),
            None => false,
        }
    }

    fn judge(&self, failed: u64, in_a_row: u32, age: Duration) -> Option<String> {
        if in_a_row >= BAD_IN_A_ROW {
            return Some(format!("{in_a_row} runs in a row failed"));
        }
        let runs = failed + self.answered.load(Ordering::Relaxed);
        let bad = age < self.rule.watched && failed >= FEWEST_FAILURES && failed as f64 > f64::from(self.rule.share) * runs as f64;
        bad.then(|| format!("{failed} of its first {runs} runs failed, in {:.0} s of service", age.as_secs_f64()))
    }

    /// Why the model is bad. What is said once stays: the run after it may work, and the model is no better for that.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.get().map(String::as_str)
    }

    /// Until when it is watched.
    pub fn watched_until(&self) -> Instant {
        self.since + self.rule.watched
    }

    /// Runs so far: all, failed.
    pub fn runs(&self) -> (u64, u64) {
        let failed = self.failed.load(Ordering::Relaxed);
        (failed + self.answered.load(Ordering::Relaxed), failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    /// Each letter is a run: `.` works, `x` fails.
    #[rstest]
    #[case::all_well("..........", 60, None)]
    #[case::one_odd_input("x.........", 60, None)]
    #[case::three_in_a_row("....xxx", 60, Some("3 runs in a row failed"))]
    #[case::three_in_a_row_later("....xxx", 0, Some("3 runs in a row failed"))]
    #[case::every_third_in_the_first_minute("x..x..x", 60, Some("3 of its first 7 runs failed, in 0 s of service"))]
    #[case::every_third_later("x..x..x..x..x", 0, None)]
    #[case::three_are_few_among_many("x.............................x.............................x", 60, None)]
    #[case::it_does_not_get_better("x.x.x..........", 60, Some("3 of its first 5 runs failed, in 0 s of service"))]
    fn bad_or_not(#[case] runs: &str, #[case] watched: u64, #[case] expected: Option<&str>) {
        let record = Record::new(Rule { watched: Duration::from_secs(watched), share: 0.05 });
        let mut told = 0;
        for run in runs.chars() {
            if run == 'x' { told += u32::from(record.run_failed()) } else { record.ran() }
        }
        assert_eq!(record.trouble(), expected);
        assert_eq!(told, u32::from(expected.is_some()), "whoever acts on it is told once");
    }
}
