//! From a network's raw output to detections: threshold, keep the best, drop doubles.

use serde::{Deserialize, Serialize};

use crate::boxes::Xyxy;

/// One found object.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    /// Index into the model's class names.
    pub class: u32,
    /// The class score, 0 to 1.
    pub confidence: f32,
    /// Where, in pixels of whatever picture the caller is in.
    pub bbox: Xyxy,
}

/// How raw output becomes detections.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NmsConfig {
    /// Scores below are dropped.
    pub confidence: f32,
    /// Of two boxes of one class that overlap by more than this the weaker one is dropped.
    pub iou: f32,
    /// At most so many detections a picture, the most confident ones.
    pub max_detections: usize,
    /// May one anchor give several classes? Yes when judging, no when serving.
    pub multi_label: bool,
}

impl NmsConfig {
    /// What `POST /infer` answers by default.
    pub const fn serving() -> NmsConfig {
        NmsConfig { confidence: 0.25, iou: 0.7, max_detections: 300, multi_label: false }
    }

    /// What mAP is computed from: nearly everything, so that the precision curve reaches its end.
    pub const fn judging() -> NmsConfig {
        NmsConfig { confidence: 0.001, iou: 0.7, max_detections: 300, multi_label: true }
    }
}

/// Only so many candidates, the most confident ones, go into the pairwise part: judging an untrained network would
/// otherwise compare 8400 anchors x 80 classes. With 300 kept, 30,000 candidates cost at most 9 million overlaps.
pub const MAX_CANDIDATES: usize = 30_000;

/// Scores that are looked at together.
const BLOCK: usize = 64;

#[derive(Clone, Copy)]
struct Candidate {
    confidence: f32,
    class: u32,
    anchor: u32,
}

impl Candidate {
    /// Most confident first; ties by anchor, then class, so that the same output gives the same list everywhere.
    fn order(&self, other: &Candidate) -> std::cmp::Ordering {
        other.confidence.total_cmp(&self.confidence).then(self.anchor.cmp(&other.anchor)).then(self.class.cmp(&other.class))
    }
}

/// Turns outputs into detections, with buffers that are kept from picture to picture.
#[derive(Default)]
pub struct Postprocess {
    candidates: Vec<Candidate>,
    best: Vec<(f32, u32)>,
}

impl Postprocess {
    /// Empty buffers; they grow to the first output's size.
    pub fn new() -> Postprocess {
        Postprocess::default()
    }

    /// Detections of one picture in pixels of the network's input, most confident first.
    ///
    /// `output` is `[4 + classes, anchors]`: the rows cx, cy, w, h, then a score row for each class. Scores and boxes
    /// that are not finite numbers give no detection. Overlap is looked at within a class only.
    ///
    /// # Panics
    /// If `output` is not `(4 + classes) * anchors` long.
    pub fn run(&mut self, output: &[f32], classes: usize, anchors: usize, config: &NmsConfig) -> Vec<Detection> {
        self.run_above(output, classes, anchors, config, &[])
    }

    /// [`Postprocess::run`] with a floor for each class: a score below its class's floor is dropped before anything is compared
    /// or counted. Infinity leaves a class out. The floors come on top of `config.confidence`; none means no floors.
    ///
    /// # Panics
    /// As [`Postprocess::run`], and if there are floors but not one for each class.
    pub fn run_above(&mut self, output: &[f32], classes: usize, anchors: usize, config: &NmsConfig, floors: &[f32]) -> Vec<Detection> {
        assert_eq!(output.len(), (4 + classes) * anchors, "the output must hold [4 + {classes}, {anchors}]");
        assert!(floors.is_empty() || floors.len() == classes, "{} floors for {classes} classes", floors.len());
        if anchors == 0 || classes == 0 {
            return Vec::new();
        }
        let (boxes, scores) = output.split_at(4 * anchors);
        self.collect(scores, anchors, config);
        if !floors.is_empty() {
            self.candidates.retain(|candidate| candidate.confidence >= floors[candidate.class as usize]);
        }
        if self.candidates.len() > MAX_CANDIDATES {
            self.candidates.select_nth_unstable_by(MAX_CANDIDATES, Candidate::order);
            self.candidates.truncate(MAX_CANDIDATES);
        }
        self.candidates.sort_unstable_by(Candidate::order);

        let mut kept: Vec<Detection> = Vec::with_capacity(config.max_detections.min(self.candidates.len()));
        for candidate in &self.candidates {
            if kept.len() >= config.max_detections {
                break;
            }
            let at = candidate.anchor as usize;
            let bbox = Xyxy::from_cxcywh(boxes[at], boxes[anchors + at], boxes[2 * anchors + at], boxes[3 * anchors + at]);
            if !bbox.is_finite() || kept.iter().any(|k| k.class == candidate.class && k.bbox.iou(bbox) > config.iou) {
                continue;
            }
            kept.push(Detection { class: candidate.class, confidence: candidate.confidence, bbox });
        }
        kept
    }

    /// Fills `candidates`. Rows are read one after the other, as they lie in memory. NaN fails every comparison.
    fn collect(&mut self, scores: &[f32], anchors: usize, config: &NmsConfig) {
        self.candidates.clear();
        let wanted = |score: f32| score >= config.confidence && score.is_finite();
        if config.multi_label {
            for (class, row) in scores.chunks_exact(anchors).enumerate() {
                let found = row.iter().enumerate().filter(|&(_, &score)| wanted(score));
                self.candidates.extend(found.map(|(anchor, &confidence)| Candidate {
                    confidence,
                    class: class as u32,
                    anchor: anchor as u32,
                }));
            }
            return;
        }
        self.best.clear();
        self.best.resize(anchors, (f32::NEG_INFINITY, 0));
        for (class, row) in scores.chunks_exact(anchors).enumerate() {
            for (best, scores) in self.best.chunks_mut(BLOCK).zip(row.chunks(BLOCK)) {
                // Nearly all of a picture is background: one look at a block, done with SIMD, instead of one at each value. What is
                // passed over is below the threshold and would be the best of no wanted anchor.
                if !scores.iter().fold(false, |any, &score| any | (score >= config.confidence)) {
                    continue;
                }
                for (best, &score) in best.iter_mut().zip(scores) {
                    if score > best.0 && score.is_finite() {
                        *best = (score, class as u32);
                    }
                }
            }
        }
        let found = self.best.iter().enumerate().filter(|&(_, &(score, _))| wanted(score));
        self.candidates.extend(found.map(|(anchor, &(confidence, class))| Candidate { confidence, class, anchor: anchor as u32 }));
    }
}

#[cfg(test)]
mod tests;
