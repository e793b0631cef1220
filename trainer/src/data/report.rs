//! What a scan counted.

use std::{fmt, path::PathBuf};

/// Boxes and images of one class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassCount {
    /// Class name.
    pub name: String,
    /// Boxes on the train side.
    pub train_boxes: usize,
    /// Boxes on the val side.
    pub val_boxes: usize,
}

/// Counts of a scan; its `Display` is the text that the trainer prints. Paths and warnings are in the log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScanReport {
    /// Where the labels came from, in words.
    pub source: String,
    /// Image files found.
    pub images: usize,
    /// Usable images that have labels, background included.
    pub labelled: usize,
    /// Images that were not decoded again: unchanged since an earlier scan.
    pub remembered: usize,
    /// Images without a label file, left out.
    pub unlabelled: usize,
    /// Usable images whose labels say: nothing here.
    pub background: usize,
    /// Images that cannot be used, and why.
    pub skipped: Vec<(PathBuf, String)>,
    /// Boxes of the usable images.
    pub boxes: usize,
    /// Boxes that reached over the edge of their image and were cut there.
    pub clipped: usize,
    /// Boxes without an area, or wholly outside of their image: left out.
    pub dropped: usize,
    /// Rows given twice in one file: taken once.
    pub duplicates: usize,
    /// Boxes by class.
    pub per_class: Vec<ClassCount>,
    /// Images on the train side.
    pub train: usize,
    /// Images on the val side.
    pub val: usize,
    /// Things that somebody should know and that stop nothing.
    pub warnings: Vec<String>,
}

/// Skipped images named in the log; all of them are in the report.
const SHOWN: usize = 10;

impl ScanReport {
    /// Writes what a person should look at to the log: images that cannot be used, with their paths, and warnings.
    pub(super) fn log(&self) {
        for (path, why) in self.skipped.iter().take(SHOWN) {
            tracing::warn!("image skipped: {}: {why}", path.display());
        }
        if self.skipped.len() > SHOWN {
            tracing::warn!("{} more images skipped", self.skipped.len() - SHOWN);
        }
        for warning in &self.warnings {
            tracing::warn!("{warning}");
        }
    }
}

impl fmt::Display for ScanReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, images, labelled, unlabelled, background, skipped, boxes, .. } = self;
        write!(f, "{images} images: {labelled} labelled ({background} of them background), {unlabelled} without labels")?;
        write!(f, ", {} skipped; {boxes} boxes; labels: {source}", skipped.len())?;
        if self.train + self.val > 0 {
            write!(f, "\ntrain {} · val {}", self.train, self.val)?;
        }
        for class in &self.per_class {
            write!(f, " · {} {}+{}", class.name, class.train_boxes, class.val_boxes)?;
        }
        if self.clipped + self.dropped + self.duplicates > 0 {
            let Self { clipped, dropped, duplicates, .. } = self;
            write!(f, "\nboxes cut at the edge {clipped}, without area {dropped}, given twice {duplicates}")?;
        }
        Ok(())
    }
}
