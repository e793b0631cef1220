//! Affine maps of the plane. Coordinates are continuous: pixel `i` covers `i..i + 1`, its centre is `i + 0.5`.

/// `x' = a x + b y + c`, `y' = d x + e y + f`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Affine {
    pub a: f64,
    pub b: f64,
    pub c: f64,
    pub d: f64,
    pub e: f64,
    pub f: f64,
}

impl Affine {
    pub fn shift(x: f64, y: f64) -> Self {
        Self { a: 1.0, b: 0.0, c: x, d: 0.0, e: 1.0, f: y }
    }

    pub fn scale(x: f64, y: f64) -> Self {
        Self { a: x, b: 0.0, c: 0.0, d: 0.0, e: y, f: 0.0 }
    }

    pub fn rotate(degrees: f64) -> Self {
        let (sin, cos) = degrees.to_radians().sin_cos();
        Self { a: cos, b: sin, c: 0.0, d: -sin, e: cos, f: 0.0 }
    }

    pub fn shear(x_degrees: f64, y_degrees: f64) -> Self {
        Self { a: 1.0, b: x_degrees.to_radians().tan(), c: 0.0, d: y_degrees.to_radians().tan(), e: 1.0, f: 0.0 }
    }

    /// This map first, then `next`.
    pub fn then(self, next: Self) -> Self {
        Self {
            a: next.a * self.a + next.b * self.d,
            b: next.a * self.b + next.b * self.e,
            c: next.a * self.c + next.b * self.f + next.c,
            d: next.d * self.a + next.e * self.d,
            e: next.d * self.b + next.e * self.e,
            f: next.d * self.c + next.e * self.f + next.f,
        }
    }

    pub fn apply(&self, x: f64, y: f64) -> (f64, f64) {
        (self.a * x + self.b * y + self.c, self.d * x + self.e * y + self.f)
    }

    /// The way back; `None` when the map flattens the plane.
    pub fn inverse(&self) -> Option<Self> {
        let det = self.a * self.e - self.b * self.d;
        if det.abs() < 1e-9 || !det.is_finite() {
            return None;
        }
        let (a, b, d, e) = (self.e / det, -self.b / det, -self.d / det, self.a / det);
        Some(Self { a, b, c: -(a * self.c + b * self.f), d, e, f: -(d * self.c + e * self.f) })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn the_way_back_undoes_the_way() {
        let map = Affine::shift(3.0, -2.0).then(Affine::rotate(30.0)).then(Affine::shear(5.0, -3.0)).then(Affine::scale(-0.7, 1.3));
        let (x, y) = map.apply(11.0, 7.0);
        let (x, y) = map.inverse().unwrap().apply(x, y);
        assert!((x - 11.0).abs() < 1e-9 && (y - 7.0).abs() < 1e-9);
        assert_eq!(Affine::scale(0.0, 1.0).inverse(), None);
    }
}
