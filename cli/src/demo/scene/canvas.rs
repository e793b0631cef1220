//! A square of light values that things are painted on, and smooth randomness over it.

use edgeloop_vision::Image;

/// RGB, 0 to 255 and beyond until the camera cuts it off.
pub(super) struct Canvas {
    pub side: usize,
    /// Pixels for one pixel of the 320-pixel design.
    pub unit: f32,
    pub light: Vec<[f32; 3]>,
}

impl Canvas {
    pub fn new(side: usize, unit: f32) -> Canvas {
        Canvas { side, unit, light: vec![[0.0; 3]; side * side] }
    }

    /// Changes every pixel by its column, row and old value.
    pub fn each(&mut self, mut change: impl FnMut(f32, f32, [f32; 3]) -> [f32; 3]) {
        for (at, light) in self.light.iter_mut().enumerate() {
            *light = change((at % self.side) as f32, (at / self.side) as f32, *light);
        }
    }

    /// The square of `size` pixels that starts at `margin`, as bytes.
    pub fn crop(&self, margin: usize, size: usize) -> Image {
        let mut data = Vec::with_capacity(size * size * 3);
        for y in margin..margin + size {
            let row = &self.light[y * self.side + margin..][..size];
            data.extend(row.iter().flatten().map(|v| v.round().clamp(0.0, 255.0) as u8));
        }
        Image { width: size as u32, height: size as u32, data }
    }
}

/// Smooth random values 0 to 1 over the plane: lattice values, blended with a cubic (value noise).
pub(super) struct Noise(pub u32);

impl Noise {
    pub fn at(&self, x: f32, y: f32) -> f32 {
        let (x0, y0) = (x.floor(), y.floor());
        let ease = |t: f32| t * t * (3.0 - 2.0 * t);
        let (tx, ty) = (ease(x - x0), ease(y - y0));
        let corner = |dx: i64, dy: i64| self.lattice(x0 as i64 + dx, y0 as i64 + dy);
        let blend = |a: f32, b: f32, t: f32| a + (b - a) * t;
        blend(blend(corner(0, 0), corner(1, 0), tx), blend(corner(0, 1), corner(1, 1), tx), ty)
    }

    /// Several octaves, each half as strong and twice as fine; 0 to 1.
    pub fn rough(&self, x: f32, y: f32, octaves: u32) -> f32 {
        let (mut sum, mut weight, mut total) = (0.0, 1.0, 0.0);
        for octave in 0..octaves {
            let fine = (1u32 << octave) as f32;
            sum += weight * self.at(x * fine + 17.0 * octave as f32, y * fine);
            total += weight;
            weight *= 0.5;
        }
        sum / total
    }

    /// A well-mixed hash of a lattice point (the finaliser of MurmurHash3, public domain), as 0 to 1.
    fn lattice(&self, x: i64, y: i64) -> f32 {
        let mut h = self.0 ^ (x as u32).wrapping_mul(0x9E37_79B1) ^ (y as u32).wrapping_mul(0x85EB_CA77).rotate_left(13);
        h = (h ^ (h >> 16)).wrapping_mul(0x85EB_CA6B);
        h = (h ^ (h >> 13)).wrapping_mul(0xC2B2_AE35);
        (h ^ (h >> 16)) as f32 / u32::MAX as f32
    }
}

/// Weights of a Gaussian, summing to 1, from the middle outwards on both sides.
pub(super) fn gaussian(sigma: f32) -> Vec<f32> {
    let reach = (sigma * 3.0).ceil().max(1.0) as i32;
    let raw: Vec<f32> = (-reach..=reach).map(|i| (-(i * i) as f32 / (2.0 * sigma * sigma).max(1e-6)).exp()).collect();
    let sum: f32 = raw.iter().sum();
    raw.iter().map(|w| w / sum).collect()
}

/// Something that can be averaged: a value or a colour.
pub(super) trait Mix: Copy {
    const NOTHING: Self;
    /// `self` and `weight` times `other`.
    fn and(self, other: Self, weight: f32) -> Self;
}

impl Mix for f32 {
    const NOTHING: f32 = 0.0;
    fn and(self, other: f32, weight: f32) -> f32 {
        self + other * weight
    }
}

impl Mix for [f32; 3] {
    const NOTHING: [f32; 3] = [0.0; 3];
    fn and(self, other: [f32; 3], weight: f32) -> [f32; 3] {
        [self[0] + other[0] * weight, self[1] + other[1] * weight, self[2] + other[2] * weight]
    }
}

/// Convolves a plane with rows of `width` along its rows or its columns; edges repeat.
pub(super) fn convolve<T: Mix>(plane: &[T], width: usize, vertical: bool, kernel: &[f32]) -> Vec<T> {
    let reach = kernel.len() / 2;
    let (step, last) = if vertical { (width, plane.len() / width - 1) } else { (1, width - 1) };
    (0..plane.len())
        .map(|at| {
            let here = if vertical { at / width } else { at % width };
            let line = at - here * step;
            let tap = |k: usize| plane[line + (here + k).saturating_sub(reach).min(last) * step];
            kernel.iter().enumerate().fold(T::NOTHING, |sum, (k, &weight)| sum.and(tap(k), weight))
        })
        .collect()
}
