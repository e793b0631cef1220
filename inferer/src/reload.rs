//! The loop that keeps the newest good model in service: look, decide, load, swap.
//!
//! It runs on a thread of its own, off the request path. It has no lower priority: Linux threads inherit their niceness, and
//! the engine's pool is made while loading; a nice loader would leave a nice engine behind.

pub mod decide;
mod memory;
mod report;
pub mod settings;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use edgeloop_service::admin::Health;
use edgeloop_service::shutdown::Shutdown;
use edgeloop_store::{FileKind, Metadata, Pointer, Store, StoreError, Version};
use notify::RecursiveMode;
use serde_json::Value;

use crate::engines::EngineFactory;
use crate::load::{self, LoadError, LoadSteps};
use crate::metrics::Metrics;
use crate::record::Rule;
use crate::slot::{Serving, Slot};
use crate::trial::TrialError;
use crate::watch::Watch;
use decide::{Action, InService, Target, decide};
use memory::Memory;

/// A heartbeat older than this means that the loop hangs: the longest look is a load of an x-size model on a slow box.
const HANG: Duration = Duration::from_secs(300);
/// Files of a version that was found incomplete are left alone until they have not changed for so long.
const SETTLED: Duration = Duration::from_secs(1);
/// Shortest time between two looks: somebody who copies a large file makes a notice of every write.
const BREATH: Duration = Duration::from_millis(20);

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
    pub model_dir: PathBuf,
    /// Longest time between two looks.
    pub interval: Duration,
    /// Whether change notices of the folder are used.
    pub notices: bool,
    /// When the first runs of a new model make it bad.
    pub rule: Rule,
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

/// Which changes in the folder are worth a look.
#[derive(Default)]
struct Relevant {
    /// Which file is the pointer is the store's secret, and the store may not be there yet: everything counts until then.
    store: OnceLock<Store>,
    /// What the pointer names is incomplete: any file may be what is missing.
    incomplete: AtomicBool,
}

impl Relevant {
    fn counts(&self, path: &Path) -> bool {
        self.incomplete.load(Ordering::Relaxed) || self.store.get().is_none_or(|store| store.is_pointer(path))
    }
}

