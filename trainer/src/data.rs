//! Images and labels: from a folder to batches.
//!
//! [`scan`] reads a folder once: which images there are, where their labels are, which image belongs to train and which to
//! val, and what is wrong. [`TrainLoader`] turns the train side into augmented batches on worker threads, [`ValLoader`] the
//! val side into letterboxed ones. Boxes are fractions of the upright image from the label file to the batch.

mod augment;
mod cache;
mod check;
mod coco;
mod data_yaml;
mod error;
mod files;
mod group;
mod labels;
mod loader;
pub(crate) mod names;
mod object;
mod prefetch;
mod report;
mod scan;
mod source;
mod split;
mod survey;
#[cfg(test)]
pub(crate) mod testing;
mod val;
mod yolo_txt;

use std::{path::PathBuf, sync::Arc};

pub use augment::Augment;
pub use cache::disk::{DiskCache, Fitted};
pub use check::{Checked, Look, read_image};
pub use error::{DataError, Problem};
pub use loader::{EpochBatches, LoaderConfig, TrainLoader};
pub use object::{Object, Side};
pub use report::{ClassCount, ScanReport};
pub use scan::scan;
pub use survey::{Survey, Surveyed, look_through};
pub use val::{ValBatch, ValBatches, ValLoader};
pub use yolo_txt::Rows;

/// What [`scan`] found: something to train on, or nothing yet.
#[derive(Debug)]
pub enum Scan {
    /// Both sides of the split have images, and there is at least one box.
    Ready(Dataset),
    /// There are images, and nothing is wrong with them, but nobody has labelled them yet.
    WaitingForLabels(ScanReport),
}

/// A checked data set. Every image in it was decoded, now or when an earlier scan found it as it still is; every box lies inside its
/// image.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// Class names; the index is the class number.
    pub classes: Vec<String>,
    /// Images to learn from, ordered by path.
    pub train: Vec<Sample>,
    /// Images to judge by, ordered by path.
    pub val: Vec<Sample>,
    /// Counts, and what was left out and why.
    pub report: ScanReport,
    /// SHA-256 (hex) over names, contents, labels, classes and sides: equal fingerprints mean equal training data.
    pub fingerprint: String,
    /// How the two sides were told apart, in words.
    pub split: String,
    /// Where decoded pictures are kept that have no room in memory.
    pub disk: Option<Arc<DiskCache>>,
}

/// One image with its boxes.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The image file.
    pub path: PathBuf,
    /// SHA-256 of the file when it was scanned.
    pub content: [u8; 32],
    /// Columns of the upright image.
    pub width: u32,
    /// Rows of the upright image.
    pub height: u32,
    /// Its boxes; empty for background.
    pub objects: Vec<Object>,
}

/// How to read a folder.
#[derive(Debug, Clone)]
pub struct DataOptions {
    /// A pinned val folder (absolute, or relative to the images folder): images under it are val, all others train.
    /// Not used with `data.yaml`, which names its own.
    pub val_dir: Option<PathBuf>,
    /// Share of the images (or groups) that becomes val where nobody pins it. Between 0 and 1.
    pub val_share: f64,
    /// Take images without a label file as background instead of leaving them out.
    pub unlabelled_as_background: bool,
    /// Threads that read and decode.
    pub threads: usize,
    /// More image files than this are refused: the list is held in memory.
    pub max_images: usize,
    /// Folder in which a scan leaves what it checked for the next one.
    pub memory_dir: Option<PathBuf>,
    /// Where decoded pictures may be kept.
    pub disk: Option<DiskOptions>,
}

/// Room on disk for decoded pictures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskOptions {
    /// The folder.
    pub dir: PathBuf,
    /// Bytes that it may take; at most a quarter of what is free when it is opened, besides what it has already.
    pub bytes: u64,
}

impl DiskOptions {
    /// Opens the folder. Without one a training takes longer and gives the same.
    pub fn open(&self) -> Option<Arc<DiskCache>> {
        let opened = DiskCache::open(&self.dir, self.bytes);
        let why = |error: &std::io::Error| tracing::info!(dir = %self.dir.display(), "no pictures are kept on disk: {error}");
        opened.inspect_err(why).ok().map(Arc::new)
    }
}

impl Default for DataOptions {
    fn default() -> Self {
        Self {
            val_dir: None,
            val_share: 0.2,
            unlabelled_as_background: false,
            threads: 2,
            max_images: 1_000_000,
            memory_dir: None,
            disk: None,
        }
    }
}

/// A batch as the network takes it, but in bytes: a quarter of the memory traffic, and the division by 255 is one tensor call.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Images in the batch.
    pub n: usize,
    /// Height of each, in pixels.
    pub h: usize,
    /// Width of each, in pixels.
    pub w: usize,
    /// `[n, 3, h, w]`, RGB, row-major.
    pub images: Vec<u8>,
    /// Boxes of all images, by image.
    pub targets: Vec<Target>,
}

/// A box of a batch, in fractions (0 to 1) of the input picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Target {
    /// Position of its image in the batch.
    pub image: u32,
    /// Class number.
    pub class: u32,
    /// Centre, fraction of the width.
    pub cx: f32,
    /// Centre, fraction of the height.
    pub cy: f32,
    /// Width, fraction of the width.
    pub w: f32,
    /// Height, fraction of the height.
    pub h: f32,
}
