//! Time as the store sees it: one clock for people (UTC, may jump), one for patience (monotonic, own process only).

use std::sync::Mutex;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};

/// Two clocks. Order in the store never depends on either.
pub trait Clock: Send + Sync {
    /// Wall time, for names and records. May be wrong, may go back.
    fn utc(&self) -> DateTime<Utc>;
    /// Time since some fixed instant of this process. Never goes back.
    fn monotonic(&self) -> Duration;
    /// Lets `duration` pass on the monotonic clock.
    fn wait(&self, duration: Duration);
}

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock whose monotonic side starts now.
    #[must_use]
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn utc(&self) -> DateTime<Utc> {
        Utc::now()
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn wait(&self, duration: Duration) {
        std::thread::sleep(duration);
    }
}

/// What a test does at the end of a wait.
type OnWait = Box<dyn FnMut(Duration) + Send>;

/// A clock that a test moves: waiting costs no time, and wall time may be set to anything.
pub struct ManualClock {
    state: Mutex<(DateTime<Utc>, Duration)>,
    on_wait: Mutex<Option<OnWait>>,
}

impl ManualClock {
    /// Starts at the given wall time.
    #[must_use]
    pub fn new(utc: DateTime<Utc>) -> Self {
        Self { state: Mutex::new((utc, Duration::ZERO)), on_wait: Mutex::new(None) }
    }

    /// Sets the wall clock, forwards or back; the monotonic side does not move.
    pub fn set_utc(&self, utc: DateTime<Utc>) {
        self.state.lock().expect("no holder of the clock panics").0 = utc;
    }

    /// Runs `action` with the monotonic time at the end of every wait: what the rest of the world does in between.
    pub fn on_wait(&self, action: impl FnMut(Duration) + Send + 'static) {
        *self.on_wait.lock().expect("no holder of the clock panics") = Some(Box::new(action));
    }
}

impl Clock for ManualClock {
    fn utc(&self) -> DateTime<Utc> {
        self.state.lock().expect("no holder of the clock panics").0
    }

    fn monotonic(&self) -> Duration {
        self.state.lock().expect("no holder of the clock panics").1
    }

    fn wait(&self, duration: Duration) {
        let now = {
            let mut state = self.state.lock().expect("no holder of the clock panics");
            state.0 += TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX);
            state.1 += duration;
            state.1
        };
        if let Some(action) = self.on_wait.lock().expect("no holder of the clock panics").as_mut() {
            action(now);
        }
    }
}
