//! What the agent tells the world: the content of the status file, and what label and annotations are made of.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::probe::{Method, Round};
use crate::verdict::{Reason, Verdict};

/// The verdict and the last round behind it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// `online`, `offline` or `unknown`.
    pub status: Verdict,
    /// Since when (UTC): when the verdict last changed.
    pub since: DateTime<Utc>,
    /// Why it changed then.
    pub reason: Reason,
    /// Best round trip of the last round in milliseconds; null when nothing came back.
    pub rtt_ms: Option<f64>,
    /// Requests of the last round that nobody answered, 0–1.
    pub loss: f64,
    /// How the gateway is asked.
    pub method: Method,
    /// Who is asked.
    pub target: String,
    /// When the last round ended (UTC).
    pub checked_at: DateTime<Utc>,
}

impl Status {
    /// Before the first round.
    #[must_use]
    pub fn starting(target: String, method: Method, now: DateTime<Utc>) -> Self {
        Status { status: Verdict::Unknown, since: now, reason: Reason::Starting, rtt_ms: None, loss: 0.0, method, target, checked_at: now }
    }

    /// The same verdict after another round.
    #[must_use]
    pub fn checked(&self, round: &Round, now: DateTime<Utc>) -> Self {
        // Microseconds: more digits of a round trip are noise.
        let rtt_ms = round.rtt.map(|rtt| rtt.as_micros() as f64 / 1000.0);
        Status { rtt_ms, loss: round.loss(), method: round.method, checked_at: now, ..self.clone() }
    }

    /// A verdict that has just changed.
    #[must_use]
    pub fn changed(self, verdict: Verdict, reason: Reason) -> Self {
        Status { status: verdict, reason, since: self.checked_at, ..self }
    }
}
