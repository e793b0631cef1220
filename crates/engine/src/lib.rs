//! What runs a model: ONNX bytes and a batch of letterboxed images in, the raw `output0` tensor out.
//!
//! ```text
//! bytes ─► load(onnx, options) ─► Box<dyn Engine> ─► EnginePool ─► submit(Job) ─► oneshot
//! ```
//!
//! ONNX Runtime (on CPUs, and on GPUs through its CUDA and TensorRT providers) and OpenVINO stand behind one trait. Neither is linked: both are opened at run time, by [`library`], so
//! that a box without one of them starts, says what is missing, and uses the other. This crate never decodes an image,
//! never reads the store and never decides which model to serve.

mod cpu;
mod device;
mod error;
pub mod library;
mod onnxruntime;
mod openvino_cpu;
mod plan;
mod pool;

#[cfg(test)]
mod tests;
#[cfg(any(test, feature = "toy"))]
#[doc(hidden)]
pub mod toy;

use serde::Serialize;

pub use cpu::{Cpu, cpu};
pub use device::{Device, Precision, supports};
pub use error::EngineError;
pub use plan::Plan;
pub use pool::{Done, EnginePool, Job, SubmitError};

/// How a model is loaded. Height and width fix the graph's symbolic axes; the batch stays free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadOptions {
    /// Which engine.
    pub device: Device,
    /// Its arithmetic. What the engine cannot do is an error, never something else in silence.
    pub precision: Precision,
    /// Threads inside one run. Engines do not see cgroup quotas: say what the process may really use.
    pub threads: usize,
    /// Input height in pixels, a multiple of 32.
    pub height: usize,
    /// Input width in pixels, a multiple of 32.
    pub width: usize,
}

/// What was loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EngineInfo {
    /// The engine that runs the model: never [`Device::Auto`].
    pub device: Device,
    /// The arithmetic in use.
    pub precision: Precision,
    /// The library's own version, such as `1.31.1`.
    pub library_version: String,
}

/// A batch of images: `[n, 3, h, w]`, RGB, 0–1, row-major.
#[derive(Debug, Clone, Copy)]
pub struct InputView<'a> {
    /// Images in the batch.
    pub n: usize,
    /// Height in pixels.
    pub h: usize,
    /// Width in pixels.
    pub w: usize,
    /// `n * 3 * h * w` values.
    pub data: &'a [f32],
}

impl InputView<'_> {
    /// Whether an engine made for `height` × `width` takes it.
    ///
    /// # Errors
    /// [`EngineError::Input`] for an empty batch, another shape, or values that do not fill it.
    fn check(&self, height: usize, width: usize) -> Result<(), EngineError> {
        let InputView { n, h, w, data } = *self;
        if n == 0 || (h, w) != (height, width) || data.len() != n * 3 * h * w {
            return Err(EngineError::Input { n, h, w, values: data.len(), height, width });
        }
        Ok(())
    }
}

/// What came out: `[n, 4 + classes, anchors]`, boxes as `cx, cy, w, h` in input pixels, scores after the sigmoid.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// `[n, 4 + classes, anchors]`.
    pub shape: [usize; 3],
    /// Row-major values.
    pub data: Vec<f32>,
}

impl Output {
    /// The `[4 + classes, anchors]` block of one image; `None` past the batch.
    pub fn image(&self, index: usize) -> Option<&[f32]> {
        let size = self.shape[1] * self.shape[2];
        self.data.get(index * size..(index + 1) * size)
    }
}

/// A loaded model. Owned by one thread at a time: a run needs it whole.
pub trait Engine: Send {
    /// What was loaded.
    fn info(&self) -> &EngineInfo;

    /// Runs one batch.
    ///
    /// # Errors
    /// A wrong input size, a failure inside the library, or an output that is no `[n, rows, anchors]` float tensor.
    fn run(&mut self, input: InputView<'_>) -> Result<Output, EngineError>;

    /// The same loaded model as an engine for inputs of `height` × `width`, which may be used from another thread: a run waits until
    /// the other's is over. `None` where a loaded model is bound to its shape.
    fn in_shape(&self, height: usize, width: usize) -> Option<Box<dyn Engine>> {
        let _ = (height, width);
        None
    }
}

/// Loads an ONNX model from memory.
///
/// # Errors
/// The engine's library is missing or too old, or it refuses the model. With [`Device::Auto`]: both of them do.
pub fn load(onnx: &[u8], options: &LoadOptions) -> Result<Box<dyn Engine>, EngineError> {
    let mut engines = load_many(onnx, options, 1)?;
    engines.pop().ok_or_else(|| EngineError::Options("no engine came of it".into()))
}

/// Loads `count` engines of one model, at least one, that run beside each other with [`LoadOptions::threads`] each. What
/// they can share they share: OpenVINO compiles once.
///
/// # Errors
/// As [`load`].
pub fn load_many(onnx: &[u8], options: &LoadOptions, count: usize) -> Result<Vec<Box<dyn Engine>>, EngineError> {
    let LoadOptions { device, precision, threads, height, width } = *options;
    let count = count.clamp(1, 256);
    if threads == 0 || height == 0 || width == 0 || height % 32 != 0 || width % 32 != 0 {
        return Err(EngineError::Options(format!(
            "threads {threads}, input {width}×{height}: use 1 thread or more, sizes that 32 divides"
        )));
    }
    supports(device, precision, cpu()).map_err(EngineError::Options)?;
    match device {
        Device::Cpu | Device::Cuda(_) | Device::TensorRt(_) => onnxruntime::load(onnx, options, count),
        Device::OpenVino => openvino_cpu::load(onnx, options, count),
        Device::Auto if precision != Precision::Fp32 => openvino_cpu::load(onnx, options, count),
        Device::Auto => onnxruntime::load(onnx, &LoadOptions { device: Device::Cpu, ..*options }, count).or_else(|first| {
            tracing::debug!(error = %first, "ONNX Runtime is not usable, trying OpenVINO");
            openvino_cpu::load(onnx, &LoadOptions { device: Device::OpenVino, ..*options }, count)
                .map_err(|second| EngineError::NoEngine { first: Box::new(first), second: Box::new(second) })
        }),
    }
}

/// The version of the library behind `device`, which is opened for it if it is not open yet.
///
/// # Errors
/// The library is missing or cannot be used.
pub fn library_version(device: Device) -> Result<String, EngineError> {
    match device {
        Device::Auto | Device::Cpu | Device::Cuda(_) | Device::TensorRt(_) => onnxruntime::library_version(),
        Device::OpenVino => openvino_cpu::library_version(),
    }
}
