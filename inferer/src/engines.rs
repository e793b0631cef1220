//! What runs the model in service: engines by input shape, each shape with several instances behind one queue.
//!
//! ```text
//! request ─► Engines::pick(image) ─► Resident (square, or the shape that fits) ─► queue ─► instance, or the solo engine
//!                                       ▲ fails: fall_back, at once
//! Keeper ───────────────────────────────┘ measures, upgrades, adds shapes, off the request path
//! ```
//!
//! [`EngineFactory`] makes the [`Engines`] of a version; a request stays with the [`Resident`] that it picked.

pub mod budget;
pub mod check;
pub mod factory;
pub mod keeper;
pub mod kind;
pub mod metrics;
pub mod remembered;
mod resident;
pub mod settings;
pub mod shapes;
pub mod traffic;
mod tried;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwap, ArcSwapOption};
use serde_json::{Value, json};

use check::CheckSet;
pub use factory::{EngineFactory, Made, MakeError, Model};
use kind::Kind;
use remembered::Speed;
pub use resident::Resident;
pub use settings::{EngineArgs, Shapes};
use shapes::{Demand, Shape};
use traffic::Traffic;

/// Why these engines serve.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    /// In words.
    pub reason: String,
    /// What was measured, fastest first; empty where there was nothing to choose.
    pub speeds: Vec<Speed>,
    /// What could not be had, and why.
    pub refused: Vec<(Kind, String)>,
}

/// What is left to do for the engines in service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Todo {
    /// Measure the candidates and take the fastest.
    Measure,
    /// Load the fastest: it is known.
    Upgrade,
}

/// Where a version's bytes are read again: ONNX and check file, verified.
#[derive(Clone)]
pub struct Source(Arc<SourceFn>);

type SourceFn = dyn Fn() -> Result<(Vec<u8>, CheckSet), String> + Send + Sync;

impl Source {
    /// From whatever reads them.
    pub fn new(read: impl Fn() -> Result<(Vec<u8>, CheckSet), String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Source")
    }
}

/// All engines of a version in service.
pub struct Engines {
    square: ArcSwap<Resident>,
    other: ArcSwapOption<Resident>,
    choice: ArcSwap<Choice>,
    todo: Mutex<Option<Todo>>,
    /// One change at a time: requests that fail together fall back once.
    changing: Mutex<()>,
    demand: Option<Demand>,
    changes: AtomicU64,
    family: String,
    /// SHA-256 of the ONNX file.
    digest: String,
    source: Source,
    factory: Arc<EngineFactory>,
}

impl std::fmt::Debug for Engines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engines").field("square", &self.square).field("other", &self.other).finish_non_exhaustive()
    }
}

impl Engines {
    pub(crate) fn new(
        square: Resident,
        choice: Choice,
        todo: Option<Todo>,
        source: Source,
        factory: Arc<EngineFactory>,
        model: &Model<'_>,
    ) -> Self {
        let demand = (factory.settings().shapes == Shapes::Auto).then(Demand::default);
        Self {
            square: ArcSwap::from_pointee(square),
            other: ArcSwapOption::empty(),
            choice: ArcSwap::from_pointee(choice),
            todo: Mutex::new(todo),
            changing: Mutex::default(),
            demand,
            changes: AtomicU64::new(0),
            family: model.family.to_owned(),
            digest: model.digest.to_owned(),
            source,
            factory,
        }
    }

    /// The engines of the square input: always there.
    #[must_use]
    pub fn square(&self) -> Arc<Resident> {
        self.square.load_full()
    }

    /// Side of the square input in pixels.
    #[must_use]
    pub fn side(&self) -> u32 {
        self.square.load().shape.width
    }

    /// The engines of another shape, once they are warm.
    #[must_use]
    pub fn other(&self) -> Option<Arc<Resident>> {
        self.other.load_full()
    }

    /// The engines for an upright image of this size.
    #[must_use]
    pub fn pick(&self, width: u32, height: u32) -> Arc<Resident> {
        let Some(demand) = &self.demand else { return self.square() };
        let shape = Shape::fit(self.side(), width, height);
        demand.note(shape);
        match self.other.load_full() {
            Some(other) if other.shape == shape => other,
            _ => self.square(),
        }
    }

    /// What goes on while engines are made beside `serving`.
    pub(crate) fn traffic(serving: Option<&Engines>) -> Traffic {
        match serving {
            None => Traffic::Unserved,
            Some(engines) if engines.demand.as_ref().is_some_and(Demand::is_live) => Traffic::Live,
            Some(_) => Traffic::Idle,
        }
    }

