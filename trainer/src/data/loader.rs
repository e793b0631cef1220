//! Augmented batches for training.

use super::{
    Batch, DataError, Dataset,
    augment::{Augment, Draws, Mixup, Sides, Tile, order, render, side},
    cache::Cache,
    prefetch::Prefetch,
    source::Source,
};
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

/// How batches are made.
#[derive(Debug, Clone, PartialEq)]
pub struct LoaderConfig {
    /// Side of the square input in pixels, a multiple of 32.
    pub imgsz: u32,
    /// Images a batch; the last one of an epoch may be smaller.
    pub batch: usize,
    /// What every draw depends on, with the epoch and the image.
    pub seed: u64,
    /// Threads; 0 works in the thread that asks. The batches are the same for any number.
    pub workers: usize,
    /// How pictures are changed (train side only).
    pub augment: Augment,
    /// Memory for decoded pictures, in MiB, of this loader.
    pub cache_mb: usize,
}

impl LoaderConfig {
    pub(super) fn check(&self) -> Result<(), DataError> {
        if self.imgsz == 0 || !self.imgsz.is_multiple_of(32) || self.imgsz > 4096 {
            return Err(DataError::Settings(format!("IMGSZ is {}; it must be a multiple of 32, up to 4096", self.imgsz)));
        }
        if self.batch == 0 || self.batch > 4096 {
            return Err(DataError::Settings(format!("BATCH_SIZE is {}; it must be between 1 and 4096", self.batch)));
        }
        self.augment.problem().map_or(Ok(()), |problem| Err(DataError::Settings(problem)))
    }
}

/// The train side of a data set as batches.
pub struct TrainLoader {
    shared: Arc<Shared>,
}

struct Shared {
    dataset: Arc<Dataset>,
    config: LoaderConfig,
    cache: Cache<Tile>,
    source: Source,
    unreadable: Mutex<BTreeMap<usize, String>>,
}

/// Unreadable images in a row before the folder counts as gone.
const MAX_REPLACED: usize = 16;

/// Mosaic partners come from so many batches around: recent enough to be in the cache where it cannot hold all, many enough
/// that the mix is no poorer.
const PARTNER_BATCHES: usize = 8;

impl TrainLoader {
    /// Makes a loader; no thread starts yet.
    ///
    /// # Errors
    /// [`DataError::Settings`] for sizes and augmentations that make no sense, [`DataError::EmptySide`] without train images.
    pub fn new(dataset: Arc<Dataset>, config: LoaderConfig) -> Result<Self, DataError> {
        config.check()?;
        if dataset.train.is_empty() {
            return Err(DataError::EmptySide { side: "train", message: "nothing to learn from".to_owned() });
        }
        let budget = config.cache_mb.saturating_mul(1 << 20);
        let cache = Cache::new(dataset.train.len(), budget);
        let source = Source::new(&dataset, &dataset.train, config.imgsz, budget);
        Ok(Self { shared: Arc::new(Shared { dataset, config, cache, source, unreadable: Mutex::default() }) })
    }

    /// Batches in every epoch.
    pub fn batches_per_epoch(&self) -> usize {
        self.shared.dataset.train.len().div_ceil(self.shared.config.batch)
    }

    /// Starts the threads on one epoch. `mosaic` false leaves the mosaic out, as the last epochs of a training do.
    /// Dropping the iterator stops them.
    pub fn epoch(&self, epoch: u32, mosaic: bool) -> EpochBatches {
        self.epoch_from(epoch, mosaic, 0)
    }

    /// The rest of an epoch: its batches from number `first` on, the same as those of the whole.
    pub fn epoch_from(&self, epoch: u32, mosaic: bool, first: usize) -> EpochBatches {
        let shared = self.shared.clone();
        let order = order(shared.config.seed, epoch, shared.dataset.train.len());
        let make = move |batch| shared.batch(&order, epoch, mosaic, first + batch);
        let left = self.batches_per_epoch().saturating_sub(first);
        EpochBatches { inner: Prefetch::new(left, self.shared.config.workers, Arc::new(make)) }
    }

    /// Images that could be read by the scan and no longer can; others were taken in their place.
    pub fn unreadable(&self) -> Vec<(PathBuf, String)> {
        let unreadable = self.shared.unreadable.lock().unwrap_or_else(PoisonError::into_inner);
        unreadable.iter().map(|(&index, why)| (self.shared.dataset.train[index].path.clone(), why.clone())).collect()
    }
}

/// The batches of one epoch.
pub struct EpochBatches {
    inner: Prefetch<Batch>,
}

impl Iterator for EpochBatches {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.inner.next()
    }
}

/// Where a picture goes.
#[derive(Clone, Copy)]
struct Place<'a> {
    /// Of the epoch.
    order: &'a [usize],
    epoch: u32,
    mosaic: bool,
    /// In that order.
    position: usize,
    /// Its number in the batch.
    image: u32,
    sides: Sides,
}

