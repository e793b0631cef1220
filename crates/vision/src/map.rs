//! How good is a detector: mean average precision by the COCO convention.
//!
//! For each class and each IoU threshold .50, .55, … .95: the detections of a picture, most confident first, each take the
//! still free truth that they overlap most, if by the threshold or more (one to one). Over all pictures that gives a
//! precision-recall curve; precision is replaced by its envelope (the best at that recall or beyond); AP is the **mean of
//! the envelope at the 101 recalls 0, .01, … 1** as in COCO's own tools. ([`Evaluator::by_trapezoid`] integrates the same
//! points as today's YOLO tools do, which gives slightly different figures.) Unlike COCO's tools, nothing is cut at 100 detections a
//! picture: the caller's NMS decides ([`NmsConfig::judging`](crate::nms::NmsConfig::judging): 300). Classes without a
//! truth have no AP and do not enter the means.
//!
//! Precision and recall are those at IoU .50 and at the one confidence where the mean F1 over the classes is highest.
//!
//! [`Evaluator::ranking`] keeps which picture each hit and miss is from, so that the figures can be had again for the same
//! pictures in other numbers (a bootstrap) without matching anything anew.

mod ranking;
mod trapezoid;

pub mod confusion;
pub mod curve;

use serde::{Deserialize, Serialize};

use crate::boxes::Xyxy;
use crate::nms::Detection;

use curve::Curve;
pub use ranking::{Ranking, Scratch};

/// One labelled object, in the same pixels as the detections it is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Truth {
    /// Index into the class names.
    pub class: u32,
    /// Where it is.
    pub bbox: Xyxy,
}

/// One class' figures, each 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClassReport {
    /// Labelled objects. With none the figures below are 0 and mean nothing.
    pub boxes: u64,
    /// AP at IoU .50.
    pub map50: f64,
    /// Mean AP over the ten IoU thresholds.
    pub map50_95: f64,
    /// Precision at [`MapReport::confidence`].
    pub precision: f64,
    /// Recall at [`MapReport::confidence`].
    pub recall: f64,
}

/// All figures. Means go over the classes that have a truth; without any, everything is 0.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MapReport {
    /// Mean AP at IoU .50.
    pub map50: f64,
    /// Mean AP over the ten IoU thresholds.
    pub map50_95: f64,
    /// Mean precision at `confidence`.
    pub precision: f64,
    /// Mean recall at `confidence`.
    pub recall: f64,
    /// Where the mean F1 at IoU .50 is highest.
    pub confidence: f32,
    /// Pictures that were added.
    pub images: u64,
    /// One entry for each class, in their order.
    pub per_class: Vec<ClassReport>,
}

/// IoU thresholds .50, .55, … .95.
const THRESHOLDS: usize = 10;

fn threshold(i: usize) -> f32 {
    (50 + 5 * i) as f32 / 100.0
}

/// A detection after matching: bit `i` is set where it took a truth at threshold `i`.
#[derive(Clone, Copy)]
struct Matched {
    confidence: f32,
    picture: u32,
    hits: u16,
}

#[derive(Default)]
struct Class {
    truths: u64,
    /// Pictures that have a truth, and how many.
    pictures: Vec<(u32, u32)>,
    matched: Vec<Matched>,
}

/// Gathers pictures (fewer than 2³²), then says how good the detections were. Keeps 12 bytes a detection.
pub struct Evaluator {
    classes: Vec<Class>,
    images: u64,
}

impl Evaluator {
    /// An evaluator for so many classes.
    pub fn new(classes: usize) -> Evaluator {
        Evaluator { classes: (0..classes).map(|_| Class::default()).collect(), images: 0 }
    }

    /// Adds one picture. Detections without a finite confidence and anything of a class out of range are left out; a
    /// box that is no box is a false positive.
    pub fn add_image(&mut self, detections: &[Detection], truths: &[Truth]) -> &mut Evaluator {
        let picture = self.images as u32;
        self.images += 1;
        for (index, class) in self.classes.iter_mut().enumerate() {
            let truths: Vec<Xyxy> = truths.iter().filter(|t| t.class as usize == index).map(|t| t.bbox).collect();
            let mut found: Vec<Detection> =
                detections.iter().filter(|d| d.class as usize == index && d.confidence.is_finite()).copied().collect();
            // Stable: among equals the caller's order decides.
            found.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
            class.truths += truths.len() as u64;
            if !truths.is_empty() {
                class.pictures.push((picture, truths.len() as u32));
            }
            class.matched.extend(match_image(picture, &found, &truths));
        }
        self
    }

