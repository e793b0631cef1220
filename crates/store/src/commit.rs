//! One change of what the folder holds, under `publish.lock`: all of it or none.
//!
//! Everything that is to be put in place lies in `.staging/commit-FENCE/` first, with a plan of it. A later holder of the lock
//! empties that folder before anything else, so a process that was passed while it slept has nothing left to rename: its number
//! need not be newest *at* the rename for the rename to be harmless. The numbers are read again all the same, just before.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::layout::{self, PLAN, POINTER, Place};
use crate::lock::{Held, IfAlive, Lock};
use crate::pointer::PointerFile;
use crate::{FileEntry, FileKind, HistoryEntry, Metadata, Owner, Pointer, Store, StoreError, Version, fault, files, history};

/// The copies that people and tools open. Nothing here reads them.
pub(crate) const LATEST: [(FileKind, &str, &str); 2] =
    [(FileKind::Weights, "latest.pt", "moved-latest-weights"), (FileKind::Onnx, "latest.onnx", "moved-latest-onnx")];

/// What a commit is about to do: enough to undo or to finish it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) version: Version,
    /// Where its files go.
    pub(crate) to: PlanPlace,
    /// The files that are new there; the metadata is last.
    pub(crate) files: Vec<String>,
    /// The number of the pointer's move, if it moves.
    pub(crate) promotion: Option<u64>,
    /// The content of the copies that go along.
    pub(crate) latest: Vec<FileEntry>,
    /// What the history will say.
    pub(crate) history: Vec<HistoryEntry>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PlanPlace {
    Root,
    Candidates,
}

impl From<PlanPlace> for Place {
    fn from(place: PlanPlace) -> Self {
        match place {
            PlanPlace::Root => Self::Root,
            PlanPlace::Candidates => Self::Candidates,
        }
    }
}

/// The right to change the folder, and the place where the change is prepared.
pub(crate) struct Commit<'a> {
    store: &'a Store,
    lock: Held,
}

impl<'a> Commit<'a> {
    /// Takes `publish.lock` and first undoes or finishes what earlier holders left.
    pub(crate) fn begin(store: &'a Store, owner: &Owner) -> Result<Self, StoreError> {
        store.layout.make_folders()?;
        let lock = Lock::publish(store).acquire(owner, IfAlive::Wait)?;
        fault::hit("publish-locked");
        store.recover(lock.fence())?;
        Ok(Self { store, lock })
    }

    /// Where this commit's files are prepared.
    fn folder(&self) -> PathBuf {
        self.store.layout.commit(self.lock.fence())
    }

    /// Is this still the newest holder?
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        self.lock.check()
    }

    /// Runs `make` with the folder in which the files are to be prepared; it does not exist yet.
    pub(crate) fn prepare(&self, make: impl FnOnce(&Path) -> Result<(), StoreError>) -> Result<(), StoreError> {
        make(&self.folder()).map_err(|error| self.give_up(error))
    }

    /// Puts the prepared files in place. On an error before the pointer moved nothing has changed.
    pub(crate) fn execute(self, plan: &Plan, pointer: Option<&Pointer>, train: Option<&Held>) -> Result<(), StoreError> {
        if let Err(error) = self.put_in_place(plan, pointer, train) {
            return Err(self.give_up(error));
        }
        // From here on it has happened. What is left is done by the next writer if it cannot be done now.
        match self.finish(plan) {
            Ok(()) => {}
            Err(error) => tracing::warn!(version = %plan.version, %error, "committed; the next writer tidies up"),
        }
        Ok(())
    }

    fn put_in_place(&self, plan: &Plan, pointer: Option<&Pointer>, train: Option<&Held>) -> Result<(), StoreError> {
        let (layout, folder) = (&self.store.layout, self.folder());
        fault::hit("commit-begun");
        if let Some(pointer) = pointer {
            let file = PointerFile::from(pointer.clone());
            files::write_new(&folder.join(POINTER), &files::to_json(&file))?;
        }
        files::write_new(&folder.join(PLAN), &files::to_json(plan))?;
        files::sync_dir(&folder)?;
        files::sync_dir(&layout.staging())?;
        fault::hit("commit-planned");
        self.check_fences(train)?;

        let place = layout.place(plan.to.into());
        for name in &plan.files {
            files::rename(&folder.join(name), &place.join(name))?;
            fault::hit(moved(name));
        }
        files::sync_dir(&place)?;
        for (kind, name, point) in LATEST {
            if plan.latest.iter().any(|entry| entry.kind == kind) {
                files::rename(&folder.join(name), &layout.root().join(name))?;
                fault::hit(point);
            }
        }
        self.check_fences(train)?;
        fault::hit("fences-read");
        if pointer.is_some() {
            files::rename(&folder.join(POINTER), &layout.pointer())?;
            fault::hit("pointer-moved");
            // The move is visible already; an error here must not undo it. A power cut now may, whole.
            if let Err(error) = files::sync_dir(layout.root()) {
                tracing::warn!(%error, "pointer moved, not yet known to be on the disk");
            }
        }
        fault::hit("pointer-synced");
        Ok(())
    }

    fn finish(&self, plan: &Plan) -> Result<(), StoreError> {
        // A process that slept since: whoever passed it has written this already.
        self.lock.check()?;
        history::append(&self.store.layout, &plan.history)?;
        fault::hit("history-written");
        self.store.remove_candidate(plan)?;
        files::remove_dir(&self.folder())?;
        fault::hit("commit-removed");
        Ok(())
    }

    /// Undoes what was done so far. A process that has lost the lock leaves that to who has it: it was done already, or will be.
    fn give_up(&self, error: StoreError) -> StoreError {
        match self.lock.check() {
            Ok(()) => {
                if let Err(left) = self.store.resolve(&self.folder()) {
                    tracing::warn!(error = %left, "left for the next writer to undo");
                }
                error
            }
            Err(lost) => lost,
        }
    }

    fn check_fences(&self, train: Option<&Held>) -> Result<(), StoreError> {
        train.map_or(Ok(()), Held::check)?;
        self.lock.check()
    }
}

impl Plan {
    /// The names of a version's files in the order in which they are moved: the metadata, which makes it a version, last.
    pub(crate) fn names(metadata: &Metadata) -> Vec<String> {
        let files = FileKind::ALL.into_iter().filter_map(|kind| metadata.file(kind)).map(|entry| entry.name.clone());
        files.chain([layout::metadata_name(&metadata.version)]).collect()
    }

    /// The entries of the copies.
    pub(crate) fn latest(metadata: &Metadata) -> Vec<FileEntry> {
        LATEST.into_iter().filter_map(|(kind, _, _)| metadata.file(kind)).cloned().collect()
    }
}

fn moved(name: &str) -> &'static str {
    match name {
        name if name.ends_with(FileKind::Check.extension()) => "moved-check",
        name if name.ends_with(FileKind::Weights.extension()) => "moved-weights",
        name if name.ends_with(FileKind::Onnx.extension()) => "moved-onnx",
        _ => "moved-metadata",
    }
}
