//! The loop that keeps the newest good model in service: look, decide, load, swap.
//!
//! It runs on a thread of its own, off the request path. It has no lower priority: Linux threads inherit their niceness, and
//! the engine's pool is made while loading; a nice loader would leave a nice engine behind.

pub mod decide;

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use chrono::{DateTime, SecondsFormat, Utc};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use edgeloop_service::admin::Health;
use edgeloop_service::shutdown::Shutdown;
use edgeloop_store::{Metadata, Pointer, Store, StoreError, Version};
use notify::RecursiveMode;
use serde_json::{Value, json};

use crate::api::describe;
use crate::engines::EngineFactory;
use crate::load::{self, LoadError};
use crate::metrics::Metrics;
use crate::slot::{Serving, Slot};
use crate::watch::Watch;
use decide::{Action, InService, Quarantine, Target, decide};

/// A heartbeat older than this means that the loop hangs: the longest look is a load of an x-size model on a slow box.
const HANG: Duration = Duration::from_secs(300);

/// Makes the loop look now. Clones wake the same loop; calls that come while one is waiting count as one.
#[derive(Debug, Clone)]
pub struct Wake {
    sender: Sender<()>,
}

impl Wake {
    /// A waker and what it wakes.
    #[must_use]
    pub fn new() -> (Self, Receiver<()>) {
        let (sender, receiver) = bounded(1);
        (Self { sender }, receiver)
    }

    /// «Look now.»
    pub fn look(&self) {
        // Full means that a look is due anyway.
        let _ = self.sender.try_send(());
    }
}

/// What the loop works with.
pub struct Reloader {
    /// Where versions come from; the folder may appear later.
    pub model_dir: std::path::PathBuf,
    /// Longest time between two looks.
    pub interval: Duration,
    /// Makes engines.
    pub factory: Arc<EngineFactory>,
    /// Where the model goes.
    pub slot: Slot,
    /// What `/readyz` and `/livez` say.
    pub health: Health,
    /// Counters.
    pub metrics: Metrics,
    /// Ends the loop.
    pub shutdown: Shutdown,
    /// For the folder's change notices, and for those who see a model fail.
    pub wake: Wake,
    /// The other end of `wake`.
    pub looks: Receiver<()>,
}

/// What the loop remembers between looks.
struct Memory {
    quarantine: Quarantine,
    engine_again: Instant,
    /// The last complaint about the store itself: said once, not at every look.
    complaint: Option<String>,
    /// The model in service whose trouble has been noted: noting it again would start its pause anew.
    noted: Weak<Serving>,
}

