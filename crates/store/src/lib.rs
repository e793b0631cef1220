//! The hand-off between trainer and inferer: a folder, and nobody else knows its layout.
//!
//! Comes in: a trained model as bytes with the facts about it ([`Draft`]). Goes out: the promoted version ([`Pointer`]) and
//! bytes that were hashed as they were read ([`Store::read_verified`]). It never parses a model, never talks to a network and,
//! for a reader, never writes: an inferer may have the folder mounted read-only.
//!
//! ```text
//! publish:  stage (files, fsync) ─► publish.lock ─► plan ─► rename files ─► fences read again ─► rename pointer ─► history
//!                                                    └── a crash up to here is undone by the next writer ──┘
//! ```
//!
//! The reasons are in `docs/decisions/store-*.md`.

mod attempt;
mod beside;
mod clock;
mod commit;
mod draft;
mod error;
pub mod fault;
mod files;
mod history;
mod layout;
mod lock;
mod metadata;
mod owner;
mod pointer;
mod promote;
mod prune;
mod publish;
mod read;
mod recover;
mod seen;
mod status;
mod verdict;
mod version;

pub use attempt::{Attempt, Ended};
pub use beside::Beside;
pub use clock::{Clock, ManualClock, SystemClock};
pub use draft::Draft;
pub use error::StoreError;
pub use history::{HistoryEntry, HistoryEvent};
pub use lock::{LockKind, LockTiming, TrainLock};
pub use metadata::{
    Architecture, ClassMetrics, DatasetInfo, FileEntry, FileKind, GateDecision, GateRecord, Metadata, Metrics, Producer, SCHEMA,
    TrainingInfo,
};
pub use owner::Owner;
pub use pointer::Pointer;
pub use prune::{PruneReport, Retention};
pub use read::{Survey, VersionStamp};
pub use status::{EpochLog, LowerRate, Outcome, OutcomeKind, Phase, TrainingStatus};
pub use verdict::{ComparedFigure, Comparison, Decision, Forced, RivalRole, Verdict};
pub use version::Version;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use layout::Layout;

/// What a [`Store`] takes from outside: clocks and patience. The default is what production uses; tests bring their own.
#[derive(Clone)]
pub struct StoreOptions {
    /// Wall clock for names and records, monotonic clock for staleness.
    pub clock: Arc<dyn Clock>,
    /// `train.lock`: held for hours. Beats every 2 s, is stale after 45 s without a beat.
    pub train: LockTiming,
    /// `publish.lock`: held for milliseconds. Beats every second, is stale after 15 s, waited for up to 60 s.
    pub publish: LockTiming,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock::new()),
            // `wait` is only the upper bound of watching: a beat that is seen ends it at once, and 45 s without one does too.
            train: LockTiming {
                heartbeat: Duration::from_secs(2),
                stale_after: Duration::from_secs(45),
                poll: Duration::from_millis(500),
                wait: Duration::from_secs(120),
            },
            publish: LockTiming {
                heartbeat: Duration::from_secs(1),
                stale_after: Duration::from_secs(15),
                poll: Duration::from_millis(20),
                wait: Duration::from_secs(60),
            },
        }
    }
}

/// A folder of model versions with one of them promoted. Cheap to clone; nothing is cached, every call reads the folder.
#[derive(Clone)]
pub struct Store {
    layout: Layout,
    options: StoreOptions,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("root", &self.layout.root()).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens an existing folder, for reading or writing. Writes nothing.
    ///
    /// # Errors
    /// [`StoreError::NoFolder`] when `root` is missing or is not a folder.
    pub fn open(root: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::open_with(root, StoreOptions::default())
    }

    /// [`Store::open`] with clocks and timings of one's own.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_with(root: impl AsRef<Path>, options: StoreOptions) -> Result<Self, StoreError> {
        let root = root.as_ref();
        if !root.is_dir() {
            return Err(StoreError::NoFolder { path: root.to_owned() });
        }
        Ok(Self { layout: Layout::new(root), options })
    }

    /// Opens a folder for writing, making it and its sub-folders where they are missing.
    ///
    /// # Errors
    /// [`StoreError::Io`] when a folder cannot be made.
    pub fn create(root: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::create_with(root, StoreOptions::default())
    }

    /// [`Store::create`] with clocks and timings of one's own.
    ///
    /// # Errors
    /// As [`Store::create`].
    pub fn create_with(root: impl AsRef<Path>, options: StoreOptions) -> Result<Self, StoreError> {
        let layout = Layout::new(root.as_ref());
        layout.make_folders()?;
        Ok(Self { layout, options })
    }

    /// The folder, as it was given.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.layout.root()
    }

    /// Where the trainer keeps what it can go on from. Made by [`Store::create`]; its content is the trainer's own.
    #[must_use]
    pub fn checkpoint_dir(&self) -> PathBuf {
        self.layout.checkpoints()
    }

    /// Where a scan of the images leaves what the next one need not look at again. Made when it is needed; its content is the
    /// trainer's own, and losing it costs time only.
    #[must_use]
    pub fn scan_dir(&self) -> PathBuf {
        self.layout.scans()
    }

    /// The folders a watcher watches: directories, never files, because the pointer is replaced by a rename.
    #[must_use]
    pub fn watch_dirs(&self) -> Vec<PathBuf> {
        vec![self.layout.root().to_owned()]
    }

    /// Whether a change of `path` can mean that the pointer moved. Lets a watcher ignore lock beats and status writes.
    #[must_use]
    pub fn is_pointer(&self, path: &Path) -> bool {
        path.file_name() == self.layout.pointer().file_name()
    }
}
