//! From weights to the files that serve: the ONNX graph, run in ONNX Runtime and compared with libtorch before anybody gets
//! to see it, and the check file that every engine must reproduce before it serves.

use edgeloop_engine::{Device as EngineDevice, EngineError, InputView, LoadOptions, Precision};
use edgeloop_model::onnx::{EmitError, OnnxMeta, emit};
use edgeloop_model::safetensors::SafetensorsError;
use edgeloop_model::{Network, Weights, safetensors};
use tch::{Device, Kind, TchError, Tensor};

use crate::net::{NetError, Yolo, to_array};

/// Largest difference of a box's centre or size, in input pixels.
pub const BOX_TOLERANCE: f32 = 1e-3;
/// Largest difference of a score.
pub const SCORE_TOLERANCE: f32 = 1e-5;
/// Times the rounding noise that a difference may be where that is more than the tolerances: two independent roundings differ
/// by twice the noise of one, and folded norms round elsewhere; a wrong graph is off by thousands of times.
const NOISE_FACTOR: f32 = 8.0;

/// What an export gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Exported {
    /// The ONNX file.
    pub onnx: Vec<u8>,
    /// The check file (safetensors): `images` `[N, 3, H, W]` and `output0` `[N, 4 + classes, anchors]`, both float32.
    pub check: Vec<u8>,
    /// How far ONNX Runtime was from libtorch on those images.
    pub difference: Difference,
    /// How far libtorch's float32 is from its own float64; measured only when the tolerances were missed.
    pub noise: Option<Difference>,
}

/// The largest differences between two outputs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Difference {
    /// Of boxes, in input pixels.
    pub boxes: f32,
    /// Of scores.
    pub scores: f32,
}

impl Difference {
    /// Whether neither is larger. A NaN is never within anything.
    fn within(&self, allowed: &Difference) -> bool {
        self.boxes <= allowed.boxes && self.scores <= allowed.scores
    }
}

/// What may be published: the tolerances, or the rounding noise of networks that have more.
fn allowed(noise: Option<Difference>) -> Difference {
    let noise = noise.unwrap_or(Difference { boxes: 0.0, scores: 0.0 });
    Difference { boxes: BOX_TOLERANCE.max(NOISE_FACTOR * noise.boxes), scores: SCORE_TOLERANCE.max(NOISE_FACTOR * noise.scores) }
}

/// Why weights were not exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The images have a shape that the network cannot take, or libtorch refused.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The graph cannot be written.
    #[error(transparent)]
    Emit(#[from] EmitError),
    /// ONNX Runtime cannot load or run what was written.
    #[error("the exported model does not run: {0}")]
    Engine(#[from] EngineError),
    /// The check file cannot be written.
    #[error(transparent)]
    Check(#[from] SafetensorsError),
    /// Two runtimes disagree: what would be served is not what was judged.
    #[error(
        "the exported model differs from the trained one by {} px on boxes and {} on scores (allowed: {} and {}); nothing was published",
        .found.boxes, .found.scores, .allowed.boxes, .allowed.scores
    )]
    Differs {
        /// How much.
        found: Difference,
        /// How much it might have been.
        allowed: Difference,
    },
    /// The runtimes give outputs of different sizes.
    #[error("the exported model gives {found:?}, the trained one {expected:?}")]
    Shape {
        /// Shape from libtorch.
        expected: Vec<i64>,
        /// Shape from ONNX Runtime.
        found: [usize; 3],
    },
}

impl From<TchError> for ExportError {
    fn from(error: TchError) -> Self {
        Self::Net(error.into())
    }
}

