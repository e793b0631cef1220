//! Series by version: as many as are looked at, and no more. A store publishes eight versions a day, each with its classes; a
//! server that kept them all would grow its own metrics without end.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use edgeloop_store::Version;
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec};

/// The one in service, the one before, and one that somebody went back to. Older versions' series are dropped.
const MOST_VERSIONS: usize = 3;
/// Classes with series of their own; those behind them share one. 3 versions × 101 classes × 14 series are 4,242 at most.
const MOST_CLASSES: usize = 100;
/// Where classes without series of their own are counted.
const OTHER: &str = "other";

const STAGES: [&str; 5] = ["decode", "queue", "infer", "post", "total"];

/// The series of the last versions. Clones are the same series.
#[derive(Debug, Clone)]
pub(super) struct Versions {
    stages: HistogramVec,
    detections: IntCounterVec,
    confidences: HistogramVec,
    known: Arc<RwLock<VecDeque<Arc<OfVersion>>>>,
}

/// One version's series.
#[derive(Debug)]
pub(super) struct OfVersion {
    version: Version,
    names: Vec<String>,
    stages: [Histogram; STAGES.len()],
    classes: Vec<OnceLock<(IntCounter, Histogram)>>,
    vectors: (IntCounterVec, HistogramVec),
}

impl Versions {
    pub(super) fn new(stages: HistogramVec, detections: IntCounterVec, confidences: HistogramVec) -> Self {
        Self { stages, detections, confidences, known: Arc::default() }
    }

    /// A version's series; the oldest version's are dropped for a new one's.
    pub(super) fn of(&self, version: &Version, classes: &[String]) -> Arc<OfVersion> {
        let find = |known: &VecDeque<Arc<OfVersion>>| known.iter().find(|of| of.version == *version).cloned();
        if let Some(found) = find(&self.known.read().unwrap_or_else(PoisonError::into_inner)) {
            return found;
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = find(&known) {
            return found;
        }
        if known.len() == MOST_VERSIONS
            && let Some(oldest) = known.pop_front()
        {
            self.forget(&oldest);
        }
        let names = classes.iter().take(MOST_CLASSES).cloned().chain((classes.len() > MOST_CLASSES).then(|| OTHER.to_owned()));
        let names: Vec<String> = names.collect();
        let new = Arc::new(OfVersion {
            version: version.clone(),
            stages: STAGES.map(|stage| self.stages.with_label_values(&[stage, version.as_str()])),
            classes: names.iter().map(|_| OnceLock::new()).collect(),
            names,
            vectors: (self.detections.clone(), self.confidences.clone()),
        });
        known.push_back(new.clone());
        new
    }

    fn forget(&self, old: &OfVersion) {
        // An error means that there was no such series: a class that was never found.
        for stage in STAGES {
            let _ = self.stages.remove_label_values(&[stage, old.version.as_str()]);
        }
        for name in &old.names {
            let labels = [name.as_str(), old.version.as_str()];
            let _ = self.detections.remove_label_values(&labels);
            let _ = self.confidences.remove_label_values(&labels);
        }
    }
}

impl OfVersion {
    /// Times of an image: decode, queue, infer, post, total.
    pub(super) fn stages(&self, times: [Option<Duration>; STAGES.len()]) {
        for (stage, time) in self.stages.iter().zip(times) {
            if let Some(time) = time {
                stage.observe(time.as_secs_f64());
            }
        }
    }

    /// An object of a class.
    pub(super) fn found(&self, class: usize, confidence: f64) {
        let at = class.min(self.names.len().saturating_sub(1));
        let Some((name, series)) = self.names.get(at).zip(self.classes.get(at)) else { return };
        let (count, confidences) = series.get_or_init(|| {
            let labels = [name.as_str(), self.version.as_str()];
            (self.vectors.0.with_label_values(&labels), self.vectors.1.with_label_values(&labels))
        });
        count.inc();
        confidences.observe(confidence);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use prometheus::core::Collector;
    use prometheus::{HistogramOpts, Opts};

    fn versions() -> Versions {
        let histogram = |name, labels: &[&str]| HistogramVec::new(HistogramOpts::new(name, name), labels).unwrap();
        let detections = IntCounterVec::new(Opts::new("detections", "detections"), &["class", "version"]).unwrap();
        Versions::new(histogram("stages", &["stage", "version"]), detections, histogram("confidences", &["class", "version"]))
    }

    fn series(collector: &impl Collector) -> usize {
        collector.collect().iter().map(|family| family.get_metric().len()).sum()
    }

    #[test]
    fn a_thousand_versions_leave_the_series_of_three() {
        let versions = versions();
        let classes: Vec<String> = ["bolt", "nut"].map(Into::into).into();
        for number in 0..1000 {
            let version = format!("20261121_{:02}{:02}{:02}", number / 3600, number / 60 % 60, number % 60).parse().unwrap();
            let of = versions.of(&version, &classes);
            of.stages([Some(Duration::from_millis(1)); 5]);
            (0..2).for_each(|class| of.found(class, 0.5));
        }
        assert_eq!((series(&versions.stages), series(&versions.detections), series(&versions.confidences)), (15, 6, 6));
    }

    #[test]
    fn classes_behind_the_hundredth_share_a_series() {
        let versions = versions();
        let classes: Vec<String> = (0..365).map(|class| format!("class {class}")).collect();
        let of = versions.of(&"20261121_030000".parse().unwrap(), &classes);
        (0..365).for_each(|class| of.found(class, 0.5));
        assert_eq!(series(&versions.detections), 101);
        assert_eq!(versions.detections.with_label_values(&["other", "20261121_030000"]).get(), 265);
    }
}
