//! The agent's metrics, `edgeloop_agent_…`.

use std::time::Duration;

use prometheus::{Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use crate::probe::Round;
use crate::verdict::{Change, Verdict};

/// All of them; clones count into the same.
#[derive(Clone, Debug)]
pub struct Metrics {
    rounds: IntCounterVec,
    requests: IntCounter,
    lost: IntCounter,
    rtt: Histogram,
    online: IntGauge,
    known: IntGauge,
    changes: IntCounterVec,
    last_round: Gauge,
    writes: IntCounterVec,
    hold: Gauge,
    leases: IntCounterVec,
    lease_renewed: Gauge,
}

impl Metrics {
    /// Registers them.
    ///
    /// # Errors
    /// When the registry already holds one of these names.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        fn add<M: prometheus::core::Collector + Clone + 'static>(registry: &Registry, metric: M) -> prometheus::Result<M> {
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        }
        // From a switch in the same rack (0.1 ms) to a satellite link (1 s).
        let buckets = vec![0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];
        let counter = |name: &str, help: &str, labels: &[&str]| add(registry, IntCounterVec::new(Opts::new(name, help), labels)?);
        Ok(Metrics {
            rounds: counter("edgeloop_agent_rounds_total", "Probe rounds by outcome.", &["reason", "method"])?,
            requests: add(registry, IntCounter::new("edgeloop_agent_requests_total", "Probe requests sent.")?)?,
            lost: add(registry, IntCounter::new("edgeloop_agent_requests_lost_total", "Probe requests that nobody answered.")?)?,
            rtt: add(
                registry,
                Histogram::with_opts(HistogramOpts::new("edgeloop_agent_rtt_seconds", "Best round trip of a round.").buckets(buckets))?,
            )?,
            online: add(registry, IntGauge::new("edgeloop_agent_online", "1 while the verdict is online.")?)?,
            known: add(registry, IntGauge::new("edgeloop_agent_verdict_known", "1 once there is a verdict.")?)?,
            changes: counter("edgeloop_agent_verdict_changes_total", "Verdict changes by new verdict.", &["to"])?,
            last_round: add(registry, Gauge::new("edgeloop_agent_last_round_timestamp_seconds", "When the last round ended.")?)?,
            writes: counter("edgeloop_agent_sink_writes_total", "Attempts to tell the verdict, by sink and result.", &["sink", "result"])?,
            hold: add(registry, Gauge::new("edgeloop_agent_hold_seconds", "How long the verdict is still held, because it flapped.")?)?,
            leases: counter("edgeloop_agent_lease_renewals_total", "Attempts to renew the node's Lease, by result.", &["result"])?,
            lease_renewed: add(
                registry,
                Gauge::new(
                    "edgeloop_agent_lease_renewed_timestamp_seconds",
                    "When the node's Lease was last renewed; its age is time() - this.",
                )?,
            )?,
        })
    }

    /// After a round that ended at `unix` seconds.
    pub fn round(&self, round: &Round, unix: f64) {
        self.rounds.with_label_values(&[round.reason.as_str(), round.method.as_str()]).inc();
        self.requests.inc_by(u64::from(round.sent));
        self.lost.inc_by(u64::from(round.sent - round.answered));
        if let Some(rtt) = round.rtt.as_ref().map(Duration::as_secs_f64) {
            self.rtt.observe(rtt);
        }
        self.last_round.set(unix);
    }

    /// After a change of the verdict.
    pub fn change(&self, change: &Change) {
        self.online.set(i64::from(change.to == Verdict::Online));
        self.known.set(1);
        self.changes.with_label_values(&[change.to.as_str()]).inc();
    }

    /// What is left of the hold time.
    pub fn hold(&self, left: Duration) {
        self.hold.set(left.as_secs_f64());
    }

    /// After an attempt to renew the Lease that ended at `unix` seconds.
    pub fn lease(&self, ok: bool, unix: f64) {
        self.leases.with_label_values(&[if ok { "ok" } else { "error" }]).inc();
        if ok {
            self.lease_renewed.set(unix);
        }
    }

    /// After an attempt to write.
    pub fn write(&self, sink: &str, ok: bool) {
        self.writes.with_label_values(&[sink, if ok { "ok" } else { "error" }]).inc();
    }
}
