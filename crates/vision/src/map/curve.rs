//! Precision against recall, of what the evaluator has matched.

use serde::{Deserialize, Serialize};

use super::Class;

/// One class' curve at IoU .50.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// Labelled objects. Without any there is no curve.
    pub boxes: u64,
    /// Mean of `precision`: the AP at IoU .50 by this crate's convention.
    pub ap50: f64,
    /// The best precision at each recall 0, .01, … 1 or beyond; 101 values, or none.
    pub precision: Vec<f64>,
}

/// Truths found so far and the best precision there or beyond, after each detection; they are sorted by confidence.
pub(super) fn envelope(class: &Class, threshold: usize) -> Vec<(u64, f64)> {
    let mut hits = 0u64;
    let mut points: Vec<(u64, f64)> = Vec::with_capacity(class.matched.len());
    for (shown, m) in class.matched.iter().enumerate() {
        hits += u64::from(m.hits >> threshold & 1);
        points.push((hits, hits as f64 / (shown + 1) as f64));
    }
    for at in (1..points.len()).rev() {
        points[at - 1].1 = points[at - 1].1.max(points[at].1);
    }
    points
}

impl Curve {
    pub(super) fn of(class: &Class) -> Curve {
        if class.truths == 0 {
            return Curve::default();
        }
        let points = envelope(class, 0);
        let mut at = 0;
        let precision: Vec<f64> = (0..=100u64)
            .map(|percent| {
                // recall >= percent / 100, in whole numbers: 0.29 * 100 is not 29 in floating point.
                while at < points.len() && points[at].0 * 100 < percent * class.truths {
                    at += 1;
                }
                points.get(at).map_or(0.0, |point| point.1)
            })
            .collect();
        Curve { boxes: class.truths, ap50: precision.iter().sum::<f64>() / precision.len() as f64, precision }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        boxes::Xyxy,
        map::{Evaluator, Truth},
        nms::Detection,
    };
    use proptest::prelude::*;

    #[test]
    fn half_found_without_error_is_precise_up_to_half_the_recall() {
        let bbox = |x: f32| Xyxy::new(x, 0.0, x + 10.0, 10.0);
        let truths = [0.0, 50.0].map(|x| Truth { class: 1, bbox: bbox(x) });
        let mut evaluator = Evaluator::new(2);
        evaluator.add_image(&[Detection { class: 1, confidence: 0.9, bbox: bbox(0.0) }], &truths);
        let curves = evaluator.curves();
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
            let mut evaluator = Evaluator::new(3);
            for picture in found.chunks(7) {
                evaluator.add_image(picture, &truths);
            }
            for (curve, class) in evaluator.curves().iter().zip(evaluator.finish().per_class) {
                prop_assert!((curve.ap50 - class.map50).abs() < 1e-9, "{} {}", curve.ap50, class.map50);
            }
        }
    }
}
