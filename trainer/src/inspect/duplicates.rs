//! Images that are there more than once: the same bytes, or nearly the same look.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
};

use serde::Serialize;

use super::NAMED;
use crate::data::{Look, Side, Survey, Surveyed};

/// Looks (256 bits) that differ in no more places are near duplicates. A copy, smaller and compressed again, differs in up to
/// about 6; two frames of a still camera in some 10 to 40, depending on what moved.
const NEAR: u32 = 10;

/// Comparisons after which the search ends: some seconds of one core. A folder of ten thousand equal grey walls needs more.
const MAX_COMPARISONS: usize = 50_000_000;

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Duplicates {
    /// Images that have the same bytes as an earlier one.
    pub exact: usize,
    /// Some of them.
    pub exact_pairs: Vec<Pair>,
    /// Images that look like an earlier one, with other bytes.
    pub near: usize,
    /// Some of them.
    pub near_pairs: Vec<Pair>,
    /// Val images whose bytes are in train.
    pub leaks: usize,
    /// Val images that look like one in train.
    pub near_leaks: usize,
    /// Whether all looks were compared.
    pub complete: bool,
}

/// An image and the earlier one that it repeats.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pair {
    /// The earlier one.
    pub first: PathBuf,
    /// The later one.
    pub second: PathBuf,
    /// Whether one is in train and the other in val.
    pub across_sides: bool,
}

/// Finds duplicates among the usable images.
pub fn find(survey: &Survey) -> Duplicates {
    let mut found = Duplicates { complete: true, ..Duplicates::default() };
    let mut first_of: HashMap<[u8; 32], usize> = HashMap::with_capacity(survey.images.len());
    let mut sides: HashMap<[u8; 32], (bool, usize)> = HashMap::new();
    let mut distinct = Vec::new();
    for (at, image) in survey.images.iter().enumerate() {
        let (in_train, in_val) = sides.entry(image.checked.content).or_default();
        *in_train |= image.side != Some(Side::Val);
        *in_val += usize::from(image.side == Some(Side::Val));
        match first_of.get(&image.checked.content) {
            None => {
                first_of.insert(image.checked.content, at);
                distinct.push(at);
            }
            Some(&first) => {
                found.exact += 1;
                if found.exact_pairs.len() < NAMED {
                    found.exact_pairs.push(pair(&survey.images[first], image));
                }
            }
        }
    }
    found.leaks = sides.values().filter(|(in_train, _)| *in_train).map(|(_, in_val)| in_val).sum();
    near(&survey.images, &distinct, &mut found);
    found
}

/// Two looks that differ in at most ten of their sixteen rows' bits have at least six rows in common: only images that share a
/// row need to be compared.
fn near(images: &[Surveyed], distinct: &[usize], found: &mut Duplicates) {
    let look = |at: usize| images[at].checked.look;
    let mut rows: BTreeMap<(usize, u16), Vec<usize>> = BTreeMap::new();
    let mut seen_by: Vec<usize> = vec![usize::MAX; images.len()];
    let mut comparisons = 0;
    for &at in distinct {
        // A plain picture looks like every other plain picture, which says nothing.
        if look(at) == Look::default() {
            continue;
        }
        let (mut earlier, mut leaks) = (None, false);
        for (row, &bits) in look(at).0.iter().enumerate() {
            let others = rows.entry((row, bits)).or_default();
            for &other in others.iter() {
                if comparisons >= MAX_COMPARISONS {
                    found.complete = false;
                    break;
                }
                if std::mem::replace(&mut seen_by[other], at) == at {
                    continue;
                }
                comparisons += 1;
                if look(at).distance(&look(other)) <= NEAR {
                    earlier = earlier.or(Some(other));
                    leaks |= images[at].side != images[other].side;
                }
            }
            others.push(at);
        }
        let Some(first) = earlier else { continue };
        found.near += 1;
        found.near_leaks += usize::from(leaks);
        if found.near_pairs.len() < NAMED {
            found.near_pairs.push(Pair { across_sides: leaks, ..pair(&images[first], &images[at]) });
        }
    }
}

fn pair(first: &Surveyed, second: &Surveyed) -> Pair {
    Pair { first: first.path.clone(), second: second.path.clone(), across_sides: first.side != second.side }
}
