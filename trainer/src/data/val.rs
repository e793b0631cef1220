//! The val side: letterboxed, unchanged, always in the same order.

use super::{Batch, DataError, Dataset, LoaderConfig, Sample, Target, cache::Cache, prefetch::Prefetch, source::Source};
use edgeloop_vision::{
    boxes::Xyxy,
    letterbox::{Letterbox, letterbox_chw_u8},
    map::Truth,
};
use std::{ops::Range, sync::Arc};

/// A batch of val images and what a judge needs to know about each.
#[derive(Debug, Clone, PartialEq)]
pub struct ValBatch {
    /// The input, with targets in fractions of it.
    pub batch: Batch,
    /// How each image lies in the input.
    pub letterboxes: Vec<Letterbox>,
    /// What is to be found in each, in pixels of the upright image.
    pub truths: Vec<Vec<Truth>>,
}

/// The val side of a data set as batches.
pub struct ValLoader {
    shared: Arc<Shared>,
}

struct Shared {
    dataset: Arc<Dataset>,
    config: LoaderConfig,
    cache: Cache<Picture>,
    source: Source,
}

struct Picture {
    planes: Vec<u8>,
    letterbox: Letterbox,
}

impl ValLoader {
    /// Makes a loader; `seed` and `augment` of the settings are not used.
    ///
    /// # Errors
    /// [`DataError::Settings`] for sizes that make no sense, [`DataError::EmptySide`] without val images.
    pub fn new(dataset: Arc<Dataset>, config: LoaderConfig) -> Result<Self, DataError> {
        config.check()?;
        if dataset.val.is_empty() {
            return Err(DataError::EmptySide { side: "val", message: "nothing to judge by".to_owned() });
        }
        let budget = config.cache_mb.saturating_mul(1 << 20);
        let cache = Cache::new(dataset.val.len(), budget);
        let source = Source::new(&dataset, &dataset.val, config.imgsz, budget);
        Ok(Self { shared: Arc::new(Shared { dataset, config, cache, source }) })
    }

    /// Val images.
    pub fn images(&self) -> usize {
        self.shared.dataset.val.len()
    }

    /// Batches in a pass.
    pub fn batches_per_pass(&self) -> usize {
        self.images().div_ceil(self.shared.config.batch)
    }

    /// Starts the threads on one pass.
    pub fn batches(&self) -> ValBatches {
        let (shared, batch) = (self.shared.clone(), self.shared.config.batch);
        let make = move |number: usize| shared.batch(number * batch..((number + 1) * batch).min(shared.dataset.val.len()));
        ValBatches { inner: Prefetch::new(self.batches_per_pass(), self.shared.config.workers, Arc::new(make)) }
    }

    /// The first `count` images (fewer where there are fewer) as one batch, for the check of an export.
    ///
    /// # Errors
    /// [`DataError::Vanished`] when one of them can no longer be read.
    pub fn first(&self, count: usize) -> Result<ValBatch, DataError> {
        self.shared.batch(0..count.min(self.images()))
    }
}

/// The batches of one pass.
pub struct ValBatches {
    inner: Prefetch<ValBatch>,
}

impl Iterator for ValBatches {
    type Item = Result<ValBatch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.inner.next()
    }
}

impl Shared {
    /// Unlike in training no other image can stand in for one that is gone: the figures of two passes would not compare.
    fn batch(&self, range: Range<usize>) -> Result<ValBatch, DataError> {
        let size = self.config.imgsz as usize;
        let n = range.len();
        let mut images = Vec::with_capacity(n * 3 * size * size);
        let (mut targets, mut letterboxes, mut truths) = (Vec::new(), Vec::with_capacity(n), Vec::with_capacity(n));
        for (image, index) in range.enumerate() {
            let sample = &self.dataset.val[index];
            let picture = self.cache.get(index, || load(&self.source, sample, self.config.imgsz));
            let picture = picture.map_err(|message| DataError::Vanished { count: 1, path: sample.path.clone(), message })?;
            images.extend_from_slice(&picture.planes);
            let pixels = truths_of(sample, &picture.letterbox);
            targets.extend(pixels.iter().map(|truth| target(truth, &picture.letterbox, image as u32)));
            truths.push(pixels);
            letterboxes.push(picture.letterbox);
        }
        Ok(ValBatch { batch: Batch { n, h: size, w: size, images, targets }, letterboxes, truths })
    }
}

fn load(source: &Source, sample: &Sample, size: u32) -> Result<(Picture, usize), String> {
    let fitted = source.get(sample)?;
    let mut planes = vec![0; 3 * (size * size) as usize];
    // It fits already: this only pads it and takes its colours apart.
    letterbox_chw_u8(&fitted.image, size, size, &mut planes);
    let letterbox = Letterbox::fit(fitted.src_w, fitted.src_h, size, size);
    let bytes = planes.len() + size_of::<Picture>();
    Ok((Picture { planes, letterbox }, bytes))
}

fn truths_of(sample: &Sample, letterbox: &Letterbox) -> Vec<Truth> {
    let (width, height) = (letterbox.src_w as f32, letterbox.src_h as f32);
    let pixels = |object: &super::Object| Xyxy::from_cxcywh(object.cx * width, object.cy * height, object.w * width, object.h * height);
    sample.objects.iter().map(|object| Truth { class: object.class, bbox: pixels(object) }).collect()
}

fn target(truth: &Truth, letterbox: &Letterbox, image: u32) -> Target {
    let (cx, cy, w, h) = letterbox.to_input(truth.bbox).to_cxcywh();
    let (width, height) = (letterbox.dst_w as f32, letterbox.dst_h as f32);
    Target { image, class: truth.class, cx: cx / width, cy: cy / height, w: w / width, h: h / height }
}
