//! Which of the older images: at random, but with every class among them.

use std::collections::{BTreeMap, HashSet};

/// So many images of a class at least, or all of them: by share alone a rare class would be down to one or two.
const FEWEST: usize = 8;

/// An image that the parent has seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Older {
    /// Its place in the train side.
    pub index: usize,
    /// Its place in the order of this run: lowest first.
    pub rank: u64,
    /// Classes in it, each once.
    pub classes: Vec<u32>,
}

/// The places of at least `share` (0 to 1) of the images, of at least that share of each class' and of background, and of at
/// least eight of each class where there are as many. None for 0, all for 1.
pub fn choose(older: &[Older], share: f64) -> Vec<usize> {
    if share <= 0.0 {
        return Vec::new();
    }
    let of = |count: usize| ((count as f64 * share).ceil() as usize).min(count);
    let mut ordered: Vec<&Older> = older.iter().collect();
    ordered.sort_unstable_by_key(|image| (image.rank, image.index));
    // Background is a class of its own: it has no number to go by.
    let mut by_class: BTreeMap<Option<u32>, Vec<&Older>> = BTreeMap::new();
    for image in &ordered {
        let background = image.classes.is_empty().then_some(None);
        for class in image.classes.iter().copied().map(Some).chain(background) {
            by_class.entry(class).or_default().push(image);
        }
    }
    let mut groups: Vec<(Option<u32>, Vec<&Older>)> = by_class.into_iter().collect();
    // The rarest first: the images that they need count for the others too.
    groups.sort_by_key(|(_, images)| images.len());
    let mut chosen = HashSet::new();
    for (class, images) in &groups {
        let fewest = if class.is_some() { FEWEST.min(images.len()) } else { 0 };
        let wanted = of(images.len()).max(fewest);
        let have = images.iter().filter(|image| chosen.contains(&image.index)).count();
        let more: Vec<usize> = images.iter().map(|image| image.index).filter(|index| !chosen.contains(index)).collect();
        chosen.extend(more.into_iter().take(wanted.saturating_sub(have)));
    }
    let more: Vec<usize> = ordered.iter().map(|image| image.index).filter(|index| !chosen.contains(index)).collect();
    let missing = of(older.len()).saturating_sub(chosen.len());
    chosen.extend(more.into_iter().take(missing));
    let mut chosen: Vec<usize> = chosen.into_iter().collect();
    chosen.sort_unstable();
    chosen
}
