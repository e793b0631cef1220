//! Who may stop a training that could go on: a signal, quiet hours, a time budget.

use std::{
    cell::OnceCell,
    fmt,
    sync::atomic::{AtomicBool, Ordering},
    time::{Instant, SystemTime},
};

use crate::unattended::{BudgetEnd, Unattended};

/// Why a training stopped with a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stopped {
    /// SIGTERM or SIGINT.
    Signal,
    /// It is now an hour in which nothing is trained; in words.
    Quiet(String),
    /// The time budget is used up.
    Budget,
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal => f.write_str("stopped"),
            Self::Quiet(why) => write!(f, "stopped: {why}"),
            Self::Budget => f.write_str("stopped: the TIME_BUDGET is used up"),
        }
    }
}

/// Asked after every batch.
pub(super) struct Stopping<'a> {
    signal: &'a AtomicBool,
    unattended: &'a Unattended,
    pause: Option<Instant>,
    why: OnceCell<Stopped>,
}

impl<'a> Stopping<'a> {
    /// For a process that began at `began`.
    pub(super) fn new(signal: &'a AtomicBool, unattended: &'a Unattended, began: Instant) -> Self {
        let pause = unattended.time_budget.filter(|_| unattended.time_budget_end == BudgetEnd::Pause);
        Self { signal, unattended, pause: pause.and_then(|budget| began.checked_add(budget)), why: OnceCell::new() }
    }

    /// Must it stop now?
    pub(super) fn now(&self) -> bool {
        let why = if self.signal.load(Ordering::Relaxed) {
            Stopped::Signal
        } else if let Some(why) = self.unattended.quiet(SystemTime::now()) {
            Stopped::Quiet(why)
        } else if self.pause.is_some_and(|at| Instant::now() >= at) {
            Stopped::Budget
        } else {
            return false;
        };
        // The first reason is the one that counts.
        let _ = self.why.set(why);
        true
    }

    /// Why it had to.
    pub(super) fn why(&self) -> Stopped {
        self.why.get().cloned().unwrap_or(Stopped::Signal)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use super::*;

    fn unattended(args: &[&str]) -> Unattended {
        crate::unattended::parse(args).unwrap()
    }

    #[test]
    fn a_signal_quiet_hours_and_a_budget_stop_it() {
        let (signal, no_signal) = (AtomicBool::new(true), AtomicBool::new(false));
        let (free, quiet) = (unattended(&[]), unattended(&["--quiet-hours", "00:00-24:00"]));
        let now = Instant::now();
        assert!(!Stopping::new(&no_signal, &free, now).now());

        let stopping = Stopping::new(&signal, &free, now);
        assert!(stopping.now());
        assert_eq!(stopping.why(), Stopped::Signal);

        let stopping = Stopping::new(&no_signal, &quiet, now);
        assert!(stopping.now());
        assert!(stopping.why().to_string().contains("QUIET_HOURS"), "{}", stopping.why());
        // A signal that comes while it stops is not why it stopped.
        no_signal.store(true, Ordering::Relaxed);
        assert!(stopping.now());
        assert!(matches!(stopping.why(), Stopped::Quiet(_)));
    }

    #[test]
    fn a_budget_pauses_only_where_it_is_asked_to() {
        let signal = AtomicBool::new(false);
        let pause = unattended(&["--time-budget", "1ms", "--time-budget-end", "pause"]);
        let long_ago = Instant::now().checked_sub(Duration::from_millis(2)).unwrap();
        let stopping = Stopping::new(&signal, &pause, long_ago);
        assert!(stopping.now());
        assert_eq!(stopping.why(), Stopped::Budget);
        assert!(!Stopping::new(&signal, &unattended(&["--time-budget", "1ms"]), long_ago).now());
        assert!(!Stopping::new(&signal, &unattended(&["--time-budget", "1h", "--time-budget-end", "pause"]), long_ago).now());
    }
}
