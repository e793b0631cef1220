//! What was taken for what: detections at one confidence against truths, whatever their classes.

use serde::{Deserialize, Serialize};

use super::Truth;
use crate::nms::Detection;

/// Detections below are as good as not made: what serving shows by default.
pub const CONFIDENCE: f32 = 0.25;
/// Overlap from which a detection means a truth. Looser than .50, as is usual for this table: it asks what an object was
/// taken for, and not how well its edges were hit.
pub const IOU: f32 = 0.45;

/// Counts by true and by detected class; one more of each stands for the background.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confusion {
    /// Classes without the background.
    pub classes: usize,
    /// `(classes + 1)²` counts. Row: the true class; column: the detected one. The last row holds detections of nothing, the
    /// last column truths that were missed.
    pub counts: Vec<u64>,
}

impl Confusion {
    /// An empty table.
    pub fn new(classes: usize) -> Confusion {
        Confusion { classes, counts: vec![0; (classes + 1) * (classes + 1)] }
    }

    /// Truths of class `truth` that were detected as `found`; `classes` means the background.
    pub fn count(&self, truth: usize, found: usize) -> u64 {
        self.counts.get(truth * (self.classes + 1) + found).copied().unwrap_or_default()
    }

    /// Adds one picture. Pairs are made from the largest overlap down, each detection and each truth once; classes out of
    /// range are left out.
    pub fn add_image(&mut self, detections: &[Detection], truths: &[Truth]) -> &mut Confusion {
        let nothing = self.classes;
        let known = |class: u32| (class as usize) < nothing;
        let found: Vec<&Detection> = detections.iter().filter(|d| known(d.class) && d.confidence >= CONFIDENCE).collect();
        let truths: Vec<&Truth> = truths.iter().filter(|t| known(t.class)).collect();
        let mut pairs: Vec<(f32, usize, usize)> = Vec::new();
        for (t, truth) in truths.iter().enumerate() {
            let near = found.iter().enumerate().map(|(d, detection)| (truth.bbox.iou(detection.bbox), t, d));
            pairs.extend(near.filter(|(iou, ..)| *iou >= IOU));
        }
        pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
        let (mut met, mut used) = (vec![false; truths.len()], vec![false; found.len()]);
        for (_, t, d) in pairs {
            if !met[t] && !used[d] {
                (met[t], used[d]) = (true, true);
                self.add(truths[t].class as usize, found[d].class as usize);
            }
        }
        truths.iter().zip(met).filter(|(_, met)| !met).for_each(|(truth, _)| self.add(truth.class as usize, nothing));
        found.iter().zip(used).filter(|(_, used)| !used).for_each(|(detection, _)| self.add(nothing, detection.class as usize));
        self
    }

    fn add(&mut self, truth: usize, found: usize) {
        self.counts[truth * (self.classes + 1) + found] += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boxes::Xyxy;

    fn at(x: f32) -> Xyxy {
        Xyxy::new(x, 0.0, x + 10.0, 10.0)
    }

    fn found(class: u32, x: f32, confidence: f32) -> Detection {
        Detection { class, confidence, bbox: at(x) }
    }

    #[test]
    fn truths_are_hit_taken_for_others_missed_or_never_there() {
        let truths = [0.0, 20.0, 40.0].map(|x| Truth { class: u32::from(x > 0.0), bbox: at(x) });
        let detections = [found(0, 0.0, 0.9), found(0, 21.0, 0.9), found(1, 40.0, 0.2), found(1, 80.0, 0.9)];
        let mut table = Confusion::new(2);
        table.add_image(&detections, &truths);
        assert_eq!(table.counts, [1, 0, 0, 1, 0, 1, 0, 1, 0]);
        assert_eq!((table.count(0, 0), table.count(1, 0), table.count(1, 2), table.count(2, 1)), (1, 1, 1, 1));
    }

    #[test]
    fn the_nearest_pair_is_made_first_and_each_only_once() {
        let truths = [Truth { class: 0, bbox: at(0.0) }];
        let mut table = Confusion::new(2);
        table.add_image(&[found(1, 3.0, 0.99), found(0, 0.5, 0.3), found(7, 0.0, 0.9)], &truths);
        assert_eq!((table.count(0, 0), table.count(2, 1), table.counts.iter().sum::<u64>()), (1, 1, 2));
    }
}
