//! From the head's raw levels and the labelled boxes to the loss of a batch.
//!
//! Class: binary cross-entropy over all anchors, with the assigner's soft targets. Box: 1 − complete IoU, and side: DFL, over
//! the anchors that have a box, weighted by their soft target. Each is divided by the sum of the soft targets, so that a
//! batch with many boxes counts as one with few; the whole is multiplied by the number of images, so that gradients of
//! accumulated batches add up to that of one large batch.
//!
//! Everything here is float32. The assigner sees the predictions as numbers: no gradient flows through the assignment.

pub mod anchors;
pub mod assigner;
pub mod ciou;
pub mod dfl;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, TchError, Tensor};

use crate::{
    data::Target,
    loss::{
        anchors::{Anchors, Grid},
        assigner::{Assigner, Positive, Predicted, Truth},
    },
    net::Head,
};

/// Weights of the three parts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Gains {
    /// Of 1 − CIoU.
    pub bbox: f64,
    /// Of the cross-entropy.
    pub class: f64,
    /// Of DFL.
    pub dfl: f64,
}

impl Default for Gains {
    fn default() -> Self {
        Self { bbox: 7.5, class: 0.5, dfl: 1.5 }
    }
}

/// How the loss is made.
#[derive(Debug, Clone, Copy, Default)]
pub struct Loss {
    /// Weights of the parts.
    pub gains: Gains,
    /// Who learns what.
    pub assigner: Assigner,
}

/// The loss of one batch.
#[derive(Debug)]
pub struct Losses {
    /// What to differentiate: the sum of the parts times the number of images.
    pub total: Tensor,
    /// Box, class and DFL parts with their gains, for one image.
    pub parts: [f64; 3],
    /// How many anchors had a box to learn.
    pub positives: usize,
}

/// The head as rows: one per anchor, finest level first, each level row by row.
struct Rows {
    /// `[n, anchors, 4 · bins]`
    boxes: Tensor,
    /// `[n, anchors, classes]`
    logits: Tensor,
    anchors: Anchors,
    images: usize,
    bins: i64,
    classes: i64,
}

impl Rows {
    fn of(head: &Head) -> Result<Self, TchError> {
        let mut grids = Vec::new();
        let (mut boxes, mut logits) = (Vec::new(), Vec::new());
        let (mut n, mut sides, mut classes) = (0, 0, 0);
        for level in &head.levels {
            let (h, w);
            (n, classes, h, w) = level.scores.size4()?;
            sides = level.boxes.size4()?.1;
            grids.push(Grid { h: h as usize, w: w as usize, stride: level.stride as usize });
            let rows = |t: &Tensor, c: i64| t.permute([0, 2, 3, 1]).reshape([n, h * w, c]).to_kind(Kind::Float);
            boxes.push(rows(&level.boxes, sides));
            logits.push(rows(&level.scores, classes));
        }
        Ok(Self {
            boxes: Tensor::f_cat(&boxes, 1)?,
            logits: Tensor::f_cat(&logits, 1)?,
            anchors: Anchors::new(grids),
            images: n as usize,
            bins: sides / 4,
            classes,
        })
    }
}

/// What the positives learn, as tensors.
struct Lessons {
    /// Rows of the flattened head: image · anchors + anchor.
    rows: Tensor,
    /// Centre of the anchor, in strides, `[p, 2]`.
    centres: Tensor,
    /// Box to learn, in strides, `[p, 4]`.
    boxes: Tensor,
    /// Class to learn.
    classes: Tensor,
    /// Soft targets `[p]`.
    scores: Tensor,
    /// Their sum, at least 1: a batch without boxes still teaches what background is.
    score_sum: f64,
}

impl Lessons {
    fn new(positives: &[Positive], truths: &[Truth], anchors: &Anchors, device: Device) -> Self {
        let p = positives.len();
        let mut rows = Vec::with_capacity(p);
        let mut centres = Vec::with_capacity(2 * p);
        let mut boxes = Vec::with_capacity(4 * p);
        let mut classes = Vec::with_capacity(p);
        let mut scores = Vec::with_capacity(p);
        for positive in positives {
            let ([x, y], stride) = anchors.at(positive.anchor);
            let truth = &truths[positive.truth];
            rows.push((positive.image * anchors.len() + positive.anchor) as i64);
            centres.extend([x / stride, y / stride]);
            boxes.extend(truth.bbox.map(|v| v / stride));
            classes.push(truth.class as i64);
            scores.push(positive.score);
        }
        let score_sum = scores.iter().map(|&s| f64::from(s)).sum::<f64>().max(1.0);
        Self {
            rows: Tensor::from_slice(&rows).to_device(device),
            centres: Tensor::from_slice(&centres).reshape([-1, 2]).to_device(device),
            boxes: Tensor::from_slice(&boxes).reshape([-1, 4]).to_device(device),
            classes: Tensor::from_slice(&classes).to_device(device),
            scores: Tensor::from_slice(&scores).to_device(device),
            score_sum,
        }
    }
}

