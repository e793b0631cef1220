//! From a folder to a data set that can be trained on, or the reason why not.

use super::{
    ClassCount, DataError, DataOptions, Dataset, DiskOptions, Object, Sample, Scan, ScanReport, Side,
    check::{Checked, read_image},
    labels,
    survey::{Survey, Surveyed, check_options, survey},
};
use crate::digest::hex;
use sha2::{Digest, Sha256};
use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

/// One to learn from and one to judge by.
const FEWEST: usize = 2;

/// Unlabelled images looked at before saying that nothing but labels is missing.
const PROBED: usize = 32;

/// Reads a folder: finds images and labels, decodes every labelled image that it has not seen
/// before, and splits them.
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
    check_options(options)?;
    let mut listing = labels::list(images_dir, options)?;
    listing.refuse_broken()?;
    let tried = listing.entries.len();
    if tried + listing.unlabelled.len() == 0 {
        return Err(DataError::NoImages { dir: images_dir.to_owned() });
    }
    if tried == 0 {
        probe(&listing.unlabelled)?;
    }
    let Survey { classes, images, split, mut report, .. } = survey(images_dir, listing, options);
    if tried == 0 {
        return Ok(Scan::WaitingForLabels(report));
    }
    if images.len() < FEWEST && !report.skipped.is_empty() {
        return Err(DataError::Unreadable { total: tried, usable: images.len(), examples: report.skipped });
    }
    if images.len() < FEWEST || report.boxes == 0 {
        let missing = if report.boxes == 0 { "no image has a box" } else { "one labelled image: at least two are needed" };
        // Before all others: this is what the wait is for.
        report.warnings.insert(0, missing.to_owned());
        return Ok(Scan::WaitingForLabels(report));
    }
    let mut scan = finish(images, classes, split, report)?;
    if let Scan::Ready(dataset) = &mut scan {
        dataset.disk = options.disk.as_ref().and_then(DiskOptions::open);
    }
    Ok(scan)
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

fn finish(usable: Vec<Surveyed>, classes: Vec<String>, split: String, mut report: ScanReport) -> Result<Scan, DataError> {
    let fingerprint = fingerprint(&usable, &classes);
    let val_contents: HashSet<[u8; 32]> =
        usable.iter().filter(|image| image.side == Some(Side::Val)).map(|image| image.checked.content).collect();
    let (mut train, mut val, mut leaked) = (Vec::new(), Vec::new(), 0);
    for Surveyed { path, side, rows, checked } in usable {
        let Checked { content, width, height, .. } = checked;
        let sample = Sample { path, content, width, height, objects: rows.objects };
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
    Ok(Scan::Ready(Dataset { classes, train, val, report, fingerprint, split, disk: None }))
}

fn count_classes(classes: &[String], train: &[Sample], val: &[Sample]) -> Vec<ClassCount> {
    let mut counts: Vec<ClassCount> = classes.iter().map(|name| ClassCount { name: name.clone(), train_boxes: 0, val_boxes: 0 }).collect();
    train.iter().flat_map(|sample| &sample.objects).for_each(|object| counts[object.class as usize].train_boxes += 1);
    val.iter().flat_map(|sample| &sample.objects).for_each(|object| counts[object.class as usize].val_boxes += 1);
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
fn fingerprint(usable: &[Surveyed], classes: &[String]) -> String {
    let mut hash = Sha256::new();
    let mut put = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    classes.iter().for_each(|name| put(name.as_bytes()));
    // 32 bytes an image, however many boxes it has.
    let mut lines: Vec<[u8; 32]> = usable.iter().map(line).collect();
    lines.sort_unstable();
    lines.iter().for_each(|line| put(line));
    hex(&hash.finalize())
}

fn line(image: &Surveyed) -> [u8; 32] {
    let mut line = Sha256::new();
    line.update(image.checked.content);
    line.update([u8::from(image.side == Some(Side::Val))]);
    for Object { class, cx, cy, w, h } in &image.rows.objects {
        line.update(class.to_le_bytes());
        [cx, cy, w, h].into_iter().for_each(|value| line.update(value.to_le_bytes()));
    }
    line.finalize().into()
}

#[cfg(test)]
mod tests;
