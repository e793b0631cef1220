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
mod prefetch;
mod report;
mod scan;
mod split;
#[cfg(test)]
pub(crate) mod testing;
mod val;
mod yolo_txt;

use std::path::PathBuf;

pub use augment::Augment;
pub use error::{DataError, Problem};
pub use loader::{EpochBatches, LoaderConfig, TrainLoader};
pub use report::{ClassCount, ScanReport};
pub use scan::scan;
pub use val::{ValBatch, ValBatches, ValLoader};

/// What [`scan`] found: something to train on, or nothing yet.
#[derive(Debug)]
pub enum Scan {
    /// Both sides of the split have images, and there is at least one box.
    Ready(Dataset),
    /// There are images, and nothing is wrong with them, but nobody has labelled them yet.
    WaitingForLabels(ScanReport),
}

/// A checked data set. Every image in it was decoded once, every box lies inside its image.
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
}

/// One image with its boxes.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The image file.
    pub path: PathBuf,
    /// Its boxes; empty for background.
    pub objects: Vec<Object>,
    /// SHA-256 of the file.
    pub content: [u8; 32],
}

/// One labelled box, in fractions (0 to 1) of the upright image. Lies inside the image and has an area.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Object {
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
}

impl Default for DataOptions {
    fn default() -> Self {
        Self { val_dir: None, val_share: 0.2, unlabelled_as_background: false, threads: 2, max_images: 1_000_000 }
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
