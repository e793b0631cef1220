//! What the inferer counts. Names follow Prometheus' rules; the two `ei_` gauges keep the names that a seed's dashboards use.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use prometheus::core::Collector;
use prometheus::{Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use crate::slot::Serving;

/// Window of the two rates: long enough to be steady at one image in 2 s, short enough to show a stall.
const RATE_WINDOW: Duration = Duration::from_secs(10);

/// All counters. Clones are the same counters.
#[derive(Debug, Clone)]
pub struct Metrics {
    requests: IntCounterVec,
    images: IntCounterVec,
    detections: IntCounter,
    stages: HistogramVec,
    dropped: IntCounter,
    model: GaugeVec,
    loaded: Gauge,
    fallback: IntGauge,
    reloads: IntCounterVec,
    reload_seconds: HistogramVec,
    quarantined: IntGauge,
    infer_fps: Gauge,
    drop_fps: Gauge,
    rates: Arc<Mutex<VecDeque<(Instant, u64, u64)>>>,
}

impl Metrics {
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
        let counters = |name: &str, help: &str, labels: &[&str]| keep(registry, IntCounterVec::new(Opts::new(name, help), labels));
        let gauge = |name: &str, help: &str| keep(registry, Gauge::new(name, help));
        // From a tiny model on a fast box (1 ms) to an x model on a slow one with a queue before it (10 s).
        let time = vec![0.001, 0.002, 0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];
        let histogram = |name: &str, help: &str, labels: &[&str]| {
            keep(registry, HistogramVec::new(HistogramOpts::new(name, help).buckets(time.clone()), labels))
        };
        Ok(Self {
            requests: counters("edgeloop_infer_requests_total", "Answers of POST /infer by HTTP status.", &["status"])?,
            images: counters("edgeloop_infer_images_total", "Images that were inferred, by where they came from.", &["source"])?,
            detections: keep(registry, IntCounter::new("edgeloop_infer_detections_total", "Objects found."))?,
            stages: histogram("edgeloop_infer_stage_seconds", "Time of an image by stage; total is from the body's arrival.", &["stage"])?,
            dropped: keep(registry, IntCounter::new("edgeloop_infer_dropped_total", "Requests refused because all places were taken."))?,
            model: keep(
                registry,
                GaugeVec::new(
                    Opts::new("edgeloop_model_info", "The model in service: always 1."),
                    &["version", "device", "precision", "library_version"],
                ),
            )?,
            loaded: gauge("edgeloop_model_loaded_timestamp_seconds", "When the model in service was loaded.")?,
            fallback: keep(registry, IntGauge::new("edgeloop_engine_fallback", "1 while another engine than the one asked for serves."))?,
            reloads: counters("edgeloop_model_reloads_total", "Tries to put a version into service, by result.", &["result"])?,
            reload_seconds: histogram("edgeloop_model_reload_seconds", "Time of a reload by step.", &["step"])?,
            quarantined: keep(
                registry,
                IntGauge::new("edgeloop_model_quarantined", "Versions that this process does not serve because they failed."),
            )?,
            infer_fps: gauge("ei_infer_fps", "Images inferred a second, over the last 10 s.")?,
            drop_fps: gauge("ei_drop_fps", "Requests refused a second, over the last 10 s.")?,
            rates: Arc::default(),
        })
    }

    /// An answer of `POST /infer`.
    pub fn request(&self, status: StatusCode) {
        self.requests.with_label_values(&[status.as_str()]).inc();
    }

    /// A request that found no place.
    pub fn dropped(&self) {
        self.dropped.inc();
    }

    /// An image that was inferred; `source` is `http` or `folder`.
    pub fn answered(&self, source: &str, detections: usize) {
        self.images.with_label_values(&[source]).inc();
        self.detections.inc_by(detections as u64);
    }

    /// How long a stage of an image took.
    pub fn stage(&self, stage: &str, time: Duration) {
        self.stages.with_label_values(&[stage]).observe(time.as_secs_f64());
    }

    /// How long a step of a reload took.
    pub fn reload_step(&self, step: &str, time: Duration) {
        self.reload_seconds.with_label_values(&[step]).observe(time.as_secs_f64());
    }

    /// A try to put a version into service; `result` is `ok` or the failure's short name.
    pub fn reload(&self, result: &str) {
        self.reloads.with_label_values(&[result]).inc();
    }

    /// Versions in quarantine.
    pub fn quarantined(&self, versions: usize) {
        self.quarantined.set(versions as i64);
    }

    /// Another model is in service.
    pub fn serving(&self, serving: &Serving) {
        let resident = serving.engines.square();
        let info = resident.info();
        let labels = [serving.version().as_str(), &info.device.to_string(), &info.precision.to_string(), info.library_version.as_str()];
        self.model.reset();
        self.model.with_label_values(&labels).set(1.0);
        self.fallback.set(i64::from(resident.fallback.is_some()));
        self.loaded.set(serving.since.duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs_f64());
    }

    /// Brings the two rates up to date; called about once a second.
    pub fn tick(&self, now: Instant) {
        let images = ["http", "folder"].iter().map(|source| self.images.with_label_values(&[*source]).get()).sum();
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        rates.push_back((now, images, self.dropped.get()));
        while rates.len() > 2 && now.duration_since(rates[1].0) >= RATE_WINDOW {
            rates.pop_front();
        }
        let (then, images_then, dropped_then) = rates[0];
        let seconds = now.duration_since(then).as_secs_f64();
        if seconds > 0.0 {
            self.infer_fps.set((images - images_then) as f64 / seconds);
            self.drop_fps.set((self.dropped.get() - dropped_then) as f64 / seconds);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_rates_look_back_ten_seconds() {
        let metrics = Metrics::register(&Registry::new()).unwrap();
        let start = Instant::now();
        let at = |s: u64| start + Duration::from_secs(s);
        metrics.tick(at(0));
        for second in 1..=10 {
            (0..5).for_each(|_| metrics.answered("http", 1));
            metrics.dropped();
            metrics.tick(at(second));
        }
        assert_eq!((metrics.infer_fps.get(), metrics.drop_fps.get()), (5.0, 1.0));
        (11..=20).for_each(|second| metrics.tick(at(second)));
        assert_eq!((metrics.infer_fps.get(), metrics.drop_fps.get()), (0.0, 0.0));
    }

    #[test]
    fn every_name_follows_the_rules() {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry).unwrap();
        metrics.request(StatusCode::OK);
        metrics.stage("total", Duration::from_millis(3));
        metrics.reload("ok");
        for family in registry.gather() {
            let name = family.name();
            assert!(name.starts_with("edgeloop_") || name == "ei_infer_fps" || name == "ei_drop_fps", "{name}");
            assert!(!family.help().is_empty(), "{name} says nothing");
            let counter = family.get_field_type() == prometheus::proto::MetricType::COUNTER;
            assert_eq!(counter, name.ends_with("_total"), "{name}");
        }
    }
}
