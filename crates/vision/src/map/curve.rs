//! Precision against recall, class by class, at IoU .50.

use serde::{Deserialize, Serialize};

use super::Truth;
use crate::boxes::Xyxy;
use crate::nms::Detection;

const IOU: f32 = 0.5;

/// One class' curve.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// Labelled objects. Without any there is no curve.
    pub boxes: u64,
    /// Mean of `precision`: the AP at IoU .50 by this crate's convention.
    pub ap50: f64,
    /// The best precision at each recall 0, .01, … 1 or beyond; 101 values, or none.
    pub precision: Vec<f64>,
}

/// Gathers pictures. Keeps 8 bytes a detection.
#[derive(Clone, Debug, Default)]
pub struct Curves {
    classes: Vec<Class>,
}

#[derive(Clone, Debug, Default)]
struct Class {
    truths: u64,
    found: Vec<(f32, bool)>,
}

impl Curves {
    /// Curves for so many classes.
    pub fn new(classes: usize) -> Curves {
        Curves { classes: vec![Class::default(); classes] }
    }

    /// Adds one picture, as [`Evaluator::add_image`](super::Evaluator::add_image).
    pub fn add_image(&mut self, detections: &[Detection], truths: &[Truth]) -> &mut Curves {
        for (index, class) in self.classes.iter_mut().enumerate() {
            let truths: Vec<Xyxy> = truths.iter().filter(|t| t.class as usize == index).map(|t| t.bbox).collect();
            let mut found: Vec<&Detection> = detections.iter().filter(|d| d.class as usize == index && d.confidence.is_finite()).collect();
            found.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
            class.truths += truths.len() as u64;
            let mut free = vec![true; truths.len()];
            class.found.extend(found.iter().map(|detection| {
                let overlaps = truths.iter().enumerate().map(|(at, truth)| (at, detection.bbox.iou(*truth)));
                let best = overlaps.filter(|&(at, iou)| free[at] && iou >= IOU).max_by(|a, b| a.1.total_cmp(&b.1));
                if let Some((at, _)) = best {
                    free[at] = false;
                }
                (detection.confidence, best.is_some())
            }));
        }
        self
    }

    /// One curve for each class, in their order.
    pub fn finish(mut self) -> Vec<Curve> {
        self.classes.iter_mut().map(Class::curve).collect()
    }
}

impl Class {
    fn curve(&mut self) -> Curve {
        if self.truths == 0 {
            return Curve::default();
        }
        self.found.sort_by(|a, b| b.0.total_cmp(&a.0));
        let mut hits = 0u64;
        let mut points: Vec<(u64, f64)> = Vec::with_capacity(self.found.len());
        for (shown, (_, hit)) in self.found.iter().enumerate() {
            hits += u64::from(*hit);
            points.push((hits, hits as f64 / (shown + 1) as f64));
        }
        for at in (1..points.len()).rev() {
            points[at - 1].1 = points[at - 1].1.max(points[at].1);
        }
        let mut at = 0;
        let precision: Vec<f64> = (0..=100u64)
            .map(|percent| {
                // recall >= percent / 100, in whole numbers: 0.29 * 100 is not 29 in floating point.
                while at < points.len() && points[at].0 * 100 < percent * self.truths {
                    at += 1;
                }
                points.get(at).map_or(0.0, |point| point.1)
            })
            .collect();
        Curve { boxes: self.truths, ap50: precision.iter().sum::<f64>() / precision.len() as f64, precision }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::Evaluator;
    use proptest::prelude::*;

    #[test]
    fn half_found_without_error_is_precise_up_to_half_the_recall() {
        let bbox = |x: f32| Xyxy::new(x, 0.0, x + 10.0, 10.0);
        let truths = [0.0, 50.0].map(|x| Truth { class: 1, bbox: bbox(x) });
        let mut curves = Curves::new(2);
        curves.add_image(&[Detection { class: 1, confidence: 0.9, bbox: bbox(0.0) }], &truths);
        let curves = curves.finish();
        assert_eq!(curves[0], Curve::default());
        assert_eq!((curves[1].precision[50], curves[1].precision[51], curves[1].boxes), (1.0, 0.0, 2));
    }

    proptest! {
        #[test]
        fn the_area_is_the_evaluators_ap(
            boxes in prop::collection::vec((0u32..3, 0u32..6, 0u32..6, 0u32..100), 0..40), truths in prop::collection::vec((0u32..3, 0u32..6, 0u32..6), 1..20)
        ) {
            let bbox = |x: u32, y: u32| Xyxy::new(x as f32 * 4.0, y as f32 * 4.0, x as f32 * 4.0 + 10.0, y as f32 * 4.0 + 10.0);
            let truths: Vec<Truth> = truths.into_iter().map(|(class, x, y)| Truth { class, bbox: bbox(x, y) }).collect();
            let found: Vec<Detection> =
                boxes.into_iter().map(|(class, x, y, c)| Detection { class, confidence: c as f32 / 100.0, bbox: bbox(x, y) }).collect();
            let (mut curves, mut evaluator) = (Curves::new(3), Evaluator::new(3));
            for picture in found.chunks(7) {
                curves.add_image(picture, &truths);
                evaluator.add_image(picture, &truths);
            }
            for (curve, class) in curves.finish().iter().zip(evaluator.finish().per_class) {
                prop_assert!((curve.ap50 - class.map50).abs() < 1e-9, "{} {}", curve.ap50, class.map50);
            }
        }
    }
}
