//! All that is random, drawn up front from (seed, epoch, image) and nothing else.

use super::Augment;
use rand::{RngExt, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

/// What was drawn for one picture of a batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Draws {
    /// Made of four?
    pub mosaic: bool,
    /// Which three others, 0..1 each over those that may be taken.
    pub partners: [f64; 3],
    /// Where the four meet, 0..1 of the middle half of the canvas.
    pub centre: [f64; 2],
    /// Rotation in degrees.
    pub angle: f64,
    /// Scale.
    pub scale: f64,
    /// Shear in degrees, along x and y.
    pub shear: [f64; 2],
    /// Shift as a fraction of the input, along x and y.
    pub translate: [f64; 2],
    /// Mirrored left to right?
    pub fliplr: bool,
    /// Mirrored top to bottom?
    pub flipud: bool,
    /// Turn of the hue as a fraction of the circle.
    pub hue: f32,
    /// Factor of the saturation.
    pub saturation: f32,
    /// Factor of the brightness.
    pub value: f32,
    /// Tilt per pixel from the middle, along x and y.
    pub perspective: [f64; 2],
}

impl Draws {
    /// The draws for image `index` in `epoch`. Every value is drawn whether it is used or not: switching the mosaic off
    /// leaves flips and colours as they were.
    pub fn new(augment: &Augment, mosaic: bool, seed: u64, epoch: u32, index: usize) -> Self {
        Self::of(b"augment", augment, mosaic, seed, epoch, index)
    }

    /// Others for the same image, by `purpose`.
    pub(super) fn of(purpose: &[u8; 7], augment: &Augment, mosaic: bool, seed: u64, epoch: u32, index: usize) -> Self {
        let mut rng = rng(purpose, seed, epoch, index as u64);
        let mut unit = || rng.random::<f64>();
        let chance = unit();
        let partners = [unit(), unit(), unit()];
        let centre = [unit(), unit()];
        let mut around = |most: f32| (unit() * 2.0 - 1.0) * f64::from(most);
        let angle = around(augment.degrees);
        let scale = 1.0 + around(augment.scale);
        let shear = [around(augment.shear), around(augment.shear)];
        let translate = [around(augment.translate), around(augment.translate)];
        let hue = around(augment.hsv_h) as f32;
        let saturation = 1.0 + around(augment.hsv_s) as f32;
        let value = 1.0 + around(augment.hsv_v) as f32;
        Self {
            mosaic: mosaic && chance < f64::from(augment.mosaic),
            partners,
            centre,
            angle,
            scale,
            shear,
            translate,
            fliplr: unit() < f64::from(augment.fliplr),
            flipud: unit() < f64::from(augment.flipud),
            hue,
            saturation,
            value,
            // Last: what was drawn before there was perspective stays as it was.
            perspective: [(); 2].map(|()| (unit() * 2.0 - 1.0) * f64::from(augment.perspective)),
        }
    }
}

/// The order in which an epoch visits `count` images.
pub fn order(seed: u64, epoch: u32, count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    order.shuffle(&mut rng(b"shuffle", seed, epoch, 0));
    order
}

/// ChaCha gives unrelated streams for neighbouring keys, so the parts of the key need no mixing.
pub(super) fn rng(purpose: &[u8; 7], seed: u64, epoch: u32, index: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..12].copy_from_slice(&epoch.to_le_bytes());
    key[12..20].copy_from_slice(&index.to_le_bytes());
    key[20..27].copy_from_slice(purpose);
    ChaCha8Rng::from_seed(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_of_the_key_changes_the_draws() {
        let draw = |seed, epoch, index| Draws::new(&Augment::default(), true, seed, epoch, index);
        let one = draw(1, 2, 3);
        assert_eq!(one, draw(1, 2, 3));
        for other in [draw(2, 2, 3), draw(1, 3, 3), draw(1, 2, 4)] {
            assert_ne!(one.centre, other.centre);
        }
    }

    #[test]
    fn without_mosaic_the_other_draws_stay() {
        let with = Draws::new(&Augment::default(), true, 1, 2, 3);
        let without = Draws::new(&Augment::default(), false, 1, 2, 3);
        assert!(with.mosaic && !without.mosaic);
        assert_eq!(Draws { mosaic: false, ..with }, without);
    }

    #[test]
    fn draws_stay_within_their_settings() {
        let augment = Augment { degrees: 10.0, shear: 3.0, flipud: 0.25, ..Augment::default() };
        let all: Vec<Draws> = (0..2_000).map(|index| Draws::new(&augment, true, 7, 0, index)).collect();
        for draws in &all {
            assert!((0.5..=1.5).contains(&draws.scale) && draws.angle.abs() <= 10.0 && draws.shear.iter().all(|shear| shear.abs() <= 3.0));
            assert!(draws.translate.iter().all(|shift| shift.abs() <= 0.1) && draws.hue.abs() <= 0.015);
            assert!((0.3..=1.7).contains(&draws.saturation) && (0.6..=1.4).contains(&draws.value));
        }
        // Standard deviations of 2,000 coins: 22 at one half, 19 at a quarter.
        let count = |test: fn(&Draws) -> bool| all.iter().filter(|draws| test(draws)).count();
        assert!((900..1_100).contains(&count(|draws| draws.fliplr)) && (400..600).contains(&count(|draws| draws.flipud)));
    }

    #[test]
    fn an_epoch_visits_every_image_once_in_an_order_of_its_own() {
        let mut first = order(1, 0, 100);
        assert_ne!(first, order(1, 1, 100));
        assert_eq!(first, order(1, 0, 100));
        first.sort_unstable();
        assert_eq!(first, (0..100).collect::<Vec<_>>());
    }
}