impl Shared {
    fn batch(&self, order: &[usize], epoch: u32, mosaic: bool, number: usize) -> Result<Batch, DataError> {
        let LoaderConfig { imgsz, batch, seed, augment, .. } = &self.config;
        let side = side(augment.multi_scale, *imgsz, *seed, epoch, number) as usize;
        let sides = Sides { base: *imgsz as usize, batch: side };
        let from = number * batch;
        let n = (*batch).min(order.len() - from);
        let mut images = vec![0; n * 3 * side * side];
        let mut targets = Vec::new();
        for (image, out) in images.chunks_exact_mut(3 * side * side).enumerate() {
            let place = Place { order, epoch, mosaic, position: from + image, image: image as u32, sides };
            self.picture(&place, out, &mut targets)?;
        }
        Ok(Batch { n, h: side, w: side, images, targets })
    }

    fn picture(&self, place: &Place<'_>, out: &mut [u8], targets: &mut Vec<super::Target>) -> Result<(), DataError> {
        let Place { order, epoch, mosaic, position, .. } = *place;
        let (augment, seed, key) = (&self.config.augment, self.config.seed, order[position]);
        let (index, tile) = self.first_readable(order, position)?;
        self.drawn(&Draws::new(augment, mosaic, seed, epoch, key), (index, &tile), place, out, targets);
        // As the mosaic, mixing ends before the training does: the last epochs are of pictures as they will be met.
        if let Some(mix) = Mixup::new(augment, mosaic, seed, epoch, key).filter(|_| mosaic) {
            let (other, over) = self.partner(mix.partner, place, (index, &tile));
            let mut second = vec![0; out.len()];
            self.drawn(&mix.draws, (other, &over), place, &mut second, targets);
            mix.blend(out, &second);
        }
        Ok(())
    }

    /// One picture, or four of which it is the first.
    fn drawn(&self, draws: &Draws, first: (usize, &Arc<Tile>), place: &Place<'_>, out: &mut [u8], targets: &mut Vec<super::Target>) {
        let objects = |index: usize| &self.dataset.train[index].objects[..];
        let (index, tile) = first;
        let Place { image, sides, .. } = *place;
        if !draws.mosaic {
            render(draws, &[(tile, objects(index))], sides, out, image, targets);
            return;
        }
        let [b, c, d] = &draws.partners.map(|at| self.partner(at, place, first));
        let pictures = [(index, tile), (b.0, &b.1), (c.0, &c.1), (d.0, &d.1)].map(|(index, tile)| (&**tile, objects(index)));
        render(draws, &pictures, sides, out, image, targets);
    }

    /// The image at `at`, 0..1 of those around. One that is gone is replaced by `first`, which was just read.
    fn partner(&self, at: f64, place: &Place<'_>, (index, tile): (usize, &Arc<Tile>)) -> (usize, Arc<Tile>) {
        let near = self.neighbours(place.order, place.position);
        let partner = near[(at * near.len() as f64) as usize % near.len()];
        self.tile(partner).map_or_else(|| (index, tile.clone()), |tile| (partner, tile))
    }

    /// The images that the epoch visits around `position`.
    fn neighbours<'a>(&self, order: &'a [usize], position: usize) -> &'a [usize] {
        let window = self.config.batch.saturating_mul(PARTNER_BATCHES).clamp(32, 1024).min(order.len());
        let from = (position / window * window).min(order.len() - window);
        &order[from..from + window]
    }

    /// The image at `position`, or where it is gone the next one of the order that is not: batches keep their size.
    fn first_readable(&self, order: &[usize], position: usize) -> Result<(usize, Arc<Tile>), DataError> {
        for step in 0..MAX_REPLACED {
            let index = order[(position + step) % order.len()];
            if let Some(tile) = self.tile(index) {
                return Ok((index, tile));
            }
        }
        let index = order[position];
        let message = self.unreadable.lock().unwrap_or_else(PoisonError::into_inner).get(&index).cloned().unwrap_or_default();
        Err(DataError::Vanished { count: MAX_REPLACED, path: self.dataset.train[index].path.clone(), message })
    }

    fn tile(&self, index: usize) -> Option<Arc<Tile>> {
        let sample = &self.dataset.train[index];
        let load = || {
            let tile = Tile::new(self.source.get(sample)?.image);
            let bytes = tile.bytes();
            Ok::<_, String>((tile, bytes))
        };
        match self.cache.get(index, load) {
            Ok(tile) => Some(tile),
            Err(why) => {
                let mut unreadable = self.unreadable.lock().unwrap_or_else(PoisonError::into_inner);
                if unreadable.insert(index, why.clone()).is_none() {
                    tracing::warn!(path = %sample.path.display(), "image can no longer be read, another is taken instead: {why}");
                }
                None
            }
        }
    }
}

#[cfg(test)]
mod tests;
