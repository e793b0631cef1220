//! What is in a folder of images and labels, for people: counts, sizes, broken rows, duplicates, imbalance, leaks.
//!
//! In: a [`Survey`]. Out: numbers, words and pictures. Nothing here changes a file.

mod duplicates;
pub mod pictures;
mod sizes;
#[cfg(test)]
mod tests;
mod text;

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::data::{Side, Survey};

pub use duplicates::{Duplicates, Pair};
pub use sizes::{BoxSizes, ImageSize};

/// Findings of each kind that are named; all of them are counted.
const NAMED: usize = 50;

/// A class with fewer boxes than this to learn from is hard to learn.
const FEW_BOXES: usize = 50;

/// Everything that was found.
#[derive(Debug, Clone, Serialize)]
pub struct Inspection {
    /// Where the labels came from.
    pub labels: String,
    /// How the sides were told apart.
    pub split: String,
    /// Image files.
    pub images: usize,
    /// Usable ones with labels.
    pub labelled: usize,
    /// Those whose labels say: nothing here.
    pub background: usize,
    /// Images without labels.
    pub unlabelled: usize,
    /// Images to learn from.
    pub train: usize,
    /// Images to judge by.
    pub val: usize,
    /// Boxes in all.
    pub boxes: usize,
    /// The most boxes of one image.
    pub most_boxes: usize,
    /// Boxes that were cut at the edge of their image.
    pub clipped: usize,
    /// Boxes without an area.
    pub without_area: usize,
    /// Rows given twice.
    pub repeated_rows: usize,
    /// Classes in their order.
    pub classes: Vec<Class>,
    /// Boxes of the most frequent class for one of the rarest that has any.
    pub imbalance: Option<f64>,
    /// Sizes of images, most frequent first.
    pub image_sizes: Vec<ImageSize>,
    /// Different sizes of images.
    pub distinct_image_sizes: usize,
    /// Side of the input that boxes are measured at.
    pub imgsz: u32,
    /// Sizes of boxes in pixels of the input.
    pub box_sizes: BoxSizes,
    /// Images that cannot be used.
    pub skipped: Vec<Skipped>,
    /// How many there are.
    pub skipped_count: usize,
    /// Broken label rows.
    pub broken: Vec<Broken>,
    /// How many there are.
    pub broken_count: usize,
    /// Images that are there more than once.
    pub duplicates: Duplicates,
    /// What somebody should do something about.
    pub warnings: Vec<String>,
}

/// One class.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Class {
    /// Its name.
    pub name: String,
    /// Boxes to learn from.
    pub train_boxes: usize,
    /// Boxes to judge by.
    pub val_boxes: usize,
    /// Images that have it.
    pub images: usize,
    /// Boxes with a side under 8 px of the input.
    pub small: usize,
}

/// An image that cannot be used.
#[derive(Debug, Clone, Serialize)]
pub struct Skipped {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub why: String,
}

