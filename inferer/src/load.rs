//! From a version in the store to a model that is ready to serve: read and hash, inspect, load, reproduce, warm.
//!
//! Bytes are read once, hashed, and those same bytes are loaded: checking a file and then loading it by its path would be a
//! race. Before any native code sees the model it is parsed here within bounds. Before any request sees it, it reproduces
//! the outputs that it was published with on this machine, with this engine; those runs warm it as well.

use std::time::{Duration, Instant};

use edgeloop_engine::{Device, Engine, EngineError, EngineThread, InputView, LoadOptions};
use edgeloop_model::safetensors;
use edgeloop_store::{FileKind, Metadata, Store, StoreError, Version};

use crate::slot::Serving;

/// How far a box edge may be from the published one, in input pixels. The exporter holds 1e-3 on its own machine; other
/// instruction sets sum in another order. A twentieth of a pixel is far below anything that a wrong graph, a wrong weight or
/// a lower precision does.
const BOX_TOLERANCE: f32 = 0.05;
/// The same for class scores.
const SCORE_TOLERANCE: f32 = 1e-3;
/// More images than any check file needs; each costs one run while the old model waits to be replaced.
const MOST_CHECK_IMAGES: usize = 16;
/// Jobs that may wait before the engine. Every decoding thread and the folder loop have at most one each; more would only
/// be memory.
const ENGINE_QUEUE: usize = 64;

/// What makes engines out of models. Production uses [`Native`]; tests bring engines that fail in chosen ways.
pub trait Runtime: Send + Sync {
    /// As [`edgeloop_engine::load`].
    ///
    /// # Errors
    /// As [`edgeloop_engine::load`].
    fn load(&self, onnx: &[u8], options: &LoadOptions) -> Result<Box<dyn Engine>, EngineError>;
}

/// The engines of `edgeloop_engine`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Native;

impl Runtime for Native {
    fn load(&self, onnx: &[u8], options: &LoadOptions) -> Result<Box<dyn Engine>, EngineError> {
        edgeloop_engine::load(onnx, options)
    }
}

/// Why a version cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The store has no such version, or its files are not what the metadata says.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The ONNX file is not a model of ours, or not the one that the metadata describes.
    #[error("version {version}: its ONNX file is unusable: {reason}")]
    Inspect {
        /// The version.
        version: Version,
        /// What is wrong.
        reason: String,
    },
    /// No engine takes it.
    #[error("version {version}: {source}")]
    Engine {
        /// The version.
        version: Version,
        /// Why.
        source: EngineError,
    },
    /// It does not reproduce the outputs that it was published with.
    #[error("version {version}: it does not reproduce its check file: {reason}")]
    Check {
        /// The version.
        version: Version,
        /// Where it differs.
        reason: String,
    },
    /// The system refuses a thread.
    #[error("version {version}: no thread for its engine: {source}")]
    Thread {
        /// The version.
        version: Version,
        /// Why.
        source: std::io::Error,
    },
}

impl LoadError {
    /// A short name for metrics.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Store(_) => "store",
            Self::Inspect { .. } => "inspect",
            Self::Engine { .. } => "engine",
            Self::Check { .. } => "check",
            Self::Thread { .. } => "thread",
        }
    }
}

/// Where a load's time went.
#[derive(Debug, Clone, Copy, Default)]
pub struct LoadSteps {
    /// Reading and hashing.
    pub read: Duration,
    /// Parsing within bounds.
    pub inspect: Duration,
    /// The engine's own load.
    pub engine: Duration,
    /// Reproducing the check file.
    pub check: Duration,
}

