//! How good a model is on the val side: one pass, judging's NMS, boxes back in pixels of the images, mAP.

use crate::data::{Batch, DataError, ValLoader};
use edgeloop_vision::{
    map::{Evaluator, MapReport},
    nms::{NmsConfig, Postprocess},
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
        /// Classes of the data set.
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
    let rows = 4 + classes.len();
    let config = NmsConfig::judging();
    let mut evaluator = Evaluator::new(classes.len());
    let mut postprocess = Postprocess::default();
    for batch in val.batches() {
        let batch = batch?;
        let images = batch.batch.n;
        let output = predict(&batch.batch).map_err(JudgeError::Predict)?.data;
        let values = output.len() / images;
        if values == 0 || output.len() % images != 0 || values % rows != 0 {
            return Err(JudgeError::Shape { values: output.len(), images, classes: classes.len() });
        }
        for ((output, letterbox), truths) in output.chunks_exact(values).zip(&batch.letterboxes).zip(&batch.truths) {
            let mut found = postprocess.run(output, classes.len(), values / rows, &config);
            for detection in &mut found {
                detection.bbox = letterbox.to_image(detection.bbox);
            }
            evaluator.add_image(&found, truths);
        }
    }
    Ok(evaluator.finish())
}

#[cfg(test)]
mod tests;
