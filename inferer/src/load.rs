//! From a version in the store to a model that is ready to serve: read and hash, inspect, load, reproduce, warm.
//!
//! Bytes are read once, hashed, and those same bytes are loaded: checking a file and then loading it by its path would be a
//! race. Before any native code sees the model it is parsed here within bounds, and before native code of this process does, a
//! child has loaded and run it ([`crate::trial`]). Before any request sees it, it reproduces the outputs that it was published
//! with on this machine, with this engine; those runs warm it as well.

use std::sync::Arc;
use std::time::{Duration, Instant};

use edgeloop_engine::{Device, Engine, EngineError, LoadOptions};
use edgeloop_store::{FileKind, Metadata, Store, StoreError, Version};

use crate::engines::check::CheckSet;
use crate::engines::{EngineFactory, Engines, MakeError, Model, Source};
use crate::slot::Serving;
use crate::trial::TrialError;

/// What makes engines out of models. Production uses [`Native`]; tests bring engines that fail in chosen ways.
pub trait Runtime: Send + Sync {
    /// As [`edgeloop_engine::load`].
    ///
    /// # Errors
    /// As [`edgeloop_engine::load`].
    fn load(&self, onnx: &[u8], options: &LoadOptions) -> Result<Box<dyn Engine>, EngineError>;

    /// As [`edgeloop_engine::load_many`]: one after the other unless the runtime knows better.
    ///
    /// # Errors
    /// As [`edgeloop_engine::load`].
    fn load_many(&self, onnx: &[u8], options: &LoadOptions, count: usize) -> Result<Vec<Box<dyn Engine>>, EngineError> {
        (0..count.max(1)).map(|_| self.load(onnx, options)).collect()
    }

    /// As [`edgeloop_engine::library_version`].
    ///
    /// # Errors
    /// As [`edgeloop_engine::library_version`].
    fn library_version(&self, device: Device) -> Result<String, EngineError> {
        edgeloop_engine::library_version(device)
    }
}

/// The engines of `edgeloop_engine`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Native;

impl Runtime for Native {
    fn load(&self, onnx: &[u8], options: &LoadOptions) -> Result<Box<dyn Engine>, EngineError> {
        edgeloop_engine::load(onnx, options)
    }

    fn load_many(&self, onnx: &[u8], options: &LoadOptions, count: usize) -> Result<Vec<Box<dyn Engine>>, EngineError> {
        edgeloop_engine::load_many(onnx, options, count)
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
    /// A child that tried it crashed or hung, or none could be started.
    #[error("version {version}: {source}")]
    Trial {
        /// The version.
        version: Version,
        /// What became of it.
        source: TrialError,
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
            Self::Trial { .. } => "trial",
        }
    }
}

/// Where a load's time went.
#[derive(Debug, Clone, Copy, Default)]
pub struct LoadSteps {
    /// Reading, hashing, and parsing within bounds.
    pub read: Duration,
    /// Children's loads and checks.
    pub trial: Duration,
    /// The engine's own load.
    pub engine: Duration,
    /// Reproducing the check file.
    pub check: Duration,
    /// The shape that the images want.
    pub shape: Duration,
}

/// Loads `metadata`'s version with the engines that `factory` makes. `before` are the engines that serve meanwhile; without any it is
/// urgent.
///
/// # Errors
/// See [`LoadError`]. Nothing that is in service has been touched.
pub fn load(
    store: &Store,
    metadata: Metadata,
    factory: &Arc<EngineFactory>,
    before: Option<&Engines>,
) -> Result<(Serving, LoadSteps), LoadError> {
    let mut steps = LoadSteps::default();
    let clock = Instant::now();
    let version = metadata.version.clone();

    // A child takes a moment until it can do anything: the store is read meanwhile.
    let traffic = Engines::traffic(before);
    let digest = metadata.file(FileKind::Onnx).map(|file| file.sha256.clone()).unwrap_or_default();
    factory.begin_trials(&digest, metadata.image_size, before);
    let read_onnx = || {
        let onnx = store.read_verified(&metadata, FileKind::Onnx)?;
        inspect(&metadata, &onnx).map_err(|reason| LoadError::Inspect { version: version.clone(), reason })?;
        factory.give_early(&onnx, &digest, metadata.image_size, traffic);
        Ok::<_, LoadError>(onnx)
    };
    let read_check = || {
        let check = store.read_verified(&metadata, FileKind::Check)?;
        CheckSet::parse(&check, &metadata).map_err(|reason| LoadError::Check { version: version.clone(), reason })
    };
    // Hashing costs a tenth of a second of a core, which those who are served would miss.
    let (onnx, check) = traffic.aside(|| match traffic.cores() {
        1 => (read_onnx(), read_check()),
        _ => std::thread::scope(|scope| {
            let check = scope.spawn(read_check);
            (read_onnx(), check.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        }),
    });
    let (onnx, check) = match (onnx, check) {
        (Ok(onnx), Ok(check)) => (onnx, check),
        (Err(error), _) | (_, Err(error)) => {
            factory.end_trials();
            return Err(error);
        }
    };
    steps.read = clock.elapsed();

    let family = format!("{}{}", metadata.architecture.family, metadata.architecture.scale);
    let model = Model { onnx: &onnx, check: &check, family: &family, side: metadata.image_size, digest: &digest };
    let made = factory.make(&model, source(store, &metadata), before).map_err(|error| match error {
        MakeError::Engine(source) => LoadError::Engine { version: version.clone(), source },
        MakeError::Check(reason) => LoadError::Check { version: version.clone(), reason },
        MakeError::Thread(source) => LoadError::Thread { version: version.clone(), source },
        MakeError::Trial(source) => LoadError::Trial { version: version.clone(), source },
    })?;
    (steps.trial, steps.engine, steps.check, steps.shape) = (made.trial, made.load, made.check, made.shape);
    Ok((Serving::new(metadata, made.engines), steps))
}

/// Where the same bytes come from again: engines are also made later, and holding every model twice would cost its size.
fn source(store: &Store, metadata: &Metadata) -> Source {
    let (store, metadata) = (store.clone(), metadata.clone());
    Source::new(move || {
        let read = |kind| store.read_verified(&metadata, kind).map_err(|e| e.to_string());
        Ok((read(FileKind::Onnx)?, CheckSet::parse(&read(FileKind::Check)?, &metadata)?))
    })
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
