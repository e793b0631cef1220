use std::process::ExitStatus;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use edgeloop_service::exit;

use super::Ended;
use super::state::{ChildState, ChildView};
use crate::children::{Child, Spec};

/// Who ran this long was healthy: crashes before do not count any more.
const HEALTHY: Duration = Duration::from_secs(60);
/// After 1, 2, 4, 8, 16 and 30 s, a minute in all, whatever was in the way has not gone away by itself.
const ATTEMPTS: u32 = 6;
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// What to do after a crash.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Again(Duration),
    GiveUp,
}

/// Counts crashes in a row.
#[derive(Debug, Default)]
struct Restarts {
    crashes: u32,
    total: u32,
}

impl Restarts {
    fn after(&mut self, ran: Duration, code: Option<i32>) -> Next {
        if code == Some(i32::from(exit::BAD_INPUT)) {
            // Its settings are wrong; they will be as wrong in a second.
            return Next::GiveUp;
        }
        if ran >= HEALTHY {
            self.crashes = 0;
        }
        self.crashes += 1;
        if self.crashes > ATTEMPTS {
            return Next::GiveUp;
        }
        self.total += 1;
        Next::Again((Duration::from_secs(1) * 2_u32.pow(self.crashes - 1)).min(LONGEST_WAIT))
    }
}

/// A child that has to run all the time.
pub(super) struct Daemon {
    name: &'static str,
    spec: Box<dyn Fn() -> anyhow::Result<Spec>>,
    events: mpsc::Sender<Ended>,
    child: Option<Child>,
    since: DateTime<Utc>,
    started: Instant,
    start_at: Instant,
    restarts: Restarts,
}

impl Daemon {
    pub(super) fn new(name: &'static str, spec: Box<dyn Fn() -> anyhow::Result<Spec>>, events: mpsc::Sender<Ended>) -> Self {
        let now = Instant::now();
        Daemon { name, spec, events, child: None, since: Utc::now(), started: now, start_at: now, restarts: Restarts::default() }
    }

    /// Starts it when it is not running and its back-off is over.
    pub(super) fn keep_up(&mut self) -> anyhow::Result<()> {
        if self.child.is_some() || Instant::now() < self.start_at {
            return Ok(());
        }
        let (name, events) = (self.name, self.events.clone());
        let child = Child::spawn_then((self.spec)()?, move |status| {
            // Nobody listens any more once `up` is stopping.
            let _ = events.send((name, status));
        })?;
        tracing::info!(child = name, pid = child.pid(), "started");
        (self.child, self.since, self.started) = (Some(child), Utc::now(), Instant::now());
        Ok(())
    }

    /// # Errors
    /// When it is not worth another start.
    pub(super) fn ended(&mut self, status: ExitStatus) -> anyhow::Result<()> {
        self.child = None;
        self.since = Utc::now();
        match self.restarts.after(self.started.elapsed(), status.code()) {
            Next::Again(delay) => {
                tracing::warn!(child = self.name, %status, restart_s = delay.as_secs(), "ended; it will be started again");
                self.start_at = Instant::now() + delay;
                Ok(())
            }
            Next::GiveUp if status.code() == Some(i32::from(exit::BAD_INPUT)) => {
                let error = anyhow::anyhow!("the {} refuses its settings (see its log above): correct them and start again", self.name);
                Err(exit::bad_input(error))
            }
            Next::GiveUp => anyhow::bail!("the {} keeps ending ({status}; {ATTEMPTS} restarts in a row): see its log above", self.name),
        }
    }

    pub(super) fn is_running(&self) -> bool {
        self.child.is_some()
    }

    pub(super) fn take(&mut self) -> Option<Child> {
        self.child.take()
    }

    pub(super) fn view(&self) -> ChildView {
        let state = if self.child.is_some() { ChildState::Running } else { ChildState::Restarting };
        ChildView {
            name: self.name.to_owned(),
            pid: self.child.as_ref().map(Child::pid),
            state,
            since: self.since,
            restarts: self.restarts.total,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn again(seconds: u64) -> Next {
        Next::Again(Duration::from_secs(seconds))
    }

    #[test]
    fn waits_double_and_end() {
        let mut restarts = Restarts::default();
        let all: Vec<Next> = (0..7).map(|_| restarts.after(Duration::ZERO, Some(1))).collect();
        assert_eq!(all, [again(1), again(2), again(4), again(8), again(16), again(30), Next::GiveUp]);
    }

    #[test]
    fn a_healthy_time_forgives() {
        let mut restarts = Restarts::default();
        for _ in 0..50 {
            assert_eq!(restarts.after(HEALTHY, None), again(1));
        }
    }

    #[test]
    fn wrong_settings_are_not_tried_again() {
        assert_eq!(Restarts::default().after(HEALTHY, Some(2)), Next::GiveUp);
    }

    #[test]
    fn an_end_without_error_is_an_end_all_the_same() {
        assert_eq!(Restarts::default().after(Duration::ZERO, Some(0)), again(1));
    }
}
