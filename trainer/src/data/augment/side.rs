//! The side of each batch's input, where it varies.

use super::draws::rng;
use rand::RngExt;

/// What a side must be a multiple of: the stride of the coarsest level.
const STRIDE: u32 = 32;
/// Fewest strides: at one, the coarsest level is a single cell, and a norm has no deviation of one value.
const LEAST: u32 = 2;
/// Most strides: 4096 px.
const MOST: u32 = 128;
/// For the fractions of bits in settings like 0.35.
const SLACK: f64 = 1e-6;

/// Side of the input for batch `number` of `epoch`: each multiple of 32 within `imgsz` times 1 ± `range` is as likely.
pub fn side(range: f32, imgsz: u32, seed: u64, epoch: u32, number: usize) -> u32 {
    if range <= 0.0 {
        return imgsz;
    }
    let strides = f64::from(imgsz) / f64::from(STRIDE);
    let least = ((strides * (1.0 - f64::from(range)) - SLACK).ceil() as u32).max(LEAST.min(imgsz / STRIDE));
    let most = ((strides * (1.0 + f64::from(range)) + SLACK).floor() as u32).clamp(least, MOST.max(least));
    rng(b"sides--", seed, epoch, number as u64).random_range(least..=most) * STRIDE
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn sides_are_multiples_within_bounds_and_all_of_them_come() {
        let sides = |range: f32, imgsz: u32| -> BTreeSet<u32> { (0..500).map(|n| side(range, imgsz, 1, 2, n)).collect() };
        // 640 ± 50 %: 320, 352, … 960
        assert_eq!(sides(0.5, 640), (10..=30).map(|n| n * 32).collect());
        // 640 ± 35 %: 416 … 864
        assert_eq!(sides(0.35, 640), (13..=27).map(|n| n * 32).collect());
        assert_eq!(sides(0.5, 64), BTreeSet::from([64, 96]));
        assert_eq!(sides(0.5, 32), BTreeSet::from([32]));
        assert_eq!(sides(0.01, 640), BTreeSet::from([640]));
        assert_eq!(sides(0.0, 640), BTreeSet::from([640]));
        assert!(sides(0.5, 4096).iter().all(|&s| (2048..=4096).contains(&s)));
    }

    #[test]
    fn seed_epoch_and_batch_decide() {
        let sides = |seed, epoch| -> Vec<u32> { (0..20).map(|n| side(0.5, 640, seed, epoch, n)).collect() };
        assert_eq!(sides(1, 2), sides(1, 2));
        assert_ne!(sides(1, 2), sides(2, 2));
        assert_ne!(sides(1, 2), sides(1, 3));
    }
}
