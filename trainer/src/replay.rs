//! Which train images a run sees: all that are new since its parent, and a share of the older ones, so that what they taught is
//! not forgotten. Val is always whole.
//!
//! An image is known by its content and its labels together, classes by name: one that was labelled anew is new, and one whose
//! classes only have other numbers is not. What a version has learnt from is every train image of its run (new ones it saw, older
//! ones its ancestors saw), and is written down in the store. A version without that record has seen nothing.

mod choose;

use std::{collections::HashSet, sync::Arc};

use clap::Args;
use edgeloop_store::{Store, Version};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::data::{Dataset, Sample};

pub use choose::{Older, choose};

/// Older images that are all seen again where nobody says how many: an epoch of 2,000 images takes a slow box minutes.
const ALWAYS: usize = 2_000;

/// Beyond those, the share.
const USUAL: f64 = 0.5;

/// Settings of what a run sees again.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Replay")]
pub struct Replay {
    /// Share of the images that the promoted model has seen which the next one sees again, besides all new ones (0 to 1). By
    /// default all up to 2,000, and half of more. Without a new image, all are seen.
    #[arg(long, env = "REPLAY_SHARE")]
    pub replay_share: Option<f64>,
}

impl Replay {
    /// A setting that makes no sense, in words.
    ///
    /// # Errors
    /// That sentence.
    pub fn check(&self) -> Result<(), String> {
        match self.replay_share {
            Some(share) if !(0.0..=1.0).contains(&share) => Err(format!("REPLAY_SHARE is {share}; it must be between 0 and 1")),
            _ => Ok(()),
        }
    }

    fn share(&self, older: usize) -> f64 {
        self.replay_share.unwrap_or_else(|| if older <= ALWAYS { 1.0 } else { USUAL.max(ALWAYS as f64 / older as f64) })
    }
}

/// What a run sees.
#[derive(Debug)]
pub struct Seen {
    /// The data set with the train images of this run.
    pub dataset: Arc<Dataset>,
    /// Train images that the parent has not seen as they are now.
    pub new: usize,
    /// Train images that it has.
    pub older: usize,
    /// How many of those this run sees again.
    pub replayed: usize,
    /// What the new version will have seen: all train images.
    pub images: Vec<u64>,
}

impl Seen {
    /// Chooses for a run that starts from `parent`. The same seed, parent and images give the same choice.
    pub fn plan(settings: &Replay, store: &Store, parent: Option<&Version>, dataset: &Arc<Dataset>, seed: u64) -> Self {
        let images: Vec<u64> = dataset.train.iter().map(|sample| image(sample, &dataset.classes)).collect();
        let known: HashSet<u64> = parent.and_then(|parent| store.seen(parent)).unwrap_or_default().into_iter().collect();
        let key = format!("edgeloop replay 1\n{seed}\n{}\n", parent.map(Version::as_str).unwrap_or_default());
        let older: Vec<Older> = (0..images.len())
            .filter(|&index| known.contains(&images[index]))
            .map(|index| Older { index, rank: rank(&key, images[index]), classes: classes(&dataset.train[index]) })
            .collect();
        let (older_count, new) = (older.len(), images.len() - older.len());
        let share = if new == 0 { 1.0 } else { settings.share(older_count) };
        let replayed: HashSet<usize> = choose(&older, share).into_iter().collect();
        let seen = |index: &usize| !known.contains(&images[*index]) || replayed.contains(index);
        let dataset = if replayed.len() == older_count {
            dataset.clone()
        } else {
            let train = (0..images.len()).filter(seen).map(|index| dataset.train[index].clone()).collect();
            Arc::new(Dataset { train, ..Dataset::clone(dataset) })
        };
        Self { dataset, new, older: older_count, replayed: replayed.len(), images }
    }

    /// In words.
    pub fn describe(&self, parent: Option<&Version>) -> String {
        let Self { new, older, replayed, .. } = self;
        parent.map_or_else(
            || format!("{new} images to learn from"),
            |parent| format!("{new} images are new since {parent}; {replayed} of {older} older ones are seen again"),
        )
    }

    /// For the metadata, and for what a checkpoint must match.
    pub fn record(&self) -> Value {
        json!({"new": self.new, "older": self.older, "replayed": self.replayed})
    }
}

/// What an image is known by.
pub fn image(sample: &Sample, names: &[String]) -> u64 {
    let mut objects: Vec<Vec<u8>> = sample
        .objects
        .iter()
        .map(|object| {
            let mut bytes: Vec<u8> = [object.cx, object.cy, object.w, object.h].iter().flat_map(|value| value.to_le_bytes()).collect();
            bytes.extend(names.get(object.class as usize).map(String::as_bytes).unwrap_or_default());
            bytes
        })
        .collect();
    // The order of the rows in the label file is nobody's.
    objects.sort_unstable();
    let mut hash = Sha256::new_with_prefix(sample.content);
    for object in objects {
        hash.update((object.len() as u64).to_le_bytes());
        hash.update(object);
    }
    first(hash)
}

/// Where an image stands in the order of one run.
fn rank(key: &str, image: u64) -> u64 {
    first(Sha256::new_with_prefix(key).chain_update(image.to_le_bytes()))
}

fn first(hash: Sha256) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&hash.finalize()[..8]);
    u64::from_le_bytes(first)
}

fn classes(sample: &Sample) -> Vec<u32> {
    let mut classes: Vec<u32> = sample.objects.iter().map(|object| object.class).collect();
    classes.sort_unstable();
    classes.dedup();
    classes
}

#[cfg(test)]
mod tests;
