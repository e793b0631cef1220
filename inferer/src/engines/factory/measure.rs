//! Which kind is the fastest here: each candidate loaded, checked and timed while the safe one serves.

use std::time::Instant;

use edgeloop_engine::{Engine, Job, Precision};

use super::load::{Loaded, cost, verify};
use super::{EngineFactory, FASTEST, Model};
use crate::engines::budget;
use crate::engines::kind::Kind;
use crate::engines::remembered::Speed;
use crate::engines::shapes::Shape;
use crate::engines::{Choice, Resident};

/// Runs of each candidate; the fastest counts, as it was disturbed least by those who are served meanwhile.
const RUNS: usize = 7;
/// Another kind must be this much faster to be worth the change.
const WORTH: f64 = 0.95;

impl EngineFactory {
    /// Measures the candidates that do not serve, remembers the result, and returns the best of them if it is better than what
    /// serves, and why the choice is what it is.
    pub(in crate::engines) fn measure(&self, serving: &Resident, model: &Model<'_>) -> (Option<Resident>, Choice) {
        let mut choice = Choice::default();
        let mut best: Option<(Kind, f64, Loaded)> = None;
        let base = self.time_serving(serving, model);
        choice.speeds.extend(base.map(|ms| Speed { kind: serving.kind, ms }));
        let kinds = self.kinds();
        for kind in kinds.iter().copied().filter(|k| *k != serving.kind) {
            // The same library with longer floats is not faster than with shorter ones that were right and faster.
            let beaten = |best: &(Kind, f64, Loaded)| {
                let faster = base.is_none_or(|base| best.1 < base * WORTH);
                faster && best.0.device == kind.device && kind.precision == Precision::Fp32
            };
            if best.as_ref().is_some_and(beaten) {
                continue;
            }
            match self.try_kind(kind, serving, model, &mut choice) {
                Ok((ms, loaded)) if best.as_ref().is_none_or(|(_, fastest, _)| ms < *fastest) => best = Some((kind, ms, loaded)),
                Ok(_) => {}
                Err(reason) => choice.refused.push((kind, reason)),
            }
        }
        // One that is left alone for a while has no place in the order; without it the order is not worth remembering.
        if kinds.iter().all(|kind| self.failures.check(*kind).is_ok()) && !choice.speeds.is_empty() {
            self.remembered.put(self.key(model), choice.speeds.clone());
        }
        choice.speeds.sort_by(|a, b| a.ms.total_cmp(&b.ms));
        self.metrics.measured(&choice.speeds);
        let better = best.filter(|(_, ms, _)| base.is_none_or(|base| *ms < base * WORTH));
        let found = better.and_then(|(kind, _, Loaded { engines, bytes, .. })| {
            match self.start_loaded(kind, Shape::square(model.side), engines, self.budget.take(bytes), bytes, None) {
                Ok(resident) => Some(resident),
                Err(error) => {
                    choice.refused.push((kind, error.to_string()));
                    None
                }
            }
        });
        choice.reason = FASTEST.into();
        (found, choice)
    }

    /// Loads and times one candidate, then holds it against the check file. The time is noted even if that fails: another
    /// version may do better.
    fn try_kind(&self, kind: Kind, serving: &Resident, model: &Model<'_>, choice: &mut Choice) -> Result<(f64, Loaded), String> {
        // Room is needed for one more than what serves and the best so far.
        let _room = self.budget.try_take(serving.bytes)?;
        let before = budget::resident();
        let started = Instant::now();
        let mut engines = self.load_raw(kind, model, Shape::square(model.side), false).map_err(|e| e.to_string())?;
        let load = started.elapsed();
        let first = engines.first_mut().ok_or("no engine came of it")?;
        let ms = time(&mut **first, model)?;
        choice.speeds.push(Speed { kind, ms });
        let of = engines.len();
        verify(&mut engines, model, of, self.is_quiet(false))?;
        let bytes = cost(before, &engines, model);
        Ok((ms, Loaded { engines, bytes, load, check: started.elapsed() - load }))
    }

    /// What serves is timed through its queue, between the requests.
    fn time_serving(&self, serving: &Resident, model: &Model<'_>) -> Option<f64> {
        let runs = (0..RUNS).filter_map(|_| {
            let image = model.check.image(0);
            let job = Job { n: 1, h: image.h, w: image.w, data: image.data.to_vec() };
            let done = serving.pool.submit(job).ok()?.blocking_recv().ok()?;
            done.output.ok().map(|_| done.ran.as_secs_f64() * 1e3)
        });
        runs.min_by(f64::total_cmp)
    }

    /// The fastest kind that was measured before, if it is not the one that serves.
    pub(in crate::engines) fn upgrade(&self, serving: &Resident, model: &Model<'_>) -> (Option<Resident>, Choice) {
        let mut choice = Choice { speeds: self.speeds(model), ..Choice::default() };
        let kinds = self.kinds();
        choice.reason = FASTEST.into();
        let faster: Vec<Kind> =
            choice.speeds.iter().map(|s| s.kind).filter(|k| kinds.contains(k)).take_while(|k| *k != serving.kind).collect();
        for kind in faster {
            let made = self
                .budget
                .try_take(serving.bytes)
                .and_then(|_room| self.start(kind, model, Shape::square(model.side), false, None).map_err(|e| e.to_string()));
            match made {
                Ok((resident, ..)) => return (Some(resident), choice),
                Err(reason) => choice.refused.push((kind, reason)),
            }
        }
        (None, choice)
    }
}

/// Milliseconds of the fastest of several runs.
fn time(engine: &mut dyn Engine, model: &Model<'_>) -> Result<f64, String> {
    let mut fastest = f64::INFINITY;
    for _ in 0..RUNS {
        let started = Instant::now();
        engine.run(model.check.image(0)).map_err(|e| e.to_string())?;
        fastest = fastest.min(started.elapsed().as_secs_f64() * 1e3);
    }
    Ok(fastest)
}
