//! One reading of a folder: list, check, count, divide. What [`scan`](super::scan()) trains on and `inspect` shows.

use super::{
    DataError, DataOptions, ScanReport, Side,
    check::{AllChecked, Checked, Memory, check_all},
    error::Problem,
    group,
    labels::{self, Entry, Labels, Listing},
    names,
    split::{Unit, assign},
    yolo_txt::Rows,
};
use std::path::{Path, PathBuf};

/// An image that can be used, with its labels.
#[derive(Debug)]
pub struct Surveyed {
    /// The file.
    pub path: PathBuf,
    /// Its side; `None` only until the folder is divided.
    pub side: Option<Side>,
    /// Its boxes, and what was done to them.
    pub rows: Rows,
    /// What was seen in it.
    pub checked: Checked,
}

/// All of a folder.
#[derive(Debug)]
pub struct Survey {
    /// Class names; the index is the class number.
    pub classes: Vec<String>,
    /// Usable images with labels, ordered by path within a side.
    pub images: Vec<Surveyed>,
    /// Images without labels.
    pub unlabelled: Vec<PathBuf>,
    /// How the sides were told apart, in words.
    pub split: String,
    /// Counts. Those by class and side are not filled in.
    pub report: ScanReport,
    /// What is wrong with the labels, the first ones.
    pub problems: Vec<Problem>,
    /// How many problems there are.
    pub problem_count: usize,
}

/// Looks through a folder for people: unlike [`scan`](super::scan()), goes on where labels are broken or images too few.
///
/// # Errors
/// [`DataError`] where there is nothing to look at, or the description of the data set cannot be understood.
pub fn look_through(images_dir: &Path, options: &DataOptions) -> Result<Survey, DataError> {
    check_options(options)?;
    let listing = labels::list(images_dir, options)?;
    if listing.entries.len() + listing.unlabelled.len() == 0 {
        return Err(DataError::NoImages { dir: images_dir.to_owned() });
    }
    Ok(survey(images_dir, listing, options))
}

/// Looks at every labelled image of a listing.
pub fn survey(images_dir: &Path, listing: Listing, options: &DataOptions) -> Survey {
    let mut report = ScanReport {
        source: listing.source,
        images: listing.entries.len() + listing.unlabelled.len(),
        unlabelled: listing.unlabelled.len(),
        warnings: listing.notes,
        ..ScanReport::default()
    };
    let mut memory = options.memory_dir.as_ref().map_or_else(Memory::none, |dir| Memory::open(dir, images_dir));
    let mut images = check(listing.entries, options.threads, &mut memory, &mut report);
    memory.save();
    drop(memory);
    count_rows(&images, &mut report);
    let classes = listing.classes.unwrap_or_else(|| {
        let last = images.iter().flat_map(|image| &image.rows.objects).map(|object| object.class).max();
        if last.is_some() {
            report.warnings.push("no classes.txt: classes are named by their numbers".to_owned());
        }
        names::numbered(last.map_or(1, |last| last as usize + 1))
    });
    let root = if images_dir.is_file() { images_dir.parent().unwrap_or(images_dir) } else { images_dir };
    let split = match listing.split {
        Some(split) => split,
        None => divide(&mut images, root, options.val_share),
    };
    let (problems, problem_count, unlabelled) = (listing.problems, listing.problem_count, listing.unlabelled);
    Survey { classes, images, unlabelled, split, report, problems, problem_count }
}

/// Refuses options that make no sense.
pub fn check_options(options: &DataOptions) -> Result<(), DataError> {
    if options.val_share > 0.0 && options.val_share < 1.0 {
        return Ok(());
    }
    Err(DataError::Settings(format!("the share of val images is {}; it must be between 0 and 1", options.val_share)))
}

fn check(entries: Vec<Entry>, threads: usize, memory: &mut Memory, report: &mut ScanReport) -> Vec<Surveyed> {
    let paths: Vec<&Path> = entries.iter().map(|entry| entry.path.as_path()).collect();
    let AllChecked { images, remembered } = check_all(&paths, threads, memory);
    report.remembered = remembered;
    let mut usable = Vec::with_capacity(entries.len());
    for (entry, checked) in entries.into_iter().zip(images) {
        let Entry { mut path, side, labels } = entry;
        let rows = |checked: Checked| match labels {
            Labels::Rows(rows) => Ok((rows, checked)),
            Labels::Pixels(listed) => listed.rows(checked.width, checked.height).map(|rows| (rows, checked)),
        };
        match checked.and_then(rows) {
            Ok((mut rows, checked)) => {
                // Of 50,000 images, what a growing list has left over would be megabytes.
                rows.objects.shrink_to_fit();
                path.shrink_to_fit();
                usable.push(Surveyed { path, side, rows, checked });
            }
            Err(why) => report.skipped.push((path, why)),
        }
    }
    usable
}

fn count_rows(usable: &[Surveyed], report: &mut ScanReport) {
    report.labelled = usable.len();
    for Surveyed { rows, .. } in usable {
        report.boxes += rows.objects.len();
        report.background += usize::from(rows.objects.is_empty());
        report.clipped += rows.clipped;
        report.dropped += rows.dropped;
        report.duplicates += rows.duplicates;
    }
}

fn divide(images: &mut [Surveyed], dir: &Path, share: f64) -> String {
    let unit =
        |image: &Surveyed| Unit { group: group::key(image.path.strip_prefix(dir).unwrap_or(&image.path)), content: image.checked.content };
    let units: Vec<Unit> = images.iter().map(unit).collect();
    let split = assign(&units, share);
    for (image, val) in images.iter_mut().zip(split.val) {
        image.side = Some(if val { Side::Val } else { Side::Train });
    }
    split.how
}
