//! How good a model is on the val side: one pass, judging's NMS, boxes back in pixels of the images, mAP.

use crate::data::{Batch, DataError, ValLoader};
use edgeloop_vision::{
    map::{Evaluator, MapReport, Truth},
    nms::{Detection, NmsConfig, Postprocess},
};

/// What a model says about a batch: `[n, 4 + classes, anchors]`, boxes `cx, cy, w, h` in input pixels, scores 0 to 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Predictions {
    /// Row-major.
    pub data: Vec<f32>,
}

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
pub enum JudgeError {
    /// A val image is gone.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The model failed.
    #[error("the model failed on a val batch: {0:#}")]
    Predict(anyhow::Error),
    /// The model's output has another shape than the classes ask for.
    #[error("the model gave {values} values for {images} images of {classes} classes: not a whole number of anchors")]
    Shape {
        /// Values in the output.
        values: usize,
        /// Images in the batch.
        images: usize,
        /// Classes of the model.
        classes: usize,
    },
}

/// Runs `predict` over the val side once. Confidence from 0.001, NMS at IoU 0.7, an anchor may give several classes, 300
/// detections an image: never the settings that serving uses.
///
/// # Errors
/// See [`JudgeError`].
pub fn judge(
    predict: &mut dyn FnMut(&Batch) -> anyhow::Result<Predictions>,
    val: &ValLoader,
    classes: &[String],
) -> Result<MapReport, JudgeError> {
    Ok(evaluate(predict, val, classes, classes)?.finish())
}

/// As [`judge`], for a model that knows the classes `knows`, in its order; the evaluator's classes are those of the val side.
///
/// # Errors
/// See [`JudgeError`].
pub fn evaluate(
    predict: &mut dyn FnMut(&Batch) -> anyhow::Result<Predictions>,
    val: &ValLoader,
    knows: &[String],
    classes: &[String],
) -> Result<Evaluator, JudgeError> {
    let mut evaluator = Evaluator::new(classes.len());
    each_image(predict, val, knows, classes, &mut |found, truths| {
        evaluator.add_image(found, truths);
    })?;
    Ok(evaluator)
}

/// Hands what a model finds in each val image, and what is labelled there, to `image`, in pixels of the upright image.
///
/// The model knows the classes `knows`, in its order: they are matched with those of the val side, `classes`, by name, and what
/// it says about others is left out. A class that it does not know is one that it never finds.
///
/// # Errors
/// See [`JudgeError`].
pub fn each_image(
    predict: &mut dyn FnMut(&Batch) -> anyhow::Result<Predictions>,
    val: &ValLoader,
    knows: &[String],
    classes: &[String],
    image: &mut dyn FnMut(&[Detection], &[Truth]),
) -> Result<(), JudgeError> {
    let numbers: Vec<Option<u32>> = knows.iter().map(|name| classes.iter().position(|c| c == name).map(|at| at as u32)).collect();
    let rows = 4 + knows.len();
    let config = NmsConfig::judging();
    let mut postprocess = Postprocess::default();
    for batch in val.batches() {
        let batch = batch?;
        let images = batch.batch.n;
        let output = predict(&batch.batch).map_err(JudgeError::Predict)?.data;
        let values = output.len() / images;
        if values == 0 || output.len() % images != 0 || values % rows != 0 {
            return Err(JudgeError::Shape { values: output.len(), images, classes: knows.len() });
        }
        for ((output, letterbox), truths) in output.chunks_exact(values).zip(&batch.letterboxes).zip(&batch.truths) {
            let mut found = postprocess.run(output, knows.len(), values / rows, &config);
            found.retain_mut(|detection| {
                detection.bbox = letterbox.to_image(detection.bbox);
                let number = numbers[detection.class as usize];
                detection.class = number.unwrap_or(detection.class);
                number.is_some()
            });
            image(&found, truths);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
