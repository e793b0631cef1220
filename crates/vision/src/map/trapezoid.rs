//! The other convention: the same curve, joined by straight lines and integrated. Today's YOLO tools report this figure, so it is
//! the one to compare with theirs; COCO's is the one that everything here decides by.

use super::{Class, THRESHOLDS, curve::envelope};

/// Recalls at which the lines are taken: 0, .01, … 1.
const POINTS: usize = 101;

/// AP at each threshold, of detections sorted by confidence. The curve begins at recall 0 with precision 1; beyond the
/// last recall that is reached precision is 0; up to there it is the best at that recall or beyond.
pub(super) fn average_precision(class: &Class) -> [f64; THRESHOLDS] {
    std::array::from_fn(|threshold| {
        let points = envelope(class, threshold);
        let recall = |hits: u64| hits as f64 / class.truths as f64;
        let reached = points.last().map_or(0.0, |point| recall(point.0));
        let mut curve = vec![(0.0, 1.0)];
        curve.extend(points.iter().map(|&(hits, precision)| (recall(hits), precision)));
        curve.extend([(reached, 0.0), (1.0, 0.0)]);
        let mut at = 0;
        let heights: Vec<f64> = (0..POINTS)
            .map(|point| {
                let recall = point as f64 / (POINTS - 1) as f64;
                // The last point at this recall or before it; where several share a recall, the last of them.
                while at + 1 < curve.len() && curve[at + 1].0 <= recall {
                    at += 1;
                }
                let (x, y) = curve[at];
                curve.get(at + 1).map_or(y, |&(next, height)| y + (height - y) * (recall - x) / (next - x))
            })
            .collect();
        let inner: f64 = heights[1..POINTS - 1].iter().sum();
        (inner + (heights[0] + heights[POINTS - 1]) / 2.0) / (POINTS - 1) as f64
    })
}
