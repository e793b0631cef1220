//! A lock that this process has: its heartbeat, and the question whether it still has it.

use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::Lock;
use super::record::{self, Record};
use crate::{StoreError, files};

/// Gives the lock back when it is dropped.
pub(crate) struct Held {
    shared: Arc<Shared>,
    beating: Option<JoinHandle<()>>,
}

struct Shared {
    lock: Lock,
    fence: u64,
    state: Mutex<State>,
    wake: Condvar,
}

struct State {
    record: Record,
    stop: bool,
    frozen: bool,
}

impl Held {
    pub(super) fn start(lock: Lock, record: Record) -> Result<Self, StoreError> {
        let path = lock.path(record.fence);
        let name = format!("{} beat", lock.kind);
        let fence = record.fence;
        let shared =
            Arc::new(Shared { lock, fence, state: Mutex::new(State { record, stop: false, frozen: false }), wake: Condvar::new() });
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name(name).spawn(move || theirs.beat_until_stopped());
        Ok(Self { shared, beating: Some(thread.map_err(StoreError::io("start the heartbeat of", path))?) })
    }

    pub(crate) fn fence(&self) -> u64 {
        self.shared.fence
    }

    pub(crate) fn freeze(&self) {
        self.shared.state().frozen = true;
    }

    /// Reads the folder again: is this number still the highest?
    ///
    /// A network file system may answer from a cached listing. Making and removing a file in the folder brings its change time
    /// back from the server, and with it the listing up to date.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        let Shared { lock, fence, .. } = &*self.shared;
        let probe = lock.folder.join(format!("{fence}{}", record::PROBE));
        // Best effort: a full disk refuses it, and the listing below is what counts.
        if files::write_new(&probe, b"").is_ok() {
            let _ = files::remove(&probe);
        }
        let now = lock.top()?.map_or(0, |top| top.fence);
        if now == *fence { Ok(()) } else { Err(StoreError::LockLost { lock: lock.kind, fence: *fence, now }) }
    }
}

impl Shared {
    /// The state is plain data that is valid at every step, so a poisoned mutex is no reason to stop beating.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn beat_until_stopped(&self) {
        let mut state = self.state();
        loop {
            state = self
                .wake
                .wait_timeout_while(state, self.lock.timing.heartbeat, |state| !state.stop)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            if state.stop {
                return;
            }
            if state.frozen {
                continue;
            }
            state.record.beat += 1;
            match self.write(&state.record) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    tracing::warn!(lock = %self.lock.kind, fence = self.fence, "lock was taken over; nothing more will be published");
                    return;
                }
                Err(error) => tracing::warn!(lock = %self.lock.kind, fence = self.fence, %error, "heartbeat not written"),
            }
        }
    }

    /// In place and never creating: a number that was swept must not come back.
    fn write(&self, record: &Record) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).open(self.lock.path(self.fence))?;
        file.write_all(&record.to_block())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.shared.state().stop = true;
        self.shared.wake.notify_all();
        if let Some(thread) = self.beating.take() {
            // The thread cannot panic; were it to, the lock goes stale instead of being given back.
            let _ = thread.join();
        }
        let mut state = self.shared.state();
        state.record.released = true;
        match self.shared.write(&state.record) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                tracing::warn!(lock = %self.shared.lock.kind, fence = self.shared.fence, %error, "lock not given back; it will go stale");
            }
            _ => {}
        }
    }
}