impl Loss {
    /// The loss of `head` for a batch of inputs of `h`×`w` pixels with these targets.
    ///
    /// # Errors
    /// When libtorch refuses, or a target names a class or an image that the head does not have.
    pub fn of(&self, head: &Head, targets: &[Target], h: usize, w: usize) -> Result<Losses, TchError> {
        let rows = Rows::of(head)?;
        let truths = truths(targets, h, w);
        if let Some(t) = truths.iter().find(|t| t.image >= rows.images || t.class >= rows.classes as usize) {
            return Err(TchError::Shape(format!(
                "a target of class {} in image {} does not fit a head of {} classes and {} images",
                t.class, t.image, rows.classes, rows.images
            )));
        }
        let positives = self.assign(&rows, &truths)?;
        let device = rows.logits.device();
        let lessons = Lessons::new(&positives, &truths, &rows.anchors, device);

        // Cross-entropy of logit x with target t is softplus(x) − t·x: only positives have a t.
        let logits = rows.logits.reshape([-1, rows.classes]);
        let right = logits.index_select(0, &lessons.rows).gather(1, &lessons.classes.unsqueeze(1), false).squeeze_dim(1);
        let class = logits.softplus().sum(Kind::Float) - (right * &lessons.scores).sum(Kind::Float);

        let sides = rows.boxes.reshape([-1, 4, rows.bins]).index_select(0, &lessons.rows).log_softmax(-1, Kind::Float);
        let (near, far) = (lessons.boxes.narrow(1, 0, 2), lessons.boxes.narrow(1, 2, 2));
        let distances = Tensor::cat(&[&lessons.centres - near, far - &lessons.centres], 1);
        let dfl = (dfl::loss(&sides, &distances) * &lessons.scores).sum(Kind::Float);

        let reach = dfl::expectation(&sides);
        let predicted = Tensor::cat(&[&lessons.centres - reach.narrow(1, 0, 2), &lessons.centres + reach.narrow(1, 2, 2)], 1);
        let bbox = ((1f64 - ciou::ciou_rows(&lessons.boxes, &predicted)) * &lessons.scores).sum(Kind::Float);

        let parts = Tensor::stack(&[bbox, class, dfl], 0)
            * Tensor::from_slice(&[self.gains.bbox, self.gains.class, self.gains.dfl].map(|g| (g / lessons.score_sum) as f32))
                .to_device(device);
        let total = parts.sum(Kind::Float) * rows.images as f64;
        let mut numbers = [0f32; 3];
        parts.detach().to_device(Device::Cpu).f_copy_data(&mut numbers, 3)?;
        Ok(Losses { total, parts: numbers.map(f64::from), positives: positives.len() })
    }

    fn assign(&self, rows: &Rows, truths: &[Truth]) -> Result<Vec<Positive>, TchError> {
        if truths.is_empty() {
            return Ok(Vec::new());
        }
        let n = rows.images as i64;
        let sides = tch::no_grad(|| dfl::expectation(&rows.boxes.detach().reshape([n, -1, 4, rows.bins]).log_softmax(-1, Kind::Float)));
        let (sides, logits) = (host(&sides)?, host(&rows.logits.detach())?);
        let predicted = Predicted { sides: &sides, logits: &logits, classes: rows.classes as usize };
        Ok(self.assigner.assign(&rows.anchors, predicted, truths))
    }
}

fn host(t: &Tensor) -> Result<Vec<f32>, TchError> {
    let mut out = vec![0f32; t.numel()];
    let len = out.len();
    t.to_device(Device::Cpu).contiguous().f_copy_data(&mut out, len)?;
    Ok(out)
}

/// Fractions of the input to pixels, images in rising order.
fn truths(targets: &[Target], h: usize, w: usize) -> Vec<Truth> {
    let (h, w) = (h as f32, w as f32);
    let mut out: Vec<Truth> = targets
        .iter()
        .map(|t| {
            let (cx, cy, dx, dy) = (t.cx * w, t.cy * h, t.w * w / 2.0, t.h * h / 2.0);
            Truth { image: t.image as usize, class: t.class as usize, bbox: [cx - dx, cy - dy, cx + dx, cy + dy] }
        })
        .collect();
    out.sort_by_key(|t| t.image);
    out
}