impl Reloader {
    /// Looks until shutdown.
    pub fn run(self) {
        let wake = self.wake.clone();
        let relevant = Arc::new(Relevant::default());
        let counts = relevant.clone();
        let mut watch = Watch::new("MODEL_DIR", RecursiveMode::NonRecursive, move |path| counts.counts(path), move || wake.look());
        let mut memory = Memory::new();
        let beat = self.health.heartbeat("reload", self.interval.saturating_mul(2) + HANG + self.factory.longest_trials());
        self.health.set_ready("model", Err(format!("nothing is promoted in {} yet", self.model_dir.display())));
        for detail in ["model", "last_reload", "went_back"] {
            self.health.set_detail(detail, Value::Null);
        }
        while !self.shutdown.is_cancelled() {
            beat.beat();
            // Armed before looking: what changes in between is noticed and looked at again.
            if self.notices {
                watch.arm(std::slice::from_ref(&self.model_dir));
            }
            let store = self.open();
            if let Ok(store) = &store {
                let _ = relevant.store.set(store.clone());
            }
            let looked = Instant::now();
            let until = self.look(store, &mut memory);
            relevant.incomplete.store(memory.incomplete.is_some(), Ordering::Relaxed);
            let now = Instant::now();
            let wait = until.map_or(self.interval, |at| at.saturating_duration_since(now).min(self.interval));
            match self.looks.recv_timeout(wait) {
                Ok(()) => std::thread::sleep(BREATH.saturating_sub(looked.elapsed())),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
    }

    /// The store under its real name: where the folder is behind a link, one look sees one folder, whatever the link does.
    fn open(&self) -> Result<Store, StoreError> {
        Store::open(self.model_dir.canonicalize().as_ref().unwrap_or(&self.model_dir))
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
        let target = Target {
            version: pointer.version().clone(),
            digest: digest(&pointer.metadata),
            promotion: pointer.promotion,
            predecessors: pointer.predecessors.clone(),
        };
        memory.quarantine.retain(&target);
        memory.look_at_files(&store, &target, Instant::now());
        loop {
            if self.shutdown.is_cancelled() {
                return None;
            }
            self.note_trouble(memory, &target);
            let service = self.in_service();
            match decide(Some(&target), service.as_ref(), &memory.quarantine, memory.engine_again, Instant::now()) {
                Action::Keep(until) => {
                    self.report(memory, &target);
                    let watched = self.first_minute(memory);
                    return [until, watched].into_iter().flatten().min();
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
        let serving = self.slot.get()?;
        let (version, digest) = (serving.version().clone(), digest(&serving.metadata));
        Some(InService { version, digest, trouble: serving.trouble(), fallback: serving.engines.fallback().is_some() })
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
        self.told_failed(&version, &trouble);
        memory.left = Some((version.clone(), trouble.clone()));
        memory.quarantine.note_in_service(&version, trouble, target, Instant::now());
    }

    fn load(&self, store: &Store, pointer: &Pointer, version: &Version, memory: &mut Memory, target: &Target) {
        let started = Instant::now();
        let before = self.slot.get();
        // Where only the engine is tried again, the old one must not be replaced by the same fallback.
        let same = |s: &Serving| s.version() == version && (*version != target.version || digest(&s.metadata) == target.digest);
        let engine_only = before.as_ref().is_some_and(|s| same(s) && s.trouble().is_none());
        match self.try_load(store, pointer, version, memory) {
            Ok((serving, _)) if engine_only && serving.engines.fallback().is_some() => {
                memory.engine_again = Instant::now() + self.factory.settings().engine_retry;
            }
            Ok((serving, steps)) => {
                memory.quarantine.release(version);
                memory.engine_again = Instant::now() + self.factory.settings().engine_retry;
                self.told_steps(&steps, started.elapsed());
                self.enter(serving, started, memory, target);
            }
            Err(LoadError::Trial { source: TrialError::Stopping, .. }) => {}
            Err(error) if engine_only => {
                // The same version serves on another engine: nothing is wrong with it that a swap could mend.
                tracing::debug!(%version, %error, "the engine that was asked for still cannot be had");
                memory.engine_again = Instant::now() + self.factory.settings().engine_retry;
            }
            Err(error) => {
                let kept = before.map_or_else(|| "no model".to_owned(), |s| s.version().to_string());
                self.metrics.reload(error.kind());
                self.told_failed(version, &error.to_string());
                let again = memory.quarantine.note(version, error.to_string(), target, Instant::now());
                let pause_s = again.saturating_duration_since(Instant::now()).as_secs_f64().round();
                tracing::error!(%version, serving = kept, pause_s, reason = %error, "a version cannot be put into service");
            }
        }
    }

    fn try_load(
        &self,
        store: &Store,
        pointer: &Pointer,
        version: &Version,
        memory: &mut Memory,
    ) -> Result<(Serving, LoadSteps), LoadError> {
        let metadata: Metadata = if version == pointer.version() { pointer.metadata.clone() } else { store.metadata(version)? };
        // Taken before reading: what changes while it is read has changed since.
        let stamp = store.stamp(&metadata);
        // With nothing good in service what is ready soonest goes first.
        let before = self.slot.get().filter(|serving| serving.trouble().is_none());
        let loaded = load::load(store, metadata.clone(), &self.factory, before.as_ref().map(|serving| &serving.engines));
        match &loaded {
            Err(LoadError::Store(error)) => memory.found_incomplete(error, metadata, stamp, Instant::now()),
            _ => memory.found_whole(version),
        }
        loaded
    }
}

/// What tells a version's model from every other.
fn digest(metadata: &Metadata) -> String {
    metadata.file(FileKind::Onnx).map(|file| file.sha256.clone()).unwrap_or_default()
}
