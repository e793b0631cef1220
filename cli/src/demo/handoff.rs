//! When did the pointer move? Watched from outside, by reading the store as any reader would.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use edgeloop_store::{Store, Version};

/// The pointer is read this often: an error of at most this much in the times that are told.
const PERIOD: Duration = Duration::from_millis(4);

type Seen = Arc<Mutex<HashMap<Version, Instant>>>;

/// Remembers when each promoted version was first seen.
#[derive(Debug)]
pub struct PointerWatch {
    seen: Seen,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl PointerWatch {
    /// Starts to watch the store at `models`, which need not exist yet.
    pub fn start(models: PathBuf) -> Self {
        let seen = Seen::default();
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let (seen, stop) = (seen.clone(), stop.clone());
            move || {
                while !stop.load(Ordering::Relaxed) {
                    if let Ok(Some(pointer)) = Store::open(&models).and_then(|store| store.pointer()) {
                        let now = Instant::now();
                        lock(&seen).entry(pointer.metadata.version).or_insert(now);
                    }
                    std::thread::sleep(PERIOD);
                }
            }
        });
        Self { seen, stop, thread: Some(thread) }
    }

    /// When the pointer was first seen to name `version`.
    ///
    /// # Errors
    /// It was not seen within a second.
    pub fn wait_for(&self, version: &Version) -> Result<Instant> {
        let deadline = Instant::now() + Duration::from_secs(1);
        loop {
            if let Some(at) = lock(&self.seen).get(version) {
                return Ok(*at);
            }
            if Instant::now() > deadline {
                bail!("the trainer says that it published {version}, but latest_metadata.json does not name it");
            }
            std::thread::sleep(PERIOD);
        }
    }
}

fn lock(seen: &Seen) -> std::sync::MutexGuard<'_, HashMap<Version, Instant>> {
    seen.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Drop for PointerWatch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed; there is nothing to add.
            let _ = thread.join();
        }
    }
}
