//! One reading of a folder: list, check, split, count.

use super::{
    ClassCount, DataError, DataOptions, Dataset, Object, Sample, Scan, ScanReport,
    check::{Checked, check_all, read_image},
    group,
    labels::{self, Entry, Labels, Side},
    names,
    split::{Unit, assign},
    yolo_txt::Rows,
};
use sha2::{Digest, Sha256};
use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
};

/// One to learn from and one to judge by.
const FEWEST: usize = 2;

/// Unlabelled images looked at before saying that nothing but labels is missing.
const PROBED: usize = 32;

/// An image that can be used.
struct Usable {
    path: PathBuf,
    side: Option<Side>,
    rows: Rows,
    content: [u8; 32],
}

/// Reads a folder: finds images and labels, decodes every labelled image once, and splits them.
///
/// # Errors
/// [`DataError`] for whatever a person has to put right before anything can be trained. A single image that cannot be used
/// is no error: it is left out, counted, and named in the report and in the log.
pub fn scan(images_dir: &Path, options: &DataOptions) -> Result<Scan, DataError> {
    let found = read(images_dir, options)?;
    match &found {
        Scan::Ready(dataset) => dataset.report.log(),
        Scan::WaitingForLabels(report) => report.log(),
    }
    Ok(found)
}

fn read(images_dir: &Path, options: &DataOptions) -> Result<Scan, DataError> {
    if !(options.val_share > 0.0 && options.val_share < 1.0) {
        return Err(DataError::Settings(format!("the share of val images is {}; it must be between 0 and 1", options.val_share)));
    }
    let listing = labels::list(images_dir, options)?;
    let mut report = ScanReport {
        source: listing.source,
        images: listing.entries.len() + listing.unlabelled.len(),
        unlabelled: listing.unlabelled.len(),
        ..ScanReport::default()
    };
    if report.images == 0 {
        return Err(DataError::NoImages { dir: images_dir.to_owned() });
    }
    if listing.entries.is_empty() {
        probe(&listing.unlabelled)?;
        return Ok(Scan::WaitingForLabels(report));
    }
    let tried = listing.entries.len();
    let mut usable = check(listing.entries, listing.classes.as_deref().unwrap_or_default(), options.threads, &mut report);
    count_rows(&usable, &mut report);
    if usable.len() < FEWEST && !report.skipped.is_empty() {
        return Err(DataError::Unreadable { total: tried, usable: usable.len(), examples: report.skipped });
    }
    if usable.len() < FEWEST || report.boxes == 0 {
        let missing = if report.boxes == 0 { "no image has a box" } else { "one labelled image: at least two are needed" };
        report.warnings.push(missing.to_owned());
        return Ok(Scan::WaitingForLabels(report));
    }
    let classes = listing.classes.unwrap_or_else(|| {
        let last = usable.iter().flat_map(|image| &image.rows.objects).map(|object| object.class).max();
        report.warnings.push("no classes.txt: classes are named by their numbers".to_owned());
        names::numbered(last.map_or(1, |last| last as usize + 1))
    });
    let split = match listing.split {
        Some(split) => split,
        None => divide(&mut usable, images_dir, options.val_share),
    };
    finish(usable, classes, split, report)
}

/// Nothing is labelled; but if nothing can be read either, labels are not what is missing.
fn probe(unlabelled: &[PathBuf]) -> Result<(), DataError> {
    let mut examples = Vec::new();
    for path in unlabelled.iter().take(PROBED) {
        match read_image(path) {
            Ok(_) => return Ok(()),
            Err(why) => examples.push((path.clone(), why)),
        }
    }
    if unlabelled.len() > PROBED {
        return Ok(());
    }
    Err(DataError::Unreadable { total: unlabelled.len(), usable: 0, examples })
}

fn check(entries: Vec<Entry>, classes: &[String], threads: usize, report: &mut ScanReport) -> Vec<Usable> {
    let numbers: HashMap<&str, u32> = classes.iter().enumerate().map(|(number, name)| (name.as_str(), number as u32)).collect();
    let paths: Vec<&Path> = entries.iter().map(|entry| entry.path.as_path()).collect();
    let checked = check_all(&paths, threads);
    let mut usable = Vec::with_capacity(entries.len());
    for (entry, checked) in entries.into_iter().zip(checked) {
        let Entry { path, side, labels } = entry;
        let rows = |Checked { width, height, content }| match labels {
            Labels::Rows(rows) => Ok((rows, content)),
            Labels::Pixels(listed) => listed.rows(&numbers, width, height).map(|rows| (rows, content)),
        };
        match checked.and_then(rows) {
            Ok((rows, content)) => usable.push(Usable { path, side, rows, content }),
            Err(why) => report.skipped.push((path, why)),
        }
    }
    usable
}