    /// The figures over all pictures so far.
    pub fn finish(&mut self) -> MapReport {
        let mut report = MapReport { images: self.images, ..MapReport::default() };
        let ranking = self.ranking();
        let (once, mut scratch) = (vec![1; ranking.images()], Scratch::default());
        for (index, class) in self.classes.iter().enumerate() {
            let (map50, map50_95) = ranking.average_precision(index, &once, &mut scratch).unwrap_or_default();
            report.per_class.push(ClassReport { boxes: class.truths, map50, map50_95, ..ClassReport::default() });
        }
        report.confidence = self.best_confidence();
        for (class, line) in self.classes.iter().zip(&mut report.per_class) {
            let shown = class.matched.iter().take_while(|m| m.confidence >= report.confidence);
            let (hits, shown) = shown.fold((0u64, 0u64), |(hits, n), m| (hits + u64::from(m.hits & 1), n + 1));
            line.precision = if shown > 0 { hits as f64 / shown as f64 } else { 0.0 };
            line.recall = if class.truths > 0 { hits as f64 / class.truths as f64 } else { 0.0 };
        }
        let counted: Vec<&ClassReport> = report.per_class.iter().filter(|c| c.boxes > 0).collect();
        let mean = |figure: fn(&ClassReport) -> f64| counted.iter().map(|c| figure(c)).sum::<f64>() / counted.len().max(1) as f64;
        let means = (mean(|c| c.map50), mean(|c| c.map50_95), mean(|c| c.precision), mean(|c| c.recall));
        (report.map50, report.map50_95, report.precision, report.recall) = means;
        report
    }

    /// mAP50 and mAP50-95 over all pictures so far, by the convention of today's YOLO tools; (0, 0) without a truth.
    pub fn by_trapezoid(&mut self) -> (f64, f64) {
        self.sort();
        let aps: Vec<_> = self.classes.iter().filter(|class| class.truths > 0).map(trapezoid::average_precision).collect();
        let classes = aps.len().max(1) as f64;
        let all: f64 = aps.iter().flatten().sum();
        (aps.iter().map(|ap| ap[0]).sum::<f64>() / classes, all / THRESHOLDS as f64 / classes)
    }

    /// Precision against recall at IoU .50, a curve for each class.
    pub fn curves(&mut self) -> Vec<Curve> {
        self.sort();
        self.classes.iter().map(Curve::of).collect()
    }

    fn sort(&mut self) {
        for class in &mut self.classes {
            // Stable: among equals the order of the pictures decides.
            class.matched.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
        }
    }

    /// The hits and misses of all pictures so far, ranked.
    pub fn ranking(&mut self) -> Ranking {
        self.sort();
        Ranking::new(&self.classes, self.images as usize)
    }

    /// One walk down all confidences. A class' F1 is 2 tp / (detections shown + truths), so each step changes one summand.
    fn best_confidence(&self) -> f32 {
        let mut steps: Vec<(f32, usize, bool)> = Vec::new();
        for (index, class) in self.classes.iter().enumerate().filter(|(_, c)| c.truths > 0) {
            steps.extend(class.matched.iter().map(|m| (m.confidence, index, m.hits & 1 == 1)));
        }
        steps.sort_by(|a, b| b.0.total_cmp(&a.0));
        let mut state = vec![(0u64, 0u64); self.classes.len()];
        let f1 = |(hits, shown): (u64, u64), truths: u64| 2.0 * hits as f64 / (shown + truths) as f64;
        let (mut sum, mut best, mut confidence) = (0.0, 0.0, 0.0);
        for (at, &(score, index, hit)) in steps.iter().enumerate() {
            let truths = self.classes[index].truths;
            sum -= f1(state[index], truths);
            state[index] = (state[index].0 + u64::from(hit), state[index].1 + 1);
            sum += f1(state[index], truths);
            // Equal confidences are shown together or not at all.
            if steps.get(at + 1).is_none_or(|next| next.0 < score) && sum > best + 1e-12 {
                (best, confidence) = (sum, score);
            }
        }
        confidence
    }
}

/// One class in one picture; `found` is sorted by confidence. COCO's greedy rule, at each threshold on its own.
fn match_image(picture: u32, found: &[Detection], truths: &[Xyxy]) -> Vec<Matched> {
    let mut matched: Vec<Matched> = found.iter().map(|d| Matched { confidence: d.confidence, picture, hits: 0 }).collect();
    if truths.is_empty() {
        return matched;
    }
    let overlaps: Vec<f32> = found.iter().flat_map(|d| truths.iter().map(|t| d.bbox.iou(*t))).collect();
    let mut taken = vec![0u16; truths.len()];
    for (row, detection) in overlaps.chunks_exact(truths.len()).zip(&mut matched) {
        for i in 0..THRESHOLDS {
            let bit = 1 << i;
            let free = row.iter().enumerate().filter(|&(t, &iou)| taken[t] & bit == 0 && iou >= threshold(i));
            if let Some((truth, _)) = free.max_by(|a, b| a.1.total_cmp(b.1)) {
                taken[truth] |= bit;
                detection.hits |= bit;
            }
        }
    }
    matched
}

#[cfg(test)]
mod tests;
