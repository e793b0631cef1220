//! What is beside the planned instances: the engine of all cores, and engines of another shape.

use std::time::{Duration, Instant};

use super::{EngineFactory, MakeError, Model, load};
use crate::engines::Resident;
use crate::engines::budget;
use crate::engines::kind::Kind;
use crate::engines::shapes::Shape;
use crate::engines::traffic::Traffic;

impl EngineFactory {
    /// One engine of all cores: it is loaded in half the time that the instances take on the same cores, and its first answers are the
    /// soonest. The keeper puts the instances beside it.
    pub(super) fn start_solo(
        &self,
        (kind, threads): (Kind, usize),
        model: &Model<'_>,
        shape: Shape,
        traffic: Traffic,
        fallback: Option<String>,
    ) -> Result<(Resident, Duration, Duration), MakeError> {
        let before = budget::resident();
        let running = self.try_load(kind, model, shape, traffic)?;
        let started = Instant::now();
        // Loading is one core's work; the child runs meanwhile what it has loaded.
        let mut engine = self.runtime.load(model.onnx, &self.options(kind, shape, threads))?;
        let load = started.elapsed();
        running.map_or(Ok(()), |running| self.try_run(running, model))?;
        let started = Instant::now();
        // The child has run the first one.
        model.check.reproduce_share(&mut *engine, 1, model.check.len()).map_err(MakeError::Check)?;
        let check = started.elapsed();
        let bytes = load::cost(before, std::slice::from_ref(&engine), model);
        let share = (self.budget.take(bytes), bytes);
        Ok((Resident::start_solo(engine, (kind, shape, self.plan.threads), fallback, share)?, load, check))
    }

    /// Puts the planned instances beside a solo engine that serves alone.
    pub(in crate::engines) fn add_instances(&self, resident: &Resident, model: &Model<'_>, traffic: Traffic) -> Result<(), String> {
        let share = self.budget.try_take(resident.bytes * self.plan.instances as u64)?;
        let loaded = self.load_checked(resident.kind, model, resident.shape, traffic).map_err(|e| e.to_string())?;
        resident.keep(share);
        resident.add_instances(loaded.engines).map_err(|e| e.to_string())
    }

    /// Puts an engine for lone images beside the instances, if the plan has one and there is memory for it. `of` are the engines of
    /// another shape that may have one already.
    pub(in crate::engines) fn add_solo(&self, resident: &Resident, of: Option<&Resident>, model: &Model<'_>) -> Result<(), String> {
        let Some(threads) = self.plan.solo else { return Ok(()) };
        let mut engine = match of.and_then(|of| of.solo_in_shape(resident.shape)) {
            Some(engine) => engine,
            None => {
                resident.keep(self.budget.try_take(resident.bytes / resident.pool.instances().max(1) as u64)?);
                let options = self.options(resident.kind, resident.shape, threads);
                self.runtime.load(model.onnx, &options).map_err(|e| e.to_string())?
            }
        };
        if resident.shape == Shape::square(model.side) {
            // Its kind has reproduced all of them.
            model.check.reproduce_share(&mut *engine, 0, model.check.len())?;
        } else {
            model.check.look_alike(&mut *engine, resident.shape, None, 0)?;
        }
        resident.set_solo(engine).map_err(|e| e.to_string())
    }

    /// An engine for another shape, of the kind that serves, if there is memory for it. What it must reproduce are the outputs of
    /// the safe engine in that shape: the check file knows the square one only.
    pub(in crate::engines) fn make_shape(
        &self,
        square: &Resident,
        model: &Model<'_>,
        shape: Shape,
        traffic: Traffic,
    ) -> Result<Resident, String> {
        let mut engines = square.in_shape(shape);
        let bytes = if engines.is_empty() {
            (square.bytes * shape.pixels() / square.shape.pixels().max(1)).max(model.onnx.len() as u64)
        } else {
            0
        };
        let share = self.budget.try_take(bytes)?;
        let mut reference = if square.kind == Kind::SAFE {
            None
        } else {
            let options = self.options(Kind::SAFE, shape, 1);
            // Without ONNX Runtime there is nothing to hold it against but numbers.
            let tried = self.try_first(Kind::SAFE, model, shape, traffic).is_ok();
            tried.then(|| traffic.aside(|| self.runtime.load(model.onnx, &options)).ok()).flatten()
        };
        self.try_first(square.kind, model, shape, traffic).map_err(|e| e.to_string())?;
        if engines.is_empty() {
            engines = self.load_raw(square.kind, model, shape, traffic).map_err(|e| e.to_string())?;
        }
        self.beside(traffic).aside(|| {
            let mut each = engines.iter_mut().enumerate();
            each.try_for_each(|(nth, engine)| model.check.look_alike(&mut **engine, shape, reference.as_deref_mut(), nth))
        })?;
        self.start_loaded(square.kind, shape, engines, share, bytes, square.fallback.clone()).map_err(|e| e.to_string())
    }
}
