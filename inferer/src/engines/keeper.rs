//! Improves the engines in service, off the request path: measures what `auto` may take, puts the fastest into service, adds the
//! solo engine and the shape that the images want. And it shows every change, also those that a failure made.

use std::sync::{Arc, PoisonError, Weak};
use std::time::{Duration, Instant};

use crossbeam_channel::RecvTimeoutError;
use edgeloop_service::admin::Health;
use edgeloop_service::shutdown::Shutdown;

use super::{EngineFactory, Engines, Model, Todo};
use crate::api::describe;
use crate::memory;
use crate::metrics::Metrics;
use crate::slot::{Serving, Slot};

/// How often it looks for a new model and for shapes that are wanted; failures wake it.
const LOOK: Duration = Duration::from_millis(250);

/// How long after a change the engines before it are gone: their last requests are.
const TRIM_AFTER: Duration = Duration::from_secs(2);

/// What the keeper works with.
pub struct Keeper {
    /// The model in service.
    pub slot: Slot,
    /// Makes engines.
    pub factory: Arc<EngineFactory>,
    /// Counters.
    pub metrics: Metrics,
    /// `/readyz` details.
    pub health: Health,
    /// Ends the loop.
    pub shutdown: Shutdown,
}

impl Keeper {
    /// Looks until shutdown.
    pub fn run(self) {
        let notices = self.factory.notices();
        let mut shown: (Weak<Serving>, u64) = (Weak::new(), 0);
        let mut trim = None;
        while !self.shutdown.is_cancelled() {
            if let Some(serving) = self.slot.get() {
                if self.show(&serving, &mut shown) {
                    // Where changes follow one another, too.
                    trim.get_or_insert_with(|| Instant::now() + TRIM_AFTER);
                }
                if serving.engines.improve(&self.slot, &serving) {
                    continue;
                }
            }
            if trim.is_some_and(|at| Instant::now() >= at) {
                trim = None;
                memory::give_back_now();
            }
            match notices.recv_timeout(LOOK) {
                Ok(()) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
    }

    /// Metrics and details follow what the engines are now; true when something has changed.
    fn show(&self, serving: &Arc<Serving>, shown: &mut (Weak<Serving>, u64)) -> bool {
        let now = (Arc::downgrade(serving), serving.engines.changes());
        let same = shown.0.ptr_eq(&now.0);
        if same && shown.1 == now.1 {
            return false;
        }
        let engines = &serving.engines;
        if !same {
            engines.say(serving.version().as_str());
        }
        self.factory.metrics().show(engines, self.factory.budget());
        // A new model has been shown by whoever put it into service.
        if now.1 > 0 {
            self.metrics.serving(serving);
            self.health.set_detail("model", describe(serving));
        }
        *shown = now;
        true
    }
}

impl Engines {
    /// Which engine serves and why, in the log.
    fn say(&self, version: &str) {
        let (square, choice) = (self.square(), self.choice.load_full());
        let (instances, threads) = (square.pool.instances(), square.threads);
        tracing::info!(version, engine = %square.kind, reason = choice.reason, instances, threads, "engine in service");
    }

    /// Does one thing that is left to do; false when there is nothing.
    fn improve(&self, slot: &Slot, serving: &Arc<Serving>) -> bool {
        let still = || slot.get().is_some_and(|now| Arc::ptr_eq(&now, serving));
        let todo = self.todo.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(todo) = todo {
            self.with_model(|model| self.take_faster(todo, model));
            return true;
        }
        let (square, other) = (self.square(), self.other());
        if square.try_instances() {
            match self.with_model(|model| self.factory.add_instances(&square, model, Self::traffic(Some(self)))) {
                Some(Ok(())) => self.changed(),
                Some(Err(reason)) => tracing::info!(reason, "one engine of all cores goes on alone"),
                None => {}
            }
            return true;
        }
        let residents = || [Some(&square), other.as_ref()].into_iter().flatten();
        if self.factory.plan().solo.is_some() && residents().any(|resident| resident.wants_solo()) {
            if self.with_model(|model| self.add_solos(model)).is_none() {
                // Not at every look anew.
                for resident in residents() {
                    let _ = resident.try_solo();
                }
            }
            return true;
        }
        let Some(shape) = self.demand.as_ref().and_then(|demand| demand.worth(self.side(), other.as_ref().map(|o| o.shape))) else {
            return false;
        };
        // Two shapes at most: the one that is to be replaced gives its memory back first.
        if other.is_some() {
            self.other.store(None);
            drop(other);
            self.changed();
        }
        if !still() {
            return false;
        }
        let made = self.with_model(|model| self.factory.make_shape(&square, model, shape, Self::traffic(Some(self))));
        match made {
            Some(Ok(resident)) => {
                let _one = self.change();
                // The square one has been replaced meanwhile: this shape is of the kind that failed.
                if Arc::ptr_eq(&square, &self.square()) {
                    tracing::info!(%shape, kind = %resident.kind, "an engine for the images' shape is warm");
                    let resident = Arc::new(resident);
                    self.other.store(Some(resident));
                    self.changed();
                }
            }
            Some(Err(reason)) => {
                tracing::info!(%shape, reason, "images of this shape stay on the square engine");
                self.refuse_shape(shape);
            }
            None => self.refuse_shape(shape),
        }
        // The solo engine of that shape comes with the next look.
        true
    }

    fn with_model<T>(&self, work: impl FnOnce(&Model<'_>) -> T) -> Option<T> {
        let (onnx, check) = Self::traffic(Some(self)).aside(|| self.read())?;
        Some(work(&self.model(&onnx, &check)))
    }

    fn take_faster(&self, todo: Todo, model: &Model<'_>) {
        let (before, traffic) = (self.square(), Self::traffic(Some(self)));
        let (better, choice) = match todo {
            Todo::Measure => self.factory.measure(&before, model, traffic),
            Todo::Upgrade => self.factory.upgrade(&before, model, traffic),
        };
        let speeds: Vec<String> = choice.speeds.iter().map(|s| format!("{} {:.1} ms", s.kind, s.ms)).collect();
        for (kind, reason) in &choice.refused {
            tracing::info!(%kind, reason, "this engine does not serve the model");
        }
        let _one = self.change();
        // A failure has replaced it meanwhile: what it fell back on stays until the engine is tried again.
        if !Arc::ptr_eq(&before, &self.square()) {
            return;
        }
        match better {
            Some(resident) => {
                tracing::info!(kind = %resident.kind, before = %before.kind, measured = ?speeds, "a faster engine serves");
                self.square.store(Arc::new(resident));
            }
            None => tracing::info!(kind = %before.kind, measured = ?speeds, "no engine is faster than the one that serves"),
        }
        self.choice.store(Arc::new(choice));
        self.changed();
    }
}
