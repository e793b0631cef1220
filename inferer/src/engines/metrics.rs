//! What the engines show of themselves.

use prometheus::core::Collector;
use prometheus::{GaugeVec, IntCounterVec, IntGauge, Opts, Registry};

use super::Engines;
use super::budget::Budget;
use super::kind::Kind;
use super::remembered::Speed;

/// Counters of the engines. Clones are the same counters.
#[derive(Debug, Clone)]
pub struct EngineMetrics {
    info: GaugeVec,
    run: GaugeVec,
    failures: IntCounterVec,
    memory: IntGauge,
    memory_limit: IntGauge,
}

impl EngineMetrics {
    /// Makes and registers them.
    ///
    /// # Errors
    /// The registry already holds one of the names.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        fn keep<C: Collector + Clone + 'static>(registry: &Registry, collector: prometheus::Result<C>) -> prometheus::Result<C> {
            let collector = collector?;
            registry.register(Box::new(collector.clone()))?;
            Ok(collector)
        }
        let kind = &["device", "precision"];
        Ok(Self {
            info: keep(
                registry,
                GaugeVec::new(
                    Opts::new("edgeloop_engine_info", "The engines in service, one line an input shape: always 1."),
                    &["device", "precision", "library_version", "shape", "instances", "threads", "solo"],
                ),
            )?,
            run: keep(
                registry,
                GaugeVec::new(
                    Opts::new("edgeloop_engine_measured_seconds", "A run of each kind of engine that DEVICE or PRECISION auto measured."),
                    kind,
                ),
            )?,
            failures: keep(
                registry,
                IntCounterVec::new(Opts::new("edgeloop_engine_failures_total", "Engines that failed while they served."), kind),
            )?,
            memory: keep(registry, IntGauge::new("edgeloop_engine_memory_bytes", "About what all engines take."))?,
            memory_limit: keep(registry, IntGauge::new("edgeloop_engine_memory_limit_bytes", "What all engines may take."))?,
        })
    }

    /// An engine that failed while it served.
    pub(super) fn failed(&self, kind: Kind) {
        self.failures.with_label_values(&[&kind.device.to_string(), &kind.precision.to_string()]).inc();
    }

    /// What `auto` measured.
    pub(super) fn measured(&self, speeds: &[Speed]) {
        self.run.reset();
        for Speed { kind, ms } in speeds {
            self.run.with_label_values(&[&kind.device.to_string(), &kind.precision.to_string()]).set(ms / 1e3);
        }
    }

    /// What is in service.
    pub(super) fn show(&self, engines: &Engines, budget: &Budget) {
        self.info.reset();
        for resident in [Some(engines.square()), engines.other()].into_iter().flatten() {
            let info = resident.info();
            let labels = [
                info.device.to_string(),
                info.precision.to_string(),
                info.library_version.clone(),
                resident.shape.to_string(),
                resident.pool.instances().to_string(),
                resident.threads.to_string(),
                resident.pool.has_solo().to_string(),
            ];
            self.info.with_label_values(&labels).set(1.0);
        }
        self.memory.set(i64::try_from(budget.used()).unwrap_or(i64::MAX));
        self.memory_limit.set(i64::try_from(budget.limit()).unwrap_or(i64::MAX));
    }
}
