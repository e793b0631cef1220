//! Two pictures laid over one another; the boxes of both are to be found.

use super::{Augment, Draws, draws::rng};
use rand::RngExt;

/// Uniform draws of which the middle one is the ratio: that is distributed as Beta(32, 32), within 0.5 ± 0.06 in two of three
/// cases, as the ecosystem mixes.
const UNIFORMS: usize = 63;

/// What was drawn for a picture that is mixed with another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mixup {
    /// Which other, 0..1 over those that may be taken.
    pub partner: f64,
    /// Share of the first picture.
    pub ratio: f64,
    /// How the other is changed.
    pub draws: Draws,
}

impl Mixup {
    /// The draws for image `index` in `epoch`; `None` where it stays alone.
    pub fn new(augment: &Augment, mosaic: bool, seed: u64, epoch: u32, index: usize) -> Option<Self> {
        let mut rng = rng(b"mixing-", seed, epoch, index as u64);
        let mut unit = || rng.random::<f64>();
        if unit() >= f64::from(augment.mixup) {
            return None;
        }
        let partner = unit();
        let mut uniforms = [(); UNIFORMS].map(|()| unit());
        uniforms.sort_by(f64::total_cmp);
        let draws = Draws::of(b"mixed--", augment, mosaic, seed, epoch, index);
        Some(Self { partner, ratio: uniforms[UNIFORMS / 2], draws })
    }

    /// Lays `other` over `out`, both `[3, side, side]`.
    pub fn blend(&self, out: &mut [u8], other: &[u8]) {
        let first = (self.ratio * 256.0).round() as u32;
        let second = 256 - first.min(256);
        for (out, &other) in out.iter_mut().zip(other) {
            *out = ((u32::from(*out) * first + u32::from(other) * second + 128) >> 8) as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn the_share_is_as_asked_and_ratios_are_near_one_half() {
        let augment = Augment { mixup: 0.25, ..Augment::default() };
        let all: Vec<Mixup> = (0..2_000).filter_map(|index| Mixup::new(&augment, true, 7, 0, index)).collect();
        // 500 ± 19 by the binomial's deviation.
        assert!((420..580).contains(&all.len()), "{}", all.len());
        // Deviation of Beta(32, 32): √(1 / (4 · 65)) = 0.062.
        let spread = (all.iter().map(|mix| (mix.ratio - 0.5).powi(2)).sum::<f64>() / all.len() as f64).sqrt();
        assert!((0.055..0.069).contains(&spread), "{spread}");
        assert_eq!(Mixup::new(&Augment::default(), true, 7, 0, 3), None);
        assert!(all.iter().any(|mix| mix.draws != Draws::new(&augment, true, 7, 0, 0)));
    }

    #[test]
    fn each_pixel_is_its_share_of_both() {
        let draws = Draws::new(&Augment::NONE, false, 0, 0, 0);
        let mut out = [200, 0, 255, 10];
        // 200 · ¾ + 100 · ¼ = 175; 100 · ¼ = 25; 255 · ¾ + 255 · ¼ = 255; 7.5 rounded up
        Mixup { partner: 0.0, ratio: 0.75, draws }.blend(&mut out, &[100, 100, 255, 0]);
        assert_eq!(out, [175, 25, 255, 8]);
    }
}
