use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

/// What a daemon knows of its own health: named checks, heartbeats, details. Clones are the same health.
///
/// Register a check as failing before the work that will make it pass: a health without checks is live and ready.
#[derive(Clone, Debug, Default)]
pub struct Health {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    live: BTreeMap<String, Result<(), String>>,
    ready: BTreeMap<String, Result<(), String>>,
    beats: BTreeMap<String, Watch>,
    details: Map<String, Value>,
}

#[derive(Debug)]
struct Watch {
    max_age: Duration,
    pulse: Weak<Pulse>,
}

impl Health {
    /// No checks yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a liveness check: `Err(reason)` makes `/livez` answer 503, and an orchestrator restart the process.
    pub fn set_live(&self, name: &str, check: Result<(), String>) {
        self.lock().live.insert(name.to_owned(), check);
    }

    /// Sets a readiness check: `Err(reason)` makes `/readyz` answer 503.
    pub fn set_ready(&self, name: &str, check: Result<(), String>) {
        self.lock().ready.insert(name.to_owned(), check);
    }

    /// Says something more in the body of both.
    pub fn set_detail(&self, key: &str, value: Value) {
        self.lock().details.insert(key.to_owned(), value);
    }

    /// Whether all readiness checks pass.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.lock().ready.values().all(Result::is_ok)
    }

    /// A liveness check that fails once nobody has called [`Beat::beat`] for `max_age`, or the beat is dropped: a loop that
    /// hangs or died is seen although the process lives.
    #[must_use = "a dropped beat counts as a dead loop"]
    pub fn heartbeat(&self, name: &str, max_age: Duration) -> Beat {
        let pulse = Arc::new(Pulse { start: Instant::now(), last_ms: AtomicU64::new(0) });
        self.lock().beats.insert(name.to_owned(), Watch { max_age, pulse: Arc::downgrade(&pulse) });
        Beat { pulse }
    }

    pub(super) fn live_report(&self) -> (bool, Value) {
        let state = self.lock();
        let mut checks = state.live.clone();
        checks.extend(state.beats.iter().map(|(name, watch)| (name.clone(), watch.check())));
        body("live", &checks, &state.details)
    }

    pub(super) fn ready_report(&self) -> (bool, Value) {
        let state = self.lock();
        body("ready", &state.ready, &state.details)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here can panic half-way through a change, so a poisoned lock still guards a whole state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn body(word: &str, checks: &BTreeMap<String, Result<(), String>>, details: &Map<String, Value>) -> (bool, Value) {
    let ok = checks.values().all(Result::is_ok);
    let checks: Map<String, Value> =
        checks.iter().map(|(name, check)| (name.clone(), json!({"ok": check.is_ok(), "detail": check.as_ref().err()}))).collect();
    (ok, json!({word: ok, "checks": checks, "details": details}))
}

impl Watch {
    fn check(&self) -> Result<(), String> {
        let Some(pulse) = self.pulse.upgrade() else { return Err("the loop has ended".to_owned()) };
        let age = pulse.age();
        if age > self.max_age {
            return Err(format!("no heartbeat for {:.1} s; at most {:.1} s are allowed", age.as_secs_f64(), self.max_age.as_secs_f64()));
        }
        Ok(())
    }
}

/// The loop's end of a heartbeat check. Cheap: one atomic store a beat.
#[derive(Clone, Debug)]
pub struct Beat {
    pulse: Arc<Pulse>,
}

#[derive(Debug)]
struct Pulse {
    start: Instant,
    last_ms: AtomicU64,
}

impl Beat {
    /// «I am still going round.»
    pub fn beat(&self) {
        self.pulse.last_ms.store(self.pulse.now_ms(), Ordering::Relaxed);
    }

    /// Time since the last beat (since registration before the first), to the millisecond.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.pulse.age()
    }
}

impl Pulse {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn age(&self) -> Duration {
        Duration::from_millis(self.now_ms().saturating_sub(self.last_ms.load(Ordering::Relaxed)))
    }
}
