//! Makes the engines of a version: load, hold against the check file, start their threads.

use std::sync::Arc;
use std::time::{Duration, Instant};

use edgeloop_engine::{Device, Engine, EngineError, EnginePool, LoadOptions, Precision};

use super::check::CheckSet;
use super::{EngineArgs, Engines, Resident};
use crate::load::Runtime;

/// Jobs that may wait before the engines. Every decoding thread and the folder loop have at most one each; more would only
/// be memory.
const ENGINE_QUEUE: usize = 64;

/// Why there are no engines for a version.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    /// No engine takes it.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// It does not reproduce the outputs that it was published with.
    #[error("it does not reproduce its check file: {0}")]
    Check(String),
    /// The system refuses a thread.
    #[error("no thread for its engine: {0}")]
    Thread(#[from] std::io::Error),
}

/// Engines and where the time went.
#[derive(Debug)]
pub struct Made {
    /// The engines, checked and warm.
    pub engines: Engines,
    /// The engine's own load.
    pub load: Duration,
    /// Reproducing the check file.
    pub check: Duration,
}

/// Makes engines as the settings say. One a process.
pub struct EngineFactory {
    runtime: Arc<dyn Runtime>,
    settings: EngineArgs,
}

impl EngineFactory {
    /// With a runtime of the caller's: production uses [`Native`](crate::load::Native).
    #[must_use]
    pub fn new(runtime: Arc<dyn Runtime>, settings: EngineArgs) -> Self {
        Self { runtime, settings }
    }

    /// The engines of a model: the one that was asked for, or another one and why.
    ///
    /// # Errors
    /// See [`MakeError`].
    pub fn make(&self, onnx: &[u8], side: u32, check: &CheckSet) -> Result<Made, MakeError> {
        let started = Instant::now();
        let size = side as usize;
        let options = LoadOptions {
            device: self.settings.device,
            precision: Precision::Fp32,
            threads: self.settings.engine_threads(),
            height: size,
            width: size,
        };
        let (mut engine, fallback) = self.with_fallback(onnx, options)?;
        let load = started.elapsed();
        check.reproduce(&mut *engine).map_err(MakeError::Check)?;
        let pool = EnginePool::spawn(engine, ENGINE_QUEUE)?;
        let check = started.elapsed() - load;
        Ok(Made { engines: Engines::new(Resident { pool, height: side, width: side, fallback }), load, check })
    }

    /// The engine that was asked for, or the other one and why.
    fn with_fallback(&self, onnx: &[u8], options: LoadOptions) -> Result<(Box<dyn Engine>, Option<String>), EngineError> {
        let error = match self.runtime.load(onnx, &options) {
            Ok(engine) => return Ok((engine, None)),
            Err(error) => error,
        };
        let other = match options.device {
            // It has tried both.
            Device::Auto => return Err(error),
            Device::Cpu => Device::OpenVino,
            Device::OpenVino | Device::Cuda(_) | Device::TensorRt(_) => Device::Cpu,
        };
        match self.runtime.load(onnx, &LoadOptions { device: other, precision: Precision::Fp32, ..options }) {
            Ok(engine) => Ok((engine, Some(format!("{} was asked for: {error}", options.device)))),
            Err(second) => Err(EngineError::NoEngine { first: Box::new(error), second: Box::new(second) }),
        }
    }
}