impl Reloader {
    /// Looks until shutdown.
    pub fn run(self) {
        let wake = self.wake.clone();
        // Which file is the pointer is the store's secret, and the store may not be there yet: everything counts until then.
        let known: Arc<std::sync::OnceLock<Store>> = Arc::default();
        let relevant = {
            let known = known.clone();
            move |path: &std::path::Path| known.get().is_none_or(|store| store.is_pointer(path))
        };
        let mut watch = Watch::new("MODEL_DIR", RecursiveMode::NonRecursive, relevant, move || wake.look());
        let mut memory = Memory { quarantine: Quarantine::default(), engine_again: Instant::now(), complaint: None, noted: Weak::new() };
        let beat = self.health.heartbeat("reload", self.interval.saturating_mul(2) + HANG);
        self.health.set_ready("model", Err(format!("nothing is promoted in {} yet", self.model_dir.display())));
        self.health.set_detail("model", Value::Null);
        self.health.set_detail("last_reload", Value::Null);
        while !self.shutdown.is_cancelled() {
            beat.beat();
            // Armed before looking: what changes in between is noticed and looked at again.
            match known.get() {
                Some(store) => watch.arm(&store.watch_dirs()),
                None => watch.arm(std::slice::from_ref(&self.model_dir)),
            }
            let store = Store::open(&self.model_dir);
            if let Ok(store) = &store {
                watch.arm(&known.get_or_init(|| store.clone()).watch_dirs());
            }
            let until = self.look(store, &mut memory);
            let now = Instant::now();
            let wait = until.map_or(self.interval, |at| at.saturating_duration_since(now).min(self.interval));
            match self.looks.recv_timeout(wait) {
                Ok(()) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
    }

    /// One look: everything that can be done now is done. Returns when to look again at the latest, if before the interval.
    fn look(&self, store: Result<Store, StoreError>, memory: &mut Memory) -> Option<Instant> {
        let pointer = store.and_then(|store| store.pointer().map(|pointer| pointer.map(|pointer| (store, pointer))));
        let (store, pointer) = match pointer {
            Ok(Some(found)) => found,
            Ok(None) => {
                self.complain(memory, None);
                return self.without_target(memory);
            }
            Err(error) => {
                self.complain(memory, Some(&error));
                return self.without_target(memory);
            }
        };
        self.complain(memory, None);
        let target =
            Target { version: pointer.version().clone(), promotion: pointer.promotion, predecessors: pointer.predecessors.clone() };
        memory.quarantine.retain(&target);
        loop {
            if self.shutdown.is_cancelled() {
                return None;
            }
            self.note_trouble(memory, &target);
            let service = self.in_service();
            match decide(Some(&target), service.as_ref(), &memory.quarantine, memory.engine_again, Instant::now()) {
                Action::Keep(until) => {
                    self.report(memory, &target);
                    return until;
                }
                Action::Load(version) => self.load(&store, &pointer, &version, memory, &target),
            }
        }
    }

    fn without_target(&self, memory: &Memory) -> Option<Instant> {
        let service = self.in_service();
        match decide(None, service.as_ref(), &memory.quarantine, memory.engine_again, Instant::now()) {
            Action::Keep(until) => until,
            Action::Load(_) => None,
        }
    }

    fn in_service(&self) -> Option<InService> {
        self.slot.get().map(|s| InService { version: s.version().clone(), trouble: s.trouble(), fallback: s.engines.fallback().is_some() })
    }

    /// A model in service that has gone bad is quarantined like one that could not be loaded.
    fn note_trouble(&self, memory: &mut Memory, target: &Target) {
        let Some(serving) = self.slot.get() else { return };
        let Some(trouble) = serving.trouble() else { return };
        if memory.noted.ptr_eq(&Arc::downgrade(&serving)) {
            return;
        }
        memory.noted = Arc::downgrade(&serving);
        let version = serving.version().clone();
        tracing::error!(%version, reason = trouble, "the model in service has gone bad; going back to its predecessor");
        self.metrics.reload("bad_in_service");
        self.failed(memory, &version, trouble, target);
    }

    fn load(&self, store: &Store, pointer: &Pointer, version: &Version, memory: &mut Memory, target: &Target) {
        let started = Instant::now();
        let before = self.slot.get();
        // Where only the engine is tried again, the old one must not be replaced by the same fallback.
        let engine_only = before.as_ref().is_some_and(|s| s.version() == version && s.trouble().is_none());
        match self.try_load(store, pointer, version) {
            Ok((serving, _)) if engine_only && serving.engines.fallback().is_some() => {
                memory.engine_again = Instant::now() + self.factory.settings().engine_retry;
            }
            Ok((serving, steps)) => {
                memory.quarantine.release(version);
                memory.engine_again = Instant::now() + self.factory.settings().engine_retry;
                for (step, time) in [("read", steps.read), ("inspect", steps.inspect), ("engine", steps.engine), ("check", steps.check)] {
                    self.metrics.reload_step(step, time);
                }
                self.metrics.reload_step("total", started.elapsed());
                self.enter(serving, started);
            }
            Err(error) if engine_only => {
                // The same version serves on another engine: nothing is wrong with it that a swap could mend.
                tracing::debug!(%version, %error, "the engine that was asked for still cannot be had");
                memory.engine_again = Instant::now() + self.factory.settings().engine_retry;
            }
            Err(error) => {
                let kept = before.map_or_else(|| "no model".to_owned(), |s| s.version().to_string());
                self.metrics.reload(error.kind());
                let again = self.failed(memory, version, error.to_string(), target);
                let pause_s = again.saturating_duration_since(Instant::now()).as_secs_f64().round();
                tracing::error!(%version, serving = kept, pause_s, reason = %error, "a version cannot be put into service");
            }
        }
    }

    fn try_load(&self, store: &Store, pointer: &Pointer, version: &Version) -> Result<(Serving, load::LoadSteps), LoadError> {
        let metadata: Metadata = if version == pointer.version() { pointer.metadata.clone() } else { store.metadata(version)? };
        // With nothing good in service what is ready soonest goes first.
        let urgent = self.slot.get().is_none_or(|serving| serving.trouble().is_some());
        load::load(store, metadata, &self.factory, urgent)
    }

    fn enter(&self, serving: Serving, started: Instant) {
        let detail = describe(&serving);
        let version = serving.version().clone();
        let fallback = serving.engines.fallback();
        self.metrics.serving(&serving);
        let before = self.slot.swap(serving);
        self.metrics.reload("ok");
        self.health.set_detail("model", detail);
        self.health.set_detail("last_reload", json!({"version": version, "ok": true, "at": now_text()}));
        self.health.set_ready("model", Ok(()));
        let took_ms = started.elapsed().as_millis() as u64;
        let before = before.map(|s| s.version().to_string());
        tracing::info!(%version, before, took_ms, "model in service");
        if let Some(reason) = fallback {
            tracing::warn!(%version, reason, "another engine than the one asked for serves");
        }
    }

    fn failed(&self, memory: &mut Memory, version: &Version, reason: String, target: &Target) -> Instant {
        let now = Instant::now();
        self.health.set_detail("last_reload", json!({"version": version, "ok": false, "reason": reason, "at": now_text()}));
        memory.quarantine.note(version, reason, target.promotion, now)
    }

    fn report(&self, memory: &Memory, target: &Target) {
        let mut quarantined: Vec<_> = memory.quarantine.failures().collect();
        quarantined.sort_by(|a, b| a.0.cmp(b.0));
        self.metrics.quarantined(quarantined.len());
        let list: Vec<Value> = quarantined.iter().map(|(v, f)| json!({"version": v, "reason": f.reason, "times": f.times})).collect();
        self.health.set_detail("quarantined", Value::Array(list));
        match self.in_service() {
            None => {
                let reason = quarantined.iter().find(|(v, _)| **v == target.version).map_or("not loaded yet", |(_, f)| f.reason.as_str());
                self.health.set_ready("model", Err(format!("version {} cannot serve: {reason}", target.version)));
            }
            Some(InService { version, trouble: Some(trouble), .. }) => {
                self.health.set_ready("model", Err(format!("version {version} has gone bad: {trouble}")));
            }
            Some(_) => self.health.set_ready("model", Ok(())),
        }
    }

    /// Says once what is wrong with the store itself, and once that it is over.
    fn complain(&self, memory: &mut Memory, error: Option<&StoreError>) {
        let text = error.map(ToString::to_string);
        if text == memory.complaint {
            return;
        }
        match &text {
            // A folder that is not there yet is a normal start, and readiness says it.
            Some(reason) if matches!(error, Some(StoreError::NoFolder { .. })) => tracing::info!(reason, "waiting for the model folder"),
            Some(reason) => {
                self.metrics.reload("pointer");
                self.health.set_detail("last_reload", json!({"version": null, "ok": false, "reason": reason, "at": now_text()}));
                tracing::error!(reason, "the store's pointer cannot be read; serving goes on as it is");
            }
            None => tracing::info!("the store can be read again"),
        }
        if self.slot.get().is_none() {
            let reason = text.clone().unwrap_or_else(|| format!("nothing is promoted in {} yet", self.model_dir.display()));
            self.health.set_ready("model", Err(reason));
        }
        memory.complaint = text;
    }
}

fn now_text() -> String {
    DateTime::<Utc>::from(std::time::SystemTime::now()).to_rfc3339_opts(SecondsFormat::Millis, true)
}
