//! Which images learn and which judge.
//!
//! The side is a function of the image's group, or of its content where its name tells no group, and of nothing else:
//! not of the other files, not of a seed, not of the order. So an image never moves as the folder grows, and a model is
//! never judged on what its parent has learned from.

use sha2::{Digest, Sha256};
use std::collections::BTreeSet;

/// What is kept together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// The group that the name tells, if any.
    pub group: Option<String>,
    /// SHA-256 of the file.
    pub content: [u8; 32],
}

/// The outcome: `val[i]` tells whether unit `i` judges; and how this was decided, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// One flag per unit.
    pub val: Vec<bool>,
    /// For the metadata.
    pub how: String,
}

/// Assigns each unit a side.
pub fn assign(units: &[Unit], share: f64) -> Split {
    let percent = share * 100.0;
    let groups: BTreeSet<&str> = units.iter().filter_map(|unit| unit.group.as_deref()).collect();
    if groups.is_empty() {
        return finish(units.iter().map(by_content).collect(), share, format!("by content hash, {percent:.0} % val"));
    }
    let places: Vec<f64> = units.iter().map(by_group).collect();
    if distinct(&places) == 1 && units.len() > 1 {
        // One group is all there is: better frames of the same day on both sides than nothing to judge by. These images may
        // move once, when a second group appears.
        let how = format!("by content hash, {percent:.0} % val (the names tell one group only: {})", groups.first().unwrap_or(&""));
        return finish(units.iter().map(by_content).collect(), share, how);
    }
    finish(
        places,
        share,
        format!("by camera and day, {} groups, {percent:.0} % val", distinct(&units.iter().map(by_group).collect::<Vec<_>>())),
    )
}

/// Below the share means val. When that leaves a side empty, the unit nearest to the border crosses it.
fn finish(places: Vec<f64>, share: f64, how: String) -> Split {
    let mut border = share;
    let lowest = places.iter().copied().fold(f64::INFINITY, f64::min);
    let highest = places.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if lowest < highest {
        if lowest >= border {
            border = lowest + f64::EPSILON;
        } else if highest < border {
            border = highest;
        }
    }
    Split { val: places.iter().map(|&place| place < border).collect(), how }
}

fn by_content(unit: &Unit) -> f64 {
    place(b"content", &unit.content)
}

fn by_group(unit: &Unit) -> f64 {
    unit.group.as_ref().map_or_else(|| by_content(unit), |group| place(b"group", group.as_bytes()))
}

/// A number in 0..1 that depends on nothing but the key. 53 bits, so that it is exact in an f64.
fn place(kind: &[u8], key: &[u8]) -> f64 {
    let digest = Sha256::new().chain_update(b"edgeloop split 1\0").chain_update(kind).chain_update(b"\0").chain_update(key).finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    (u64::from_be_bytes(first) >> 11) as f64 / (1_u64 << 53) as f64
}

fn distinct(places: &[f64]) -> usize {
    places.iter().map(|place| place.to_bits()).collect::<BTreeSet<_>>().len()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use proptest::prelude::*;

    fn image(number: u32) -> Unit {
        let mut content = [0; 32];
        content[..4].copy_from_slice(&number.to_be_bytes());
        Unit { group: None, content }
    }

    fn frame(number: u32, group: u32) -> Unit {
        Unit { group: Some(format!("cam1/{group}")), ..image(number) }
    }

    #[test]
    fn the_share_is_kept_over_many_images() {
        let val = assign(&(0..10_000).map(image).collect::<Vec<_>>(), 0.2).val.into_iter().filter(|&val| val).count();
        // Standard deviation of a binomial with n = 10,000, p = 0.2: 40.
        assert!((1_840..2_160).contains(&val), "{val}");
    }

    #[test]
    fn frames_of_one_group_stay_together() {
        let units: Vec<Unit> = (0..400).map(|number| frame(number, number / 20)).collect();
        let split = assign(&units, 0.3);
        for frames in split.val.chunks(20) {
            assert!(frames.iter().all(|side| side == &frames[0]));
        }
        assert!(split.val.contains(&true) && split.val.contains(&false));
        assert!(split.how.contains("20 groups"), "{}", split.how);
    }

    #[test]
    fn one_group_alone_is_split_by_content() {
        let split = assign(&(0..50).map(|number| frame(number, 7)).collect::<Vec<_>>(), 0.2);
        assert!(split.val.contains(&true) && split.val.contains(&false));
        assert!(split.how.contains("one group only"), "{}", split.how);
    }

    #[test]
    fn equal_images_are_on_one_side() {
        let mut units: Vec<Unit> = (0..100).map(image).collect();
        units.extend((0..100).map(image));
        let val = assign(&units, 0.2).val;
        assert_eq!(val[..100], val[100..]);
    }

    proptest! {
        #[test]
        fn no_image_moves_as_the_folder_grows(numbers in prop::collection::btree_set(0_u32..1_000_000, 120..300), old in 100_usize..120) {
            let units: Vec<Unit> = numbers.into_iter().map(image).collect();
            let (before, after) = (assign(&units[..old], 0.2), assign(&units, 0.2));
            prop_assert_eq!(&before.val[..], &after.val[..old]);
        }

        #[test]
        fn order_does_not_matter(numbers in prop::collection::vec(0_u32..1_000, 2..60), share in 0.05_f64..0.95) {
            let units: Vec<Unit> = numbers.iter().map(|&number| image(number)).collect();
            let reversed: Vec<Unit> = units.iter().rev().cloned().collect();
            let (forth, mut back) = (assign(&units, share).val, assign(&reversed, share).val);
            back.reverse();
            prop_assert_eq!(forth, back);
        }

        #[test]
        fn two_different_images_are_enough_for_two_sides(a in 0_u32..1_000, b in 1_000_u32..2_000, groups: bool, share in 0.01_f64..0.99) {
            let units = if groups { [frame(a, a), frame(b, b)] } else { [image(a), image(b)] };
            let val = assign(&units, share).val;
            prop_assert_ne!(val[0], val[1]);
        }
    }
}
