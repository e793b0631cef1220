//! A version's check file: a few images and the outputs that it was published with, which an engine must reproduce on this
//! machine before it serves.
//!
//! In float32 every value must be there again. A lower precision moves every value a little; what counts then is what comes of
//! them, so the detections of both outputs are compared, and a mean over all scores catches what no detection shows.

use edgeloop_engine::{Engine, InputView, Output, Precision};
use edgeloop_model::safetensors;
use edgeloop_store::Metadata;
use edgeloop_vision::boxes::Xyxy;
use edgeloop_vision::nms::{Detection, NmsConfig, Postprocess};
use serde::{Deserialize, Serialize};

use super::shapes::Shape;

/// How far a box edge may be from the published one in float32, in input pixels. The exporter holds 1e-3 on its own machine;
/// other instruction sets sum in another order. A twentieth of a pixel is far below anything that a wrong graph, a wrong weight
/// or a lower precision does.
const BOX_TOLERANCE: f32 = 0.05;
/// The same for class scores.
const SCORE_TOLERANCE: f32 = 1e-3;
/// More images than any check file needs; each costs one run while the old model waits to be replaced.
const MOST_CHECK_IMAGES: usize = 16;

/// In a lower precision: a published detection of at least this score must be found again. Serving's own threshold is 0.25;
/// room for a score that moves over it.
const SURE: f32 = 0.30;
/// … with a box that overlaps the published one by at least this much. Tighter ones refused bf16 on a model whose mAP50-95 it changes
/// by 0.0008.
const SAME_BOX: f32 = 0.90;
/// … or whose edges are all no further away than this, in input pixels,
const SAME_EDGE: f32 = 1.0;
/// … and a score that is no further away than this.
const SAME_SCORE: f32 = 0.10;
/// Mean distance of all scores: an engine that adds a background everywhere shows here.
const MEAN_SCORE: f32 = 2e-3;
/// One in so many of an image's detections may miss the bounds above, and one at least: a check image has a handful, and a box on the edge
/// of another's suppression changes with the last bit. Nothing may be lost or come from nowhere beyond that.
const ONE_MISS_IN: usize = 4;

/// Images and the outputs that a version was published with.
#[derive(Debug)]
pub struct CheckSet {
    images: Vec<f32>,
    outputs: Vec<f32>,
    n: usize,
    side: usize,
    rows: usize,
    anchors: usize,
}

/// The sizes of a [`CheckSet`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sizes {
    n: usize,
    side: usize,
    rows: usize,
    anchors: usize,
}

impl Sizes {
    /// How many values the images and the outputs have; `None` where that is no number.
    pub(crate) fn values(self) -> Option<[usize; 2]> {
        let Self { n, side, rows, anchors } = self;
        let image = side.checked_mul(side)?.checked_mul(3)?;
        Some([n.checked_mul(image)?, n.checked_mul(rows)?.checked_mul(anchors)?])
    }
}

