//! What runs the model in service: engines by input shape, each shape with several instances behind one queue.
//!
//! [`EngineFactory`] makes the [`Engines`] of a version; a request picks the [`Resident`] for its image's shape and stays with it.

pub mod check;
pub mod factory;
pub mod settings;

use std::sync::Arc;

use arc_swap::ArcSwap;
use edgeloop_engine::{EngineInfo, EnginePool};

pub use factory::{EngineFactory, Made, MakeError};
pub use settings::EngineArgs;

/// The engines of one input shape.
#[derive(Debug)]
pub struct Resident {
    /// The instances.
    pub pool: EnginePool,
    /// Input height in pixels.
    pub height: u32,
    /// Input width in pixels.
    pub width: u32,
    /// Why the engine that was asked for does not run it; `None` when it does.
    pub fallback: Option<String>,
}

impl Resident {
    /// What was loaded.
    #[must_use]
    pub fn info(&self) -> &EngineInfo {
        self.pool.info()
    }
}

/// All engines of a version in service.
#[derive(Debug)]
pub struct Engines {
    square: ArcSwap<Resident>,
}

impl Engines {
    /// With the square input alone.
    #[must_use]
    pub fn new(square: Resident) -> Self {
        Self { square: ArcSwap::from_pointee(square) }
    }

    /// The engines of the square input: always there.
    #[must_use]
    pub fn square(&self) -> Arc<Resident> {
        self.square.load_full()
    }

    /// The engines for an upright image of this size.
    #[must_use]
    pub fn pick(&self, _width: u32, _height: u32) -> Arc<Resident> {
        self.square()
    }

    /// Why another engine than the one asked for serves; `None` when it does.
    #[must_use]
    pub fn fallback(&self) -> Option<String> {
        self.square.load().fallback.clone()
    }

    /// Whether requests can be run.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.square.load().pool.is_alive()
    }
}
