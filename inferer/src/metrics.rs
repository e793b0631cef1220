//! What the inferer counts. Names follow Prometheus' rules; the two `ei_` gauges keep the names that a seed's dashboards use.

mod versions;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use edgeloop_store::Metadata;
use prometheus::core::Collector;
use prometheus::{Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry};

use crate::infer::{Answer, Spent};
use crate::slot::Serving;
use versions::Versions;

/// Window of the two rates: long enough to be steady at one image in 2 s, short enough to show a stall.
const RATE_WINDOW: Duration = Duration::from_secs(10);

/// Why images are not inferred although somebody asked: no place, no memory for the body, too late, or the asker has gone.
const DROPS: [&str; 4] = ["busy", "memory", "deadline", "gone"];

/// All counters. Clones are the same counters.
#[derive(Debug, Clone)]
pub struct Metrics {
    requests: IntCounterVec,
    images: IntCounterVec,
    versions: Versions,
    dropped: IntCounterVec,
    inside: IntGauge,
    queued: IntGauge,
    refused: IntCounterVec,
    folder_images: IntGauge,
    results: IntCounterVec,
    model: GaugeVec,
    loaded: Gauge,
    created: Gauge,
    quality: GaugeVec,
    training: GaugeVec,
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
        let tenths = (1..=10).map(|tenth| f64::from(tenth) / 10.0).collect();
        let histogram = |name: &str, help: &str, labels: &[&str]| {
            keep(registry, HistogramVec::new(HistogramOpts::new(name, help).buckets(time.clone()), labels))
        };
        Ok(Self {
            requests: counters("edgeloop_infer_requests_total", "Answers of POST /infer by HTTP status.", &["status"])?,
            images: counters("edgeloop_infer_images_total", "Images that were inferred, by where they came from.", &["source"])?,
            versions: Versions::new(
                histogram(
                    "edgeloop_infer_stage_seconds",
                    "Time of an image by stage; total is from the body's arrival.",
                    &["stage", "version"],
                )?,
                counters("edgeloop_infer_detections_total", "Objects found.", &["class", "version"])?,
                keep(
                    registry,
                    HistogramVec::new(
                        HistogramOpts::new("edgeloop_infer_confidence_ratio", "Confidence of the objects found.").buckets(tenths),
                        &["class", "version"],
                    ),
                )?,
            ),
            dropped: {
                let dropped =
                    counters("edgeloop_infer_dropped_total", "Images that were asked for and not inferred, by reason.", &["reason"])?;
                // A series that begins at its first drop hides that drop from rate().
                DROPS.iter().for_each(|reason| dropped.with_label_values(&[*reason]).reset());
                dropped
            },
            inside: keep(registry, IntGauge::new("edgeloop_infer_inside", "Images between admission and answer; at most QUEUE."))?,
            queued: keep(registry, IntGauge::new("edgeloop_infer_queued", "Admitted images that wait for a decoding thread."))?,
            refused: counters("edgeloop_auth_refused_total", "Requests without the right to what they asked for, by reason.", &["reason"])?,
            folder_images: keep(registry, IntGauge::new("edgeloop_folder_images", "Images that the folder loop knows of."))?,
            results: counters("edgeloop_results_lines_total", "Lines for RESULTS_DIR, by what became of them.", &["result"])?,
            model: keep(
                registry,
                GaugeVec::new(
                    Opts::new("edgeloop_model_info", "The model in service: always 1."),
                    &["version", "device", "precision", "library_version"],
                ),
            )?,
            loaded: gauge("edgeloop_model_loaded_timestamp_seconds", "When the model in service was loaded.")?,
            created: gauge(
                "edgeloop_model_created_timestamp_seconds",
                "When the version in service was published, by its publisher's clock.",
            )?,
            quality: keep(
                registry,
                GaugeVec::new(
                    Opts::new(
                        "edgeloop_model_quality_ratio",
                        "How good the version in service is on the val split, as its trainer measured.",
                    ),
                    &["version", "measure"],
                ),
            )?,
            training: keep(
                registry,
                GaugeVec::new(
                    Opts::new("edgeloop_model_training_seconds", "How long the training of the version in service took."),
                    &["version"],
                ),
            )?,
            fallback: keep(registry, IntGauge::new("edgeloop_engine_fallback", "1 while another engine than the one asked for serves."))?,
            reloads: counters("edgeloop_model_reloads_total", "Tries to put a version into service, by result.", &["result"])?,
            reload_seconds: histogram("edgeloop_model_reload_seconds", "Time of a reload by step.", &["step"])?,
            quarantined: keep(
                registry,
                IntGauge::new("edgeloop_model_quarantined", "Versions that this process does not serve because they failed."),
            )?,
            infer_fps: gauge("ei_infer_fps", "Images inferred a second, over the last 10 s.")?,
            drop_fps: gauge("ei_drop_fps", "Images dropped a second, over the last 10 s.")?,
            rates: Arc::default(),
        })
    }

    /// An answer of `POST /infer`.
    pub fn request(&self, status: StatusCode) {
        self.requests.with_label_values(&[status.as_str()]).inc();
    }

    /// Images that were asked for and are not inferred; `reason` is one of `busy`, `memory`, `deadline`, `gone`.
    pub fn dropped(&self, reason: &str, images: usize) {
        self.dropped.with_label_values(&[reason]).inc_by(images as u64);
    }

    /// An image that was inferred; `source` is `http` or `folder`. `total` is the time from its arrival, where it arrived.
    pub fn answered(&self, source: &str, serving: &Serving, answer: &Answer, spent: &Spent, total: Option<Duration>) {
        self.images.with_label_values(&[source]).inc();
        let version = self.versions.of(serving.version(), &serving.metadata.classes);
        let stages = [Some(spent.decode), Some(spent.queue), Some(spent.infer), Some(spent.post), total];
        version.stages(stages);
        answer.detections.iter().for_each(|found| version.found(found.class as usize, found.confidence));
    }

    /// So many images more are inside.
    pub fn inside(&self, images: i64) {
        self.inside.add(images);
    }

    /// So many images more wait for a decoding thread.
    pub fn queued(&self, images: i64) {
        self.queued.add(images);
    }

    /// A request without the right to what it asked for.
    pub fn refused(&self, reason: &str) {
        self.refused.with_label_values(&[reason]).inc();
    }

    /// Images that the folder loop knows of.
    pub fn folder_images(&self, images: usize) {
        self.folder_images.set(images as i64);
    }

    /// A line for `RESULTS_DIR`; `result` is `written` or `dropped`.
    pub fn result_line(&self, result: &str) {
        self.results.with_label_values(&[result]).inc();
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
        self.version(&serving.metadata);
    }

    /// What the store says about the version in service; others' series end.
    fn version(&self, metadata: &Metadata) {
        self.created.set(metadata.created.timestamp_millis() as f64 / 1000.0);
        let (version, found) = (metadata.version.as_str(), &metadata.metrics);
        self.quality.reset();
        for (measure, value) in
            [("map50", found.map50), ("map50_95", found.map50_95), ("precision", found.precision), ("recall", found.recall)]
        {
            self.quality.with_label_values(&[version, measure]).set(value);
        }
        self.training.reset();
        self.training.with_label_values(&[version]).set(metadata.training.seconds);
    }

    /// Images inferred a second, over the last 10 s.
    #[must_use]
    pub fn infer_fps(&self) -> f64 {
        self.infer_fps.get()
    }

    /// Brings the two rates up to date; called about once a second.
    pub fn tick(&self, now: Instant) {
        let dropped: u64 = DROPS.iter().map(|reason| self.dropped.with_label_values(&[*reason]).get()).sum();
        let images = ["http", "folder"].iter().map(|source| self.images.with_label_values(&[*source]).get()).sum();
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        rates.push_back((now, images, dropped));
        while rates.len() > 2 && now.duration_since(rates[1].0) >= RATE_WINDOW {
            rates.pop_front();
        }
        let (then, images_then, dropped_then) = rates[0];
        let seconds = now.duration_since(then).as_secs_f64();
        if seconds > 0.0 {
            self.infer_fps.set((images - images_then) as f64 / seconds);
            self.drop_fps.set((dropped - dropped_then) as f64 / seconds);
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
            metrics.images.with_label_values(&["http"]).inc_by(5);
            metrics.dropped("busy", 1);
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
        let version = metrics.versions.of(&"20261121_030000".parse().unwrap(), &["bolt".into()]);
        version.stages([Some(Duration::from_millis(3)); 5]);
        version.found(0, 0.9);
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