/// Loads `metadata`'s version with the engine of `device`, or with the other one if that cannot be had.
///
/// # Errors
/// See [`LoadError`]. Nothing that is in service has been touched.
pub fn load(
    store: &Store,
    metadata: Metadata,
    device: Device,
    threads: usize,
    runtime: &dyn Runtime,
) -> Result<(Serving, LoadSteps), LoadError> {
    let mut steps = LoadSteps::default();
    let mut clock = Instant::now();
    let mut lap = || std::mem::replace(&mut clock, Instant::now()).elapsed();
    let version = metadata.version.clone();

    let onnx = store.read_verified(&metadata, FileKind::Onnx)?;
    let check = store.read_verified(&metadata, FileKind::Check)?;
    steps.read = lap();

    inspect(&metadata, &onnx).map_err(|reason| LoadError::Inspect { version: version.clone(), reason })?;
    let check = CheckSet::parse(&check, &metadata).map_err(|reason| LoadError::Check { version: version.clone(), reason })?;
    steps.inspect = lap();

    let side = metadata.image_size as usize;
    let options = LoadOptions { device, threads, height: side, width: side };
    let (mut engine, fallback) =
        with_fallback(&onnx, options, runtime).map_err(|source| LoadError::Engine { version: version.clone(), source })?;
    drop(onnx);
    steps.engine = lap();

    check.reproduce(&mut *engine, side).map_err(|reason| LoadError::Check { version: version.clone(), reason })?;
    steps.check = lap();
    let engine = EngineThread::spawn(engine, ENGINE_QUEUE).map_err(|source| LoadError::Thread { version, source })?;
    Ok((Serving::new(metadata, engine, fallback), steps))
}

/// The engine that was asked for, or the other one and why.
fn with_fallback(onnx: &[u8], options: LoadOptions, runtime: &dyn Runtime) -> Result<(Box<dyn Engine>, Option<String>), EngineError> {
    let error = match runtime.load(onnx, &options) {
        Ok(engine) => return Ok((engine, None)),
        Err(error) => error,
    };
    let other = match options.device {
        // It has tried both.
        Device::Auto => return Err(error),
        Device::Cpu => Device::OpenVino,
        Device::OpenVino => Device::Cpu,
    };
    match runtime.load(onnx, &LoadOptions { device: other, ..options }) {
        Ok(engine) => Ok((engine, Some(format!("{} was asked for: {error}", options.device)))),
        Err(second) => Err(EngineError::NoEngine { first: Box::new(error), second: Box::new(second) }),
    }
}

/// Parses the model in Rust and compares it with what the metadata promises.
fn inspect(metadata: &Metadata, onnx: &[u8]) -> Result<(), String> {
    if metadata.image_size == 0 || !metadata.image_size.is_multiple_of(32) || metadata.image_size > 4096 {
        return Err(format!("its image size is {}, expected a multiple of 32 up to 4096", metadata.image_size));
    }
    let info = edgeloop_model::onnx::inspect(onnx).map_err(|e| e.to_string())?;
    if info.names != metadata.classes {
        return Err(format!("its classes are {:?}, the metadata says {:?}", info.names, metadata.classes));
    }
    Ok(())
}

/// Images and the outputs that a version was published with.
struct CheckSet {
    images: Vec<f32>,
    outputs: Vec<f32>,
    n: usize,
    rows: usize,
    anchors: usize,
}

impl CheckSet {
    fn parse(bytes: &[u8], metadata: &Metadata) -> Result<Self, String> {
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
        Ok(Self { images, outputs, n, rows, anchors })
    }

    fn reproduce(&self, engine: &mut dyn Engine, side: usize) -> Result<(), String> {
        let (input, output) = (3 * side * side, self.rows * self.anchors);
        for n in 0..self.n {
            let data = &self.images[n * input..(n + 1) * input];
            let found = engine.run(InputView { n: 1, h: side, w: side, data }).map_err(|e| e.to_string())?;
            if found.shape != [1, self.rows, self.anchors] {
                return Err(format!("its output is {:?}, expected [1, {}, {}]", found.shape, self.rows, self.anchors));
            }
            let expected = &self.outputs[n * output..(n + 1) * output];
            for (at, (found, expected)) in found.data.iter().zip(expected).enumerate() {
                let row = at / self.anchors;
                let tolerance = if row < 4 { BOX_TOLERANCE } else { SCORE_TOLERANCE };
                // NaN on either side is close to nothing.
                let close = (found - expected).abs() <= tolerance;
                if !close {
                    let anchor = at % self.anchors;
                    return Err(format!("image {n}, row {row}, anchor {anchor}: {found}, published {expected}, at most {tolerance} apart"));
                }
            }
        }
        Ok(())
    }
}
