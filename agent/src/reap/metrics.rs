use prometheus::core::Collector;
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use super::{Outcome, Write};

const RESULTS: [&str; 3] = ["ok", "gone", "error"];
const LOOKS: [&str; 2] = ["confirmed", "mistaken"];

/// The reaper's metrics, `edgeloop_reaper_…`.
#[derive(Clone, Debug)]
pub(super) struct Metrics {
    nodes: IntGaugeVec,
    leases: IntGauge,
    contact: IntGauge,
    writes: IntCounterVec,
    second_looks: IntCounterVec,
    outages: IntCounter,
}

impl Metrics {
    pub(super) fn register(registry: &Registry) -> prometheus::Result<Self> {
        fn add<M: Collector + Clone + 'static>(registry: &Registry, metric: M) -> prometheus::Result<M> {
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        }
        let counters = |name: &str, help: &str, labels: &[&str]| add(registry, IntCounterVec::new(Opts::new(name, help), labels)?);
        let metrics = Metrics {
            nodes: add(
                registry,
                IntGaugeVec::new(Opts::new("edgeloop_reaper_nodes", "Nodes with the label, by what it says."), &["label"])?,
            )?,
            leases: add(registry, IntGauge::new("edgeloop_reaper_leases", "Leases of agents.")?)?,
            contact: add(registry, IntGauge::new("edgeloop_reaper_in_contact", "1 while the API server is in sight.")?)?,
            writes: counters("edgeloop_reaper_writes_total", "Nodes written, by what was done and how it ended.", &["write", "result"])?,
            second_looks: counters(
                "edgeloop_reaper_second_looks_total",
                "Second looks before a mass change, by what they said.",
                &["result"],
            )?,
            outages: add(registry, IntCounter::new("edgeloop_reaper_outages_total", "How often contact with the API server was lost.")?)?,
        };
        // A series that begins at its first event hides that event from rate().
        for write in [Write::Offline, Write::Remove] {
            RESULTS.iter().for_each(|result| metrics.writes.with_label_values(&[write.as_str(), *result]).reset());
        }
        LOOKS.iter().for_each(|look| metrics.second_looks.with_label_values(&[*look]).reset());
        Ok(metrics)
    }

    pub(super) fn counts(&self, (online, other, leases): (usize, usize, usize), contact: bool) {
        let set = |gauge: &IntGauge, count: usize| gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        set(&self.nodes.with_label_values(&["online"]), online);
        set(&self.nodes.with_label_values(&["other"]), other);
        set(&self.leases, leases);
        self.contact.set(i64::from(contact));
    }

    pub(super) fn write(&self, write: Write, outcome: &Outcome) {
        let result = match outcome {
            Outcome::Done => RESULTS[0],
            Outcome::NotThere => RESULTS[1],
            Outcome::Refused(_) | Outcome::NoAnswer(_) => RESULTS[2],
        };
        self.writes.with_label_values(&[write.as_str(), result]).inc();
    }

    pub(super) fn second_look(&self, confirmed: bool) {
        self.second_looks.with_label_values(&[LOOKS[usize::from(!confirmed)]]).inc();
    }

    pub(super) fn outage(&self) {
        self.outages.inc();
    }
}
