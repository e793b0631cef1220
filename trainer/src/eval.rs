//! How good a model is on the val images, for people: a table, what is taken for what, precision against recall.
//!
//! The figures are those of the gate ([`crate::judge`]): the same images, the same letterbox, the same NMS.

pub mod model;
pub mod pictures;
#[cfg(test)]
mod tests;
mod text;

use edgeloop_vision::map::{Evaluator, confusion::Confusion, curve::Curve};
use serde::Serialize;

use crate::{
    data::{Batch, ValLoader},
    judge::{JudgeError, Predictions, each_image},
};

/// Everything that was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Evaluation {
    /// What was evaluated.
    pub model: String,
    /// What ran it.
    pub engine: String,
    /// Side of the input.
    pub imgsz: u32,
    /// Images that it was evaluated on.
    pub images: u64,
    /// Mean AP at IoU .50 over the classes that have boxes.
    pub map50: f64,
    /// Mean AP over IoU .50, .55, … .95.
    pub map50_95: f64,
    /// Mean precision at `confidence`.
    pub precision: f64,
    /// Mean recall at `confidence`.
    pub recall: f64,
    /// Where the mean F1 at IoU .50 is highest.
    pub confidence: f32,
    /// One entry for each class of the data set.
    pub classes: Vec<Class>,
    /// What was taken for what, at confidence .25 and IoU .45; the last row and column are the background.
    pub confusion: Confusion,
    /// What somebody should know.
    pub notes: Vec<String>,
}

/// One class' figures.
#[derive(Debug, Clone, Serialize)]
pub struct Class {
    /// Its name.
    pub name: String,
    /// Labelled boxes; without any the figures are 0 and mean nothing.
    pub boxes: u64,
    /// Precision at the common confidence.
    pub precision: f64,
    /// Recall there.
    pub recall: f64,
    /// AP at IoU .50.
    pub map50: f64,
    /// Mean AP over the ten thresholds.
    pub map50_95: f64,
    /// Precision at recall 0, .01, … 1 and IoU .50.
    pub curve: Curve,
}

/// What is evaluated, besides its predictions.
pub struct Subject<'a> {
    /// What it is called.
    pub name: &'a str,
    /// What runs it.
    pub engine: String,
    /// The classes that it knows, in its order.
    pub knows: &'a [String],
    /// The side that it is given.
    pub imgsz: u32,
}

/// Runs a model over the val side once.
///
/// # Errors
/// See [`JudgeError`].
pub fn evaluate(
    subject: &Subject<'_>,
    predict: &mut dyn FnMut(&Batch) -> anyhow::Result<Predictions>,
    val: &ValLoader,
    classes: &[String],
) -> Result<Evaluation, JudgeError> {
    let count = classes.len();
    let (mut evaluator, mut confusion) = (Evaluator::new(count), Confusion::new(count));
    each_image(predict, val, subject.knows, classes, &mut |found, truths| {
        evaluator.add_image(found, truths);
        confusion.add_image(found, truths);
    })?;
    let report = evaluator.finish();
    let figures = report.per_class.iter().zip(evaluator.curves()).zip(classes);
    let class = |((figures, curve), name): ((&edgeloop_vision::map::ClassReport, Curve), &String)| Class {
        name: name.clone(),
        boxes: figures.boxes,
        precision: figures.precision,
        recall: figures.recall,
        map50: figures.map50,
        map50_95: figures.map50_95,
        curve,
    };
    Ok(Evaluation {
        model: subject.name.to_owned(),
        engine: subject.engine.clone(),
        imgsz: subject.imgsz,
        images: report.images,
        map50: report.map50,
        map50_95: report.map50_95,
        precision: report.precision,
        recall: report.recall,
        confidence: report.confidence,
        classes: figures.map(class).collect(),
        confusion,
        notes: notes(subject.knows, classes),
    })
}

/// Classes that only one of the two knows.
fn notes(knows: &[String], classes: &[String]) -> Vec<String> {
    let lacking =
        |these: &[String], those: &[String]| -> Vec<String> { these.iter().filter(|name| !those.contains(name)).cloned().collect() };
    let mut notes = Vec::new();
    let unknown = lacking(classes, knows);
    if !unknown.is_empty() {
        notes.push(format!("the model does not know {}: it finds none of their boxes", unknown.join(", ")));
    }
    let unlabelled = lacking(knows, classes);
    if !unlabelled.is_empty() {
        notes.push(format!("nothing is labelled {}: what the model says about them is left out", unlabelled.join(", ")));
    }
    notes
}