impl CheckSet {
    /// Reads a check file and compares its shapes with the metadata.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn parse(bytes: &[u8], metadata: &Metadata) -> Result<Self, String> {
        let arrays = safetensors::read(bytes).map_err(|e| e.to_string())?;
        let array = |name: &str| {
            let array = arrays.get(name).ok_or_else(|| format!("it has no array {name:?}"))?;
            let data = array.as_f32().ok_or_else(|| format!("its array {name:?} is not of floats"))?;
            Ok::<_, String>((array.shape.clone(), data.to_vec()))
        };
        let (image_shape, images) = array("images")?;
        let (output_shape, outputs) = array("output0")?;
        let side = metadata.image_size as usize;
        let (&[n, 3, h, w], &[m, rows, anchors]) = (image_shape.as_slice(), output_shape.as_slice()) else {
            return Err(format!("it has images {image_shape:?} and outputs {output_shape:?}"));
        };
        if n == 0 || n > MOST_CHECK_IMAGES || m != n || h != side || w != side || rows != metadata.classes.len() + 4 || anchors == 0 {
            return Err(format!(
                "it has images {image_shape:?} and outputs {output_shape:?}, expected 1 to {MOST_CHECK_IMAGES} of [3, {side}, {side}] and [{}, anchors]",
                metadata.classes.len() + 4
            ));
        }
        if images.len() != n * 3 * h * w || outputs.len() != n * rows * anchors {
            return Err("its arrays do not have as many values as their shapes say".into());
        }
        Ok(Self { images, outputs, n, side, rows, anchors })
    }

    /// Its sizes, and then its values: for another process.
    pub(crate) fn parts(&self) -> (Sizes, [&[f32]; 2]) {
        let Self { images, outputs, n, side, rows, anchors } = self;
        (Sizes { n: *n, side: *side, rows: *rows, anchors: *anchors }, [images, outputs])
    }

    /// The same from its parts; `None` where they are not as long as the sizes say.
    pub(crate) fn from_parts(sizes: Sizes, images: Vec<f32>, outputs: Vec<f32>) -> Option<Self> {
        let Sizes { n, side, rows, anchors } = sizes;
        let fits = (images.len(), outputs.len()) == sizes.values()?.into();
        (n > 0 && fits).then_some(Self { images, outputs, n, side, rows, anchors })
    }

    /// Images in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.n
    }

    /// Never: a check file without an image is refused.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.n == 0
    }

    /// The same with its first image only.
    #[must_use]
    pub fn first(&self) -> Self {
        let part = |values: &[f32]| values[..values.len() / self.n].to_vec();
        Self { images: part(&self.images), outputs: part(&self.outputs), n: 1, ..*self }
    }

    /// One image as an engine takes it.
    #[must_use]
    pub fn image(&self, n: usize) -> InputView<'_> {
        let size = 3 * self.side * self.side;
        InputView { n: 1, h: self.side, w: self.side, data: &self.images[n * size..(n + 1) * size] }
    }

    /// Runs every image and holds what comes out against what was published, within the bounds of the engine's precision.
    ///
    /// # Errors
    /// Where it differs, for people.
    pub fn reproduce(&self, engine: &mut dyn Engine) -> Result<(), String> {
        self.reproduce_share(engine, 0, 1)
    }

    /// As [`reproduce`](Self::reproduce) with every `of`th image from the `nth` on, and with one image at least.
    ///
    /// # Errors
    /// Where it differs, for people.
    pub fn reproduce_share(&self, engine: &mut dyn Engine, nth: usize, of: usize) -> Result<(), String> {
        let size = self.rows * self.anchors;
        let precision = engine.info().precision;
        for n in (nth % self.n..self.n).step_by(of.max(1)) {
            let found = engine.run(self.image(n)).map_err(|e| e.to_string())?;
            if found.shape != [1, self.rows, self.anchors] {
                return Err(format!("its output is {:?}, expected [1, {}, {}]", found.shape, self.rows, self.anchors));
            }
            let published = &self.outputs[n * size..(n + 1) * size];
            close(&found, published, precision).map_err(|reason| format!("image {n}, {reason}"))?;
        }
        Ok(())
    }
}

