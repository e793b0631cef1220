//! Complete IoU (Zheng et al. 2020): IoU − ρ²/c² − αv, with ρ the distance of the centres, c the diagonal of the box around
//! both, and v how far the aspect ratios differ. Twice: as numbers for the assigner, as tensors for the loss.

use std::f32::consts::PI;

use tch::{Kind, Tensor};

/// Keeps divisions finite; in the units of the boxes.
const EPS: f32 = 1e-7;

/// Complete IoU of two boxes `x1, y1, x2, y2`. At most 1; below 0 for boxes far apart.
pub fn ciou(a: [f32; 4], b: [f32; 4]) -> f32 {
    let (aw, ah) = (a[2] - a[0], a[3] - a[1] + EPS);
    let (bw, bh) = (b[2] - b[0], b[3] - b[1] + EPS);
    let cut_w = (a[2].min(b[2]) - a[0].max(b[0])).max(0.0);
    let cut_h = (a[3].min(b[3]) - a[1].max(b[1])).max(0.0);
    let cut = cut_w * cut_h;
    let iou = cut / (aw * ah + bw * bh - cut + EPS);
    let around_w = a[2].max(b[2]) - a[0].min(b[0]);
    let around_h = a[3].max(b[3]) - a[1].min(b[1]);
    let diagonal = around_w * around_w + around_h * around_h + EPS;
    let (dx, dy) = (b[0] + b[2] - a[0] - a[2], b[1] + b[3] - a[1] - a[3]);
    let distance = (dx * dx + dy * dy) / 4.0;
    let v = 4.0 / (PI * PI) * ((bw / bh).atan() - (aw / ah).atan()).powi(2);
    let alpha = v / (v - iou + (1.0 + EPS));
    iou - (distance / diagonal + v * alpha)
}

/// [`ciou`] for rows of `[n, 4]` tensors; `[n]`. α is a weight, not a path for gradients, as in the paper.
pub fn ciou_rows(a: &Tensor, b: &Tensor) -> Tensor {
    let eps = f64::from(EPS);
    let corner = |t: &Tensor, from: i64| t.slice(1, from, from + 2, 1);
    let (a1, a2, b1, b2) = (corner(a, 0), corner(a, 2), corner(b, 0), corner(b, 2));
    let column = |t: &Tensor, i: i64| t.select(1, i);
    let (a_size, b_size) = (&a2 - &a1, &b2 - &b1);
    let (aw, ah) = (column(&a_size, 0), column(&a_size, 1) + eps);
    let (bw, bh) = (column(&b_size, 0), column(&b_size, 1) + eps);
    let cut = (a2.minimum(&b2) - a1.maximum(&b1)).clamp_min(0.0).prod_dim_int(1, false, Kind::Float);
    let iou = &cut / (&aw * &ah + &bw * &bh - &cut + eps);
    let diagonal = (a2.maximum(&b2) - a1.minimum(&b1)).square().sum_dim_intlist(1, false, Kind::Float) + eps;
    let distance = (b1 + b2 - a1 - a2).square().sum_dim_intlist(1, false, Kind::Float) / 4.0;
    let v = ((bw / bh).atan() - (aw / ah).atan()).square() * f64::from(4.0 / (PI * PI));
    let alpha = tch::no_grad(|| &v / (&v - &iou + (1.0 + eps)));
    iou - (distance / diagonal + v * alpha)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn near(got: f32, want: f32) {
        assert!((got - want).abs() < 1e-5, "{got} is not {want}");
    }

    #[test]
    fn equal_boxes_score_one() {
        near(ciou([2.0, 3.0, 10.0, 7.0], [2.0, 3.0, 10.0, 7.0]), 1.0);
    }

    #[test]
    fn squares_half_a_side_apart() {
        // 4×4 boxes shifted by 2: cut 2·4 = 8, union 16 + 16 − 8 = 24, IoU 1/3; centres 2 apart, box around 6×4:
        // 4 / 52; equal aspect: v = 0. 1/3 − 1/13 = 0.256410
        near(ciou([0.0, 0.0, 4.0, 4.0], [2.0, 0.0, 6.0, 4.0]), 1.0 / 3.0 - 1.0 / 13.0);
    }

    #[test]
    fn disjoint_boxes_score_below_zero() {
        // unit squares with 2 between their centres: IoU 0, 4 / (9 + 1) = 0.4
        near(ciou([0.0, 0.0, 1.0, 1.0], [2.0, 0.0, 3.0, 1.0]), -0.4);
    }

    #[test]
    fn aspect_ratio_counts() {
        // 4×2 against 2×4, both centred on (2, 2): cut 4, union 12, IoU 1/3; no distance;
        // v = 4/π² · (atan 2 − atan ½)² = 0.405285 · 0.643501² = 0.167826; α = v / (v − 1/3 + 1) = 0.201123;
        // 1/3 − 0.167826 · 0.201123 = 0.299580
        near(ciou([0.0, 1.0, 4.0, 3.0], [1.0, 0.0, 3.0, 4.0]), 0.299_58);
    }

    #[test]
    fn tensors_and_numbers_agree() {
        let boxes = [[0.0, 1.0, 4.0, 3.0], [1.0, 0.0, 3.0, 4.0], [0.0, 0.0, 9.0, 1.0], [20.0, 2.0, 21.0, 7.0f32]];
        let pairs: Vec<_> = boxes.iter().flat_map(|a| boxes.iter().map(move |b| (*a, *b))).collect();
        type Boxes = ([f32; 4], [f32; 4]);
        let side = |pick: fn(&Boxes) -> [f32; 4]| Tensor::from_slice(&pairs.iter().flat_map(pick).collect::<Vec<f32>>()).reshape([-1, 4]);
        let rows = Vec::<f32>::try_from(ciou_rows(&side(|p| p.0), &side(|p| p.1))).unwrap();
        for (got, (a, b)) in rows.into_iter().zip(&pairs) {
            near(got, ciou(*a, *b));
        }
    }
}
