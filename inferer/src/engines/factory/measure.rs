//! Which kind is the fastest here: each candidate loaded, timed beside the kind that serves, and checked, while that one serves.

use std::time::Instant;

use edgeloop_engine::{Engine, Precision};

use super::load::{Loaded, cost, verify};
use super::{EngineFactory, FASTEST, Model};
use crate::engines::budget::{self, Share};
use crate::engines::kind::Kind;
use crate::engines::remembered::Speed;
use crate::engines::shapes::Shape;
use crate::engines::traffic::Traffic;
use crate::engines::{Choice, Resident};

/// Runs of each candidate, each between two of the reference.
const RUNS: usize = 7;
/// Another kind must be this much faster to be worth the change.
const WORTH: f64 = 0.95;

/// An engine of the kind that serves, which candidates are timed beside. Whoever is served meanwhile, and other processes, take what
/// share of the cores they like: on a busy machine the same run takes three times as long as on a quiet one. Turn by turn on one
/// thread both suffer alike, and what is compared is their ratio.
struct Reference {
    engine: Box<dyn Engine>,
    /// Milliseconds of its fastest run so far: the others are told in the same measure.
    ms: f64,
    _share: Share,
}

impl EngineFactory {
    /// Measures the candidates that do not serve, remembers the result, and returns the best of them if it is better than what
    /// serves, and why the choice is what it is.
    pub(in crate::engines) fn measure(&self, serving: &Resident, model: &Model<'_>, traffic: Traffic) -> (Option<Resident>, Choice) {
        let kinds = self.kinds();
        let mut choice = Choice { reason: FASTEST.into(), ..Choice::default() };
        let mut reference = match self.reference(serving, model) {
            Ok(reference) => reference,
            Err(reason) => {
                choice.reason = "the others could not be measured".into();
                choice.refused.extend(kinds.iter().filter(|k| **k != serving.kind).map(|k| (*k, reason.clone())));
                return (None, choice);
            }
        };
        // Times are relative to the reference until all have been measured.
        let mut relative = vec![(serving.kind, 1.0)];
        let mut best: Option<(Kind, f64, Loaded)> = None;
        for kind in kinds.iter().copied().filter(|k| *k != serving.kind) {
            // The same library with longer floats is not faster than with shorter ones that were right and faster.
            let beaten = |best: &(Kind, f64, Loaded)| best.1 < WORTH && best.0.device == kind.device && kind.precision == Precision::Fp32;
            if best.as_ref().is_some_and(beaten) {
                continue;
            }
            match self.try_kind(kind, serving, (model, traffic), &mut reference, &mut relative) {
                Ok((share, loaded)) if best.as_ref().is_none_or(|(_, fastest, _)| share < *fastest) => best = Some((kind, share, loaded)),
                Ok(_) => {}
                Err(reason) => choice.refused.push((kind, reason)),
            }
        }
        choice.speeds = relative.into_iter().map(|(kind, share)| Speed { kind, ms: share * reference.ms }).collect();
        drop(reference);
        // One that is left alone for a while has no place in the order; without it the order is not worth remembering.
        if kinds.iter().all(|kind| self.failures.check(*kind).is_ok()) {
            self.remembered.put(self.key(model), choice.speeds.clone());
        }
        choice.speeds.sort_by(|a, b| a.ms.total_cmp(&b.ms));
        self.metrics.measured(&choice.speeds);
        let found = best.filter(|(_, share, _)| *share < WORTH).and_then(|(kind, _, Loaded { engines, bytes, .. })| {
            match self.start_loaded(kind, Shape::square(model.side), engines, self.budget.take(bytes), bytes, None) {
                Ok(resident) => Some(resident),
                Err(error) => {
                    choice.refused.push((kind, error.to_string()));
                    None
                }
            }
        });
        (found, choice)
    }

    fn reference(&self, serving: &Resident, model: &Model<'_>) -> Result<Reference, String> {
        let share = self.budget.try_take(serving.bytes / serving.pool.instances().max(1) as u64)?;
        let options = self.options(serving.kind, serving.shape, self.plan.threads);
        let mut engine = self.runtime.load(model.onnx, &options).map_err(|e| e.to_string())?;
        // The first run is slower than any other: buffers are made.
        once(&mut *engine, model)?;
        let ms = once(&mut *engine, model)?;
        Ok(Reference { engine, ms, _share: share })
    }

    /// Loads and times one candidate, then holds it against the check file. The time is noted even if that fails: another
    /// version may do better.
    fn try_kind(
        &self,
        kind: Kind,
        serving: &Resident,
        (model, traffic): (&Model<'_>, Traffic),
        reference: &mut Reference,
        relative: &mut Vec<(Kind, f64)>,
    ) -> Result<(f64, Loaded), String> {
        // Room is needed for one more than what serves and the best so far.
        let _room = self.budget.try_take(serving.bytes)?;
        let before = budget::resident();
        let started = Instant::now();
        let mut engines = self.load_raw(kind, model, Shape::square(model.side), traffic).map_err(|e| e.to_string())?;
        let load = started.elapsed();
        let first = engines.first_mut().ok_or("no engine came of it")?;
        let share = reference.compare(&mut **first, model)?;
        relative.push((kind, share));
        verify(&mut engines, model, self.beside(traffic))?;
        let bytes = cost(before, &engines, model);
        Ok((share, Loaded { engines, bytes, load, check: started.elapsed() - load }))
    }

    /// The fastest kind that was measured before, if it is not the one that serves.
    pub(in crate::engines) fn upgrade(&self, serving: &Resident, model: &Model<'_>, traffic: Traffic) -> (Option<Resident>, Choice) {
        let mut choice = Choice { speeds: self.speeds(model), ..Choice::default() };
        let kinds = self.kinds();
        choice.reason = FASTEST.into();
        let faster: Vec<Kind> =
            choice.speeds.iter().map(|s| s.kind).filter(|k| kinds.contains(k)).take_while(|k| *k != serving.kind).collect();
        for kind in faster {
            let made = self
                .budget
                .try_take(serving.bytes)
                .and_then(|_room| self.start(kind, model, Shape::square(model.side), traffic, None).map_err(|e| e.to_string()));
            match made {
                Ok((resident, ..)) => return (Some(resident), choice),
                Err(reason) => choice.refused.push((kind, reason)),
            }
        }
        (None, choice)
    }
}

impl Reference {
    /// What part of the reference's time a run of `engine` takes.
    fn compare(&mut self, engine: &mut dyn Engine, model: &Model<'_>) -> Result<f64, String> {
        once(engine, model)?;
        let mut shares = Vec::with_capacity(RUNS);
        for _ in 0..RUNS {
            let before = once(&mut *self.engine, model)?;
            let candidate = once(engine, model)?;
            self.ms = self.ms.min(before);
            shares.push(candidate / before);
        }
        shares.sort_by(f64::total_cmp);
        Ok(shares[RUNS / 2])
    }
}

/// Milliseconds of one run.
fn once(engine: &mut dyn Engine, model: &Model<'_>) -> Result<f64, String> {
    let started = Instant::now();
    engine.run(model.check.image(0)).map_err(|e| e.to_string())?;
    Ok(started.elapsed().as_secs_f64() * 1e3)
}