/// A broken label row.
#[derive(Debug, Clone, Serialize)]
pub struct Broken {
    /// The label file.
    pub file: PathBuf,
    /// From 1; 0 where the format has no lines.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

/// Looks at a survey, with boxes measured at an input of `imgsz` pixels.
pub fn inspect(survey: &Survey, imgsz: u32) -> Inspection {
    let report = &survey.report;
    let on = |side| survey.images.iter().filter(|image| image.side == Some(side)).count();
    let classes = classes(survey, imgsz);
    let box_sizes = sizes::boxes(survey, imgsz);
    let (image_sizes, distinct_image_sizes) = sizes::images(survey);
    let counts = || classes.iter().map(|class| class.train_boxes + class.val_boxes).filter(|&boxes| boxes > 0);
    let imbalance = counts().max().zip(counts().min()).map(|(most, least)| most as f64 / least as f64);
    let named = |path: &Path| path.to_owned();
    let mut inspection = Inspection {
        labels: report.source.clone(),
        split: survey.split.clone(),
        images: report.images,
        labelled: report.labelled,
        background: report.background,
        unlabelled: report.unlabelled,
        train: on(Side::Train),
        val: on(Side::Val),
        boxes: report.boxes,
        most_boxes: survey.images.iter().map(|image| image.rows.objects.len()).max().unwrap_or_default(),
        clipped: report.clipped,
        without_area: report.dropped,
        repeated_rows: report.duplicates,
        classes,
        imbalance,
        image_sizes,
        distinct_image_sizes,
        imgsz,
        box_sizes,
        skipped: report.skipped.iter().take(NAMED).map(|(path, why)| Skipped { path: named(path), why: why.clone() }).collect(),
        skipped_count: report.skipped.len(),
        broken: survey.problems.iter().map(broken).collect(),
        broken_count: survey.problem_count,
        duplicates: duplicates::find(survey),
        warnings: report.warnings.clone(),
    };
    let warnings = warnings(&inspection);
    inspection.warnings.extend(warnings);
    inspection
}

fn broken(problem: &crate::data::Problem) -> Broken {
    Broken { file: problem.file.clone(), line: problem.line, message: problem.message.clone() }
}

fn classes(survey: &Survey, imgsz: u32) -> Vec<Class> {
    let mut classes: Vec<Class> = survey.classes.iter().map(|name| Class { name: name.clone(), ..Class::default() }).collect();
    for image in &survey.images {
        let mut seen = std::collections::BTreeSet::new();
        for object in &image.rows.objects {
            let Some(class) = classes.get_mut(object.class as usize) else { continue };
            match image.side {
                Some(Side::Val) => class.val_boxes += 1,
                _ => class.train_boxes += 1,
            }
            let (width, height) = sizes::at_input(image, object, imgsz);
            class.small += usize::from(width.min(height) < sizes::SMALL);
            class.images += usize::from(seen.insert(object.class));
        }
    }
    classes
}

fn warnings(found: &Inspection) -> Vec<String> {
    let mut warnings = Vec::new();
    let named = |classes: Vec<&str>| {
        let shown: Vec<&str> = classes.iter().take(10).copied().collect();
        let more = if classes.len() > shown.len() { format!(" and {} more", classes.len() - shown.len()) } else { String::new() };
        format!("{}{more}", shown.join(", "))
    };
    let which = |test: &dyn Fn(&Class) -> bool| -> Vec<&str> {
        found.classes.iter().filter(|class| test(class)).map(|class| class.name.as_str()).collect()
    };
    if found.boxes > 0 {
        for (side, lacking) in [("train", which(&|class| class.train_boxes == 0)), ("val", which(&|class| class.val_boxes == 0))] {
            if !lacking.is_empty() {
                warnings.push(format!("no box in {side}: {}", named(lacking)));
            }
        }
        let few = which(&|class| (1..FEW_BOXES).contains(&class.train_boxes));
        if !few.is_empty() {
            warnings.push(format!("fewer than {FEW_BOXES} boxes to learn from: {}", named(few)));
        }
    }
    if let Some(ratio) = found.imbalance.filter(|ratio| *ratio >= 10.0) {
        warnings.push(format!("the most frequent class has {ratio:.0} times as many boxes as the rarest"));
    }
    let small = found.box_sizes.small as f64 / found.boxes.max(1) as f64;
    if small > 0.1 {
        let percent = small * 100.0;
        warnings.push(format!(
            "{percent:.0} % of the boxes have a side under {} px at IMGSZ {}: train at a larger size, or cut the images into parts",
            sizes::SMALL,
            found.imgsz
        ));
    }
    if found.duplicates.leaks > 0 {
        warnings.push(format!("{} val images are in train as well: val figures are too good", found.duplicates.leaks));
    }
    if found.duplicates.near_leaks > 0 {
        warnings.push(format!("{} val images look like one in train", found.duplicates.near_leaks));
    }
    if found.broken_count > 0 {
        warnings.push(format!("{} broken label rows: a training refuses them", found.broken_count));
    }
    warnings
}