fn count_rows(usable: &[Usable], report: &mut ScanReport) {
    report.labelled = usable.len();
    for Usable { rows, .. } in usable {
        report.boxes += rows.objects.len();
        report.background += usize::from(rows.objects.is_empty());
        report.clipped += rows.clipped;
        report.dropped += rows.dropped;
        report.duplicates += rows.duplicates;
    }
}

fn divide(usable: &mut [Usable], dir: &Path, share: f64) -> String {
    let unit = |image: &Usable| Unit { group: group::key(image.path.strip_prefix(dir).unwrap_or(&image.path)), content: image.content };
    let units: Vec<Unit> = usable.iter().map(unit).collect();
    let split = assign(&units, share);
    for (image, val) in usable.iter_mut().zip(split.val) {
        image.side = Some(if val { Side::Val } else { Side::Train });
    }
    split.how
}

fn finish(usable: Vec<Usable>, classes: Vec<String>, split: String, mut report: ScanReport) -> Result<Scan, DataError> {
    let fingerprint = fingerprint(&usable, &classes);
    let val_contents: HashSet<[u8; 32]> = usable.iter().filter(|image| image.side == Some(Side::Val)).map(|image| image.content).collect();
    let (mut train, mut val, mut leaked) = (Vec::new(), Vec::new(), 0);
    for Usable { path, side, rows, content } in usable {
        let sample = Sample { path, objects: rows.objects, content };
        if side == Some(Side::Val) {
            val.push(sample);
        } else {
            leaked += usize::from(val_contents.contains(&content));
            train.push(sample);
        }
    }
    for (side, samples) in [("train", &train), ("val", &val)] {
        if samples.is_empty() {
            let message = format!("all {} usable images are on the other side (split: {split})", report.labelled);
            return Err(DataError::EmptySide { side, message });
        }
    }
    (report.train, report.val) = (train.len(), val.len());
    report.per_class = count_classes(&classes, &train, &val);
    warn(&mut report, leaked);
    Ok(Scan::Ready(Dataset { classes, train, val, report, fingerprint, split }))
}

fn count_classes(classes: &[String], train: &[Sample], val: &[Sample]) -> Vec<ClassCount> {
    let mut counts: Vec<ClassCount> = classes.iter().map(|name| ClassCount { name: name.clone(), train_boxes: 0, val_boxes: 0 }).collect();
    let objects = |samples: &[Sample]| -> Vec<Object> { samples.iter().flat_map(|sample| sample.objects.iter().copied()).collect() };
    objects(train).iter().for_each(|object| counts[object.class as usize].train_boxes += 1);
    objects(val).iter().for_each(|object| counts[object.class as usize].val_boxes += 1);
    counts
}

fn warn(report: &mut ScanReport, leaked: usize) {
    let lacking = |boxes: fn(&ClassCount) -> usize| -> Vec<&str> {
        report.per_class.iter().filter(|class| boxes(class) == 0).map(|class| class.name.as_str()).collect()
    };
    let mut warnings = Vec::new();
    for (side, lacking) in [("train", lacking(|class| class.train_boxes)), ("val", lacking(|class| class.val_boxes))] {
        if !lacking.is_empty() {
            let shown: Vec<&str> = lacking.iter().take(10).copied().collect();
            warnings.push(format!("{} of {} classes have no box in {side}: {}", lacking.len(), report.per_class.len(), shown.join(", ")));
        }
    }
    let share = report.val as f64 / (report.train + report.val) as f64;
    if !(0.05..=0.5).contains(&share) {
        warnings
            .push(format!("{:.0} % of the images are val: too few groups to divide well, or a val folder of an odd size", share * 100.0));
    }
    if leaked > 0 {
        warnings.push(format!("{leaked} train images are in val as well: val figures are too good"));
    }
    report.warnings.extend(warnings);
}

/// Names of files do not count: a renamed folder trains the same model.
fn fingerprint(usable: &[Usable], classes: &[String]) -> String {
    let mut hash = Sha256::new();
    let mut put = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    classes.iter().for_each(|name| put(name.as_bytes()));
    let mut lines: Vec<Vec<u8>> = usable.iter().map(line).collect();
    lines.sort_unstable();
    lines.iter().for_each(|line| put(line));
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn line(image: &Usable) -> Vec<u8> {
    let mut line = image.content.to_vec();
    line.push(u8::from(image.side == Some(Side::Val)));
    for Object { class, cx, cy, w, h } in &image.rows.objects {
        line.extend(class.to_le_bytes());
        line.extend([cx, cy, w, h].into_iter().flat_map(|value| value.to_le_bytes()));
    }
    line
}

#[cfg(test)]
mod tests;
