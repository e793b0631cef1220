//! Affine maps with perspective: lines stay straight, parallels need not.

use super::affine::Affine;

/// Points that come nearer to the horizon than this are out of sight: beyond it a picture would be seen from behind.
const HORIZON: f64 = 1e-3;

/// `w = g x + h y + i`, `x' = (a x + b y + c) / w`, `y' = (d x + e y + f) / w`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Projective {
    pub top: Affine,
    pub g: f64,
    pub h: f64,
    pub i: f64,
}

impl From<Affine> for Projective {
    fn from(top: Affine) -> Self {
        Self { top, g: 0.0, h: 0.0, i: 1.0 }
    }
}

impl Projective {
    /// Tilts the plane about the origin: a point at distance `x` is divided by `1 + tilt · x`.
    pub fn tilt([g, h]: [f64; 2]) -> Self {
        Self { g, h, ..Self::from(Affine::shift(0.0, 0.0)) }
    }

    /// This map first, then `next`.
    pub fn then(self, next: Affine) -> Self {
        let Self { top: Affine { a, b, c, d, e, f }, g, h, i } = self;
        let row = |x: f64, y: f64, w: f64| [x * a + y * d + w * g, x * b + y * e + w * h, x * c + y * f + w * i];
        let ([a, b, c], [d, e, f]) = (row(next.a, next.b, next.c), row(next.d, next.e, next.f));
        Self { top: Affine { a, b, c, d, e, f }, g, h, i }
    }

    /// `first`, then this map.
    pub fn after(self, first: Affine) -> Self {
        let Self { top, g, h, i } = self;
        let [g, h, i] = [g * first.a + h * first.d, g * first.b + h * first.e, g * first.c + h * first.f + i];
        Self { top: first.then(top), g, h, i }
    }

    /// Without perspective.
    pub fn affine(&self) -> Option<Affine> {
        (self.g == 0.0 && self.h == 0.0 && self.i == 1.0).then_some(self.top)
    }

    /// Where a point goes; `None` beyond the horizon.
    pub fn apply(&self, x: f64, y: f64) -> Option<(f64, f64)> {
        let w = self.g * x + self.h * y + self.i;
        let (x, y) = self.top.apply(x, y);
        (w > HORIZON).then(|| (x / w, y / w))
    }

    /// The way back; `None` when the map flattens the plane.
    pub fn inverse(&self) -> Option<Self> {
        if let Some(affine) = self.affine() {
            return affine.inverse().map(Self::from);
        }
        let Self { top: Affine { a, b, c, d, e, f }, g, h, i } = *self;
        // Transposed cofactors over the determinant.
        let cofactors = [
            [e * i - f * h, c * h - b * i, b * f - c * e],
            [f * g - d * i, a * i - c * g, c * d - a * f],
            [d * h - e * g, b * g - a * h, a * e - b * d],
        ];
        let det = a * cofactors[0][0] + b * cofactors[1][0] + c * cofactors[2][0];
        if det.abs() < 1e-9 || !det.is_finite() {
            return None;
        }
        let [[a, b, c], [d, e, f], [g, h, i]] = cofactors.map(|row| row.map(|v| v / det));
        Some(Self { top: Affine { a, b, c, d, e, f }, g, h, i })
    }

    /// Box around the image of a box, `(x1, y1, x2, y2)`; `None` where a corner is beyond the horizon.
    pub fn bounds(&self, (x1, y1, x2, y2): (f64, f64, f64, f64)) -> Option<(f64, f64, f64, f64)> {
        let mut around = (f64::INFINITY, f64::INFINITY, f64::NEG_INFINITY, f64::NEG_INFINITY);
        for (x, y) in [(x1, y1), (x2, y1), (x2, y2), (x1, y2)] {
            let (x, y) = self.apply(x, y)?;
            let (l, t, r, b) = around;
            around = (l.min(x), t.min(y), r.max(x), b.max(y));
        }
        Some(around)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn the_way_back_undoes_the_way() {
        let first = Affine::shift(3.0, -2.0);
        let map = Projective::tilt([0.002, -0.001]).then(Affine::rotate(30.0)).then(Affine::scale(-0.7, 1.3)).after(first);
        let (x, y) = map.apply(11.0, 7.0).unwrap();
        let (x, y) = map.inverse().unwrap().apply(x, y).unwrap();
        assert!((x - 11.0).abs() < 1e-9 && (y - 7.0).abs() < 1e-9);
        assert_eq!(Projective::from(Affine::scale(0.0, 1.0)).inverse(), None);
    }

    #[test]
    fn a_tilt_divides_by_the_distance() {
        // 1 + 0.01 · 100 = 2, and 1 + 0.01 · (−50) = 0.5.
        let map = Projective::tilt([0.01, 0.0]);
        assert_eq!(map.apply(100.0, 40.0), Some((50.0, 20.0)));
        assert_eq!(map.apply(-50.0, 40.0), Some((-100.0, 80.0)));
        // 1 − 1 = 0: the horizon, and behind it.
        assert_eq!((map.apply(-100.0, 0.0), map.apply(-150.0, 0.0)), (None, None));
        assert_eq!(map.bounds((-150.0, 0.0, 100.0, 10.0)), None);
    }

    #[test]
    fn bounds_of_a_square_turned_by_45_degrees_grow_by_the_root_of_two() {
        let (x1, _, x2, _) = Projective::from(Affine::rotate(45.0)).bounds((-1.0, -1.0, 1.0, 1.0)).unwrap();
        assert!((x2 - x1 - 2.0 * 2.0_f64.sqrt()).abs() < 1e-9);
    }

    #[test]
    fn without_a_tilt_it_is_the_affine_map() {
        let affine = Affine::rotate(10.0).then(Affine::shift(5.0, 6.0));
        let map = Projective::tilt([0.0, 0.0]).then(Affine::rotate(10.0)).then(Affine::shift(5.0, 6.0));
        assert_eq!(map.affine(), Some(affine));
        assert_eq!(map.after(Affine::shift(7.0, 8.0)).affine(), Some(Affine::shift(7.0, 8.0).then(affine)));
    }
}