impl CheckSet {
    /// Runs an engine of another shape on the middle of the `nth` image (or of an earlier one, where there are fewer): its numbers must
    /// be numbers, as many as the shape has, and as good as those of `reference`, an engine of the same shape in float32, if there is
    /// one.
    ///
    /// # Errors
    /// Where it differs, for people.
    pub fn look_alike(
        &self,
        engine: &mut dyn Engine,
        shape: Shape,
        reference: Option<&mut (dyn Engine + 'static)>,
        nth: usize,
    ) -> Result<(), String> {
        let (h, w) = (shape.height as usize, shape.width as usize);
        let precision = engine.info().precision;
        let anchors = self.anchors * h * w / (self.side * self.side);
        let n = nth % self.n;
        let data = self.middle(n, h, w);
        let input = InputView { n: 1, h, w, data: &data };
        let found = engine.run(input).map_err(|e| e.to_string())?;
        if found.shape != [1, self.rows, anchors] || found.data.iter().any(|v| !v.is_finite()) {
            return Err(format!("its output is {:?} or no numbers, expected numbers [1, {}, {anchors}]", found.shape, self.rows));
        }
        if let Some(reference) = reference {
            let expected = reference.run(input).map_err(|e| e.to_string())?;
            close(&found, &expected.data, precision).map_err(|reason| format!("middle of image {n}, {reason}"))?;
        }
        Ok(())
    }

    /// The `[3, h, w]` in the middle of an image.
    fn middle(&self, n: usize, h: usize, w: usize) -> Vec<f32> {
        let image = self.image(n).data;
        let (top, left) = ((self.side - h) / 2, (self.side - w) / 2);
        let mut out = Vec::with_capacity(3 * h * w);
        for plane in image.chunks_exact(self.side * self.side) {
            for row in plane.chunks_exact(self.side).skip(top).take(h) {
                out.extend_from_slice(&row[left..left + w]);
            }
        }
        out
    }
}

/// Whether `found`, computed in `precision`, is as good as `published`, computed in float32: `[rows, anchors]` of one image.
///
/// # Errors
/// Where it differs, for people.
pub fn close(found: &Output, published: &[f32], precision: Precision) -> Result<(), String> {
    let [_, rows, anchors] = found.shape;
    if found.data.len() != published.len() {
        return Err(format!("{} values came out, {} were published", found.data.len(), published.len()));
    }
    match precision {
        Precision::Fp32 => same_values(&found.data, published, anchors),
        Precision::Bf16 | Precision::Fp16 => same_detections(&found.data, published, rows, anchors),
    }
}

fn same_values(found: &[f32], published: &[f32], anchors: usize) -> Result<(), String> {
    for (at, (found, expected)) in found.iter().zip(published).enumerate() {
        let row = at / anchors;
        let tolerance = if row < 4 { BOX_TOLERANCE } else { SCORE_TOLERANCE };
        // NaN on either side is close to nothing.
        let close = (found - expected).abs() <= tolerance;
        if !close {
            let anchor = at % anchors;
            return Err(format!("row {row}, anchor {anchor}: {found}, published {expected}, at most {tolerance} apart"));
        }
    }
    Ok(())
}

fn same_detections(found: &[f32], published: &[f32], rows: usize, anchors: usize) -> Result<(), String> {
    if let Some(at) = found.iter().position(|v| !v.is_finite()) {
        return Err(format!("row {}, anchor {}: {}", at / anchors, at % anchors, found[at]));
    }
    let scores = 4 * anchors..rows * anchors;
    let apart: f64 = found[scores.clone()].iter().zip(&published[scores.clone()]).map(|(a, b)| f64::from((a - b).abs())).sum();
    let mean = (apart / scores.len().max(1) as f64) as f32;
    // NaN: there is one among the published values.
    if mean.is_nan() || mean > MEAN_SCORE {
        return Err(format!("scores are {mean:.5} from the published ones on average, at most {MEAN_SCORE}"));
    }
    let classes = rows - 4;
    let config = NmsConfig { confidence: SURE - SAME_SCORE, ..NmsConfig::serving() };
    let mut post = Postprocess::new();
    let here = post.run(found, classes, anchors, &config);
    let there = post.run(published, classes, anchors, &config);
    let matches =
        |a: &Detection, b: &Detection| a.class == b.class && (a.confidence - b.confidence).abs() <= SAME_SCORE && same_box(a.bbox, b.bbox);
    for (from, to, what) in [(&there, &here, "is not found again"), (&here, &there, "was not published")] {
        let sure: Vec<&Detection> = from.iter().filter(|d| d.confidence >= SURE).collect();
        let missed: Vec<&Detection> = sure.iter().copied().filter(|d| !to.iter().any(|other| matches(d, other))).collect();
        // A single detection that is lost is all there was.
        let allowed = if sure.len() < 2 { 0 } else { (sure.len() / ONE_MISS_IN).max(1) };
        if let Some(first) = missed.first().filter(|_| missed.len() > allowed) {
            return Err(format!(
                "{} of its {} detections: such a one {what} within {SAME_SCORE} of score and {SAME_BOX} of overlap: class {} at {:.3}, {:?}",
                missed.len(),
                sure.len(),
                first.class,
                first.confidence,
                first.bbox
            ));
        }
    }
    Ok(())
}

/// A box of 10 px that moves by a quarter of a pixel overlaps itself by 0.90 only: within a pixel is the same as well.
fn same_box(a: Xyxy, b: Xyxy) -> bool {
    let edges = [a.x1 - b.x1, a.y1 - b.y1, a.x2 - b.x2, a.y2 - b.y2];
    a.iou(b) >= SAME_BOX || edges.iter().all(|d| d.abs() <= SAME_EDGE)
}

#[cfg(test)]
mod tests;
