//! Axis-aligned boxes in pixels. The pixel in column 0 covers 0.0 to 1.0, so a whole picture is `0, 0, width, height`.

use serde::{Deserialize, Serialize};

/// A box by its left, top, right and bottom edge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Xyxy {
    /// Left edge.
    pub x1: f32,
    /// Top edge.
    pub y1: f32,
    /// Right edge, not left of `x1` in a sound box.
    pub x2: f32,
    /// Bottom edge, not above `y1` in a sound box.
    pub y2: f32,
}

impl Xyxy {
    /// A box by its edges.
    pub const fn new(x1: f32, y1: f32, x2: f32, y2: f32) -> Xyxy {
        Xyxy { x1, y1, x2, y2 }
    }

    /// A box by its centre and size, as YOLO writes them.
    pub fn from_cxcywh(cx: f32, cy: f32, w: f32, h: f32) -> Xyxy {
        Xyxy::new(cx - w * 0.5, cy - h * 0.5, cx + w * 0.5, cy + h * 0.5)
    }

    /// Centre x, centre y, width, height.
    pub fn to_cxcywh(self) -> (f32, f32, f32, f32) {
        ((self.x1 + self.x2) * 0.5, (self.y1 + self.y2) * 0.5, self.x2 - self.x1, self.y2 - self.y1)
    }

    /// Width; 0 where the edges are crossed or not numbers.
    pub fn width(self) -> f32 {
        (self.x2 - self.x1).max(0.0)
    }

    /// Height; 0 where the edges are crossed or not numbers.
    pub fn height(self) -> f32 {
        (self.y2 - self.y1).max(0.0)
    }

    /// Area; 0 where the edges are crossed or not numbers.
    pub fn area(self) -> f32 {
        self.width() * self.height()
    }

    /// Are all four edges finite numbers?
    pub fn is_finite(self) -> bool {
        self.x1.is_finite() && self.y1.is_finite() && self.x2.is_finite() && self.y2.is_finite()
    }

    /// Intersection over union, 0 to 1. Never NaN: an empty or unsound box overlaps nothing.
    pub fn iou(self, other: Xyxy) -> f32 {
        let w = (self.x2.min(other.x2) - self.x1.max(other.x1)).max(0.0);
        let h = (self.y2.min(other.y2) - self.y1.max(other.y1)).max(0.0);
        let shared = w * h;
        let union = self.area() + other.area() - shared;
        // `min` drops a NaN edge instead of handing it on; such a box still has area 0 and is caught by the next line.
        if self.area() > 0.0 && other.area() > 0.0 && union > 0.0 { (shared / union).clamp(0.0, 1.0) } else { 0.0 }
    }

    /// The part inside `0, 0, width, height`. Edges that are not numbers become 0.
    pub fn clip(self, width: f32, height: f32) -> Xyxy {
        // f32::max returns the other operand for NaN.
        let x = |v: f32| v.max(0.0).min(width);
        let y = |v: f32| v.max(0.0).min(height);
        Xyxy::new(x(self.x1), y(self.y1), x(self.x2), y(self.y2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iou_of_a_half_shifted_square_is_a_third() {
        // 10x10 against the same shifted by 5: 50 shared, 100 + 100 - 50 = 150 together.
        let iou = Xyxy::new(0.0, 0.0, 10.0, 10.0).iou(Xyxy::new(5.0, 0.0, 15.0, 10.0));
        assert!((iou - 1.0 / 3.0).abs() < 1e-6, "{iou}");
    }

    #[test]
    fn touching_empty_crossed_and_nan_boxes_overlap_nothing() {
        let unit = Xyxy::new(0.0, 0.0, 1.0, 1.0);
        for other in [
            Xyxy::new(1.0, 0.0, 2.0, 1.0),
            Xyxy::new(0.5, 0.5, 0.5, 0.5),
            Xyxy::new(1.0, 1.0, 0.0, 0.0),
            Xyxy::new(f32::NAN, 0.0, 1.0, 1.0),
            Xyxy::new(0.0, 0.0, 1.0, f32::NAN),
        ] {
            assert_eq!(unit.iou(other), 0.0, "{other:?}");
            assert_eq!(other.iou(unit), 0.0, "{other:?}");
        }
        assert_eq!(unit.iou(unit), 1.0);
    }

    #[test]
    fn clip_keeps_the_inside_and_centres_round_trip() {
        assert_eq!(Xyxy::new(-5.0, 2.0, 50.0, f32::NAN).clip(20.0, 10.0), Xyxy::new(0.0, 2.0, 20.0, 0.0));
        let (cx, cy, w, h) = Xyxy::new(2.0, 4.0, 8.0, 6.0).to_cxcywh();
        assert_eq!((cx, cy, w, h), (5.0, 5.0, 6.0, 2.0));
        assert_eq!(Xyxy::from_cxcywh(cx, cy, w, h), Xyxy::new(2.0, 4.0, 8.0, 6.0));
    }
}