/// Writes `weights` as ONNX, runs it on `images` and compares.
///
/// `images`: a few letterboxed val images `[N, 3, H, W]`, RGB 0–1; they become part of the check file.
///
/// # Errors
/// When anything does not fit, the written model does not run, or its output is further from libtorch's than
/// [`BOX_TOLERANCE`] and [`SCORE_TOLERANCE`] and than rounding explains.
pub fn export(weights: &Weights, network: &Network, meta: &OnnxMeta, images: &Tensor) -> Result<Exported, ExportError> {
    let images = images.f_to_device(Device::Cpu)?.f_to_kind(Kind::Float)?.f_contiguous()?;
    let expected = reference(weights, network, &images)?;
    let onnx = emit(network, weights, meta)?;
    let difference = compare(&onnx, &images, &expected)?;
    let tolerances_met = difference.within(&allowed(None));
    let noise = if tolerances_met { None } else { Some(noise(weights, network, &images, &expected)?) };
    let allowed = allowed(noise);
    if !difference.within(&allowed) {
        return Err(ExportError::Differs { found: difference, allowed });
    }
    let mut check = Weights::new();
    check.insert("images", to_array(&images)?);
    check.insert("output0", to_array(&expected)?);
    let check = safetensors::write(&check, &[("model", &format!("yolov8{}", network.scale))])?;
    Ok(Exported { onnx, check, difference, noise })
}

/// What libtorch gives for `images` in float32, norms not folded: an order of operations unlike the graph's.
fn reference(weights: &Weights, network: &Network, images: &Tensor) -> Result<Tensor, NetError> {
    let yolo = Yolo::from_weights(network, Device::Cpu, weights)?;
    tch::no_grad(|| {
        let head = yolo.try_forward(images, false)?;
        Ok(yolo.try_decode(&head)?.f_contiguous()?)
    })
}

/// Runs `onnx` on `images` and measures how far it is from `expected`.
fn compare(onnx: &[u8], images: &Tensor, expected: &Tensor) -> Result<Difference, ExportError> {
    let data = to_array(images)?;
    let (Some(values), &[n, _, h, w]) = (data.as_f32(), data.shape.as_slice()) else {
        return Err(NetError::Input(images.size()).into());
    };
    let threads = usize::try_from(tch::get_num_threads()).unwrap_or(1).max(1);
    let options = LoadOptions { device: EngineDevice::Cpu, precision: Precision::Fp32, threads, height: h, width: w };
    let output = edgeloop_engine::load(onnx, &options)?.run(InputView { n, h, w, data: values })?;
    let expected_array = to_array(expected)?;
    if expected_array.shape != output.shape {
        return Err(ExportError::Shape { expected: expected.size(), found: output.shape });
    }
    Ok(difference(expected_array.as_f32().unwrap_or_default(), &output.data, output.shape))
}

/// How far libtorch's float32 `reference` is from the same network in float64.
fn noise(weights: &Weights, network: &Network, images: &Tensor, reference: &Tensor) -> Result<Difference, NetError> {
    let mut yolo = Yolo::from_weights(network, Device::Cpu, weights)?;
    yolo.use_double()?;
    let exact = tch::no_grad(|| {
        let head = yolo.try_forward(&images.f_to_kind(Kind::Double)?, false)?;
        yolo.try_decode(&head)
    })?;
    let (reference, exact) = (to_array(reference)?, to_array(&exact)?);
    let shape = reference.shape.as_slice().try_into().unwrap_or([1; 3]);
    Ok(difference(reference.as_f32().unwrap_or_default(), exact.as_f32().unwrap_or_default(), shape))
}

/// Largest differences of two outputs `[N, 4 + classes, anchors]`; NaN where either has one.
fn difference(a: &[f32], b: &[f32], shape: [usize; 3]) -> Difference {
    let [_, rows, anchors] = shape;
    let mut largest = Difference { boxes: 0.0, scores: 0.0 };
    for (row, (a, b)) in a.chunks(anchors.max(1)).zip(b.chunks(anchors.max(1))).enumerate() {
        let slot = if row % rows < 4 { &mut largest.boxes } else { &mut largest.scores };
        for (x, y) in a.iter().zip(b) {
            let far = (x - y).abs();
            if far > *slot || far.is_nan() {
                *slot = far;
            }
        }
    }
    largest
}

#[cfg(test)]
mod tests;