    /// The shape that the images of this moment have engines for, beside the square one.
    fn live_shape(&self, side: u32) -> Option<Shape> {
        let live = Self::traffic(Some(self)) == Traffic::Live && self.side() == side;
        live.then(|| self.other()).flatten().map(|other| other.shape)
    }

    /// Makes the shape beforehand that images wanted of the engines that serve now: without it a new version would do two fifths of
    /// its work in vain for a second, on a box that has that much to do. While no images come it is made afterwards, and the new version
    /// serves the sooner.
    pub(crate) fn take_over(&self, before: &Engines, model: &Model<'_>) {
        let (Some(demand), Some(known)) = (&self.demand, &before.demand) else { return };
        demand.follow(known);
        if let Some(shape) = before.live_shape(self.side()) {
            match self.factory.make_shape(&self.square(), model, shape, Traffic::Live) {
                Ok(resident) => self.other.store(Some(Arc::new(resident))),
                Err(reason) => {
                    tracing::info!(%shape, reason, "images of this shape stay on the square engine");
                    self.refuse_shape(shape);
                }
            }
        }
    }

    /// Engines for lone images, where none has been tried yet.
    fn add_solos(&self, model: &Model<'_>) {
        let (square, other) = (self.square(), self.other());
        let of = [(Some(&square), None), (other.as_ref(), Some(&*square))];
        for (resident, of) in of.into_iter().filter_map(|(resident, of)| Some((resident?, of))) {
            if !resident.wants_solo() || !resident.try_solo() {
                continue;
            }
            match self.factory.add_solo(resident, of, model) {
                Ok(()) => self.changed(),
                Err(reason) => tracing::info!(shape = %resident.shape, reason, "no engine for lone images is kept"),
            }
        }
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

    /// Counts what was changed; for those who show it.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// `failed` could not run. Returns what to try instead, which serves from now on; `None` if there is nothing.
    ///
    /// Blocks for as long as the safe engine takes to load.
    #[must_use]
    pub fn fall_back(&self, failed: &Arc<Resident>, reason: &str) -> Option<Arc<Resident>> {
        let _one = self.change();
        let square = self.square();
        if !Arc::ptr_eq(&square, failed) {
            // Another shape's, or one that was replaced meanwhile.
            if self.other.load().as_ref().is_some_and(|other| Arc::ptr_eq(other, failed)) {
                self.factory.metrics().failed(failed.kind);
                tracing::error!(shape = %failed.shape, kind = %failed.kind, reason, "an engine failed; the square one serves");
                self.other.store(None);
                self.refuse_shape(failed.shape);
                self.changed();
            }
            return Some(square);
        }
        // Nothing else to fall back on: not worth reading the model again.
        if failed.kind == Kind::SAFE || self.factory.settings().device_strict {
            self.factory.metrics().failed(failed.kind);
            return None;
        }
        let (onnx, check) = self.read()?;
        let model = self.model(&onnx, &check);
        let resident = Arc::new(self.factory.replace(failed, &model, reason)?);
        self.square.store(resident.clone());
        self.other.store(None);
        *self.todo.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.changed();
        Some(resident)
    }

    /// What runs it and why, for people and programs.
    #[must_use]
    pub fn describe(&self) -> Value {
        let (square, choice) = (self.square(), self.choice.load_full());
        let info = square.info();
        let shapes: Vec<String> = std::iter::once(square.shape).chain(self.other().map(|o| o.shape)).map(|s| s.to_string()).collect();
        let refused: Vec<Value> = choice
            .refused
            .iter()
            .map(|(kind, reason)| json!({"device": kind.device, "precision": kind.precision, "reason": reason}))
            .collect();
        json!({
            "device": info.device,
            "precision": info.precision,
            "library_version": info.library_version,
            "fallback": square.fallback,
            "reason": choice.reason,
            "measured": choice.speeds,
            "refused": refused,
            "instances": square.pool.instances(),
            "threads": square.threads,
            "solo": square.pool.has_solo(),
            "shapes": shapes,
            "memory_mb": self.factory.budget().used().div_ceil(1 << 20),
        })
    }

    fn change(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) {
        self.changes.fetch_add(1, Ordering::Release);
        self.factory.notify();
    }

    fn refuse_shape(&self, shape: Shape) {
        if let Some(demand) = &self.demand {
            demand.refuse(shape);
        }
    }

    fn read(&self) -> Option<(Vec<u8>, CheckSet)> {
        match (self.source.0)() {
            Ok(read) => Some(read),
            Err(reason) => {
                tracing::error!(reason, "the model's files cannot be read again; its engines stay as they are");
                None
            }
        }
    }

    fn model<'a>(&'a self, onnx: &'a [u8], check: &'a CheckSet) -> Model<'a> {
        Model { onnx, check, family: &self.family, side: self.side(), digest: &self.digest }
    }
}
