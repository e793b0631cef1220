//! Names and places in the folder. The only file that spells them.

use std::path::{Path, PathBuf};

use crate::{StoreError, Version, files};

/// Where a version's files are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The root: published, promoted now or at some time.
    Root,
    /// `candidates/`: rejected by the gate.
    Candidates,
}

#[derive(Debug, Clone)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    pub(crate) fn make_folders(&self) -> Result<(), StoreError> {
        for folder in [self.root.clone(), self.staging(), self.candidates(), self.checkpoints()] {
            files::make_dir(&folder)?;
        }
        Ok(())
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn staging(&self) -> PathBuf {
        self.root.join(".staging")
    }

    pub(crate) fn candidates(&self) -> PathBuf {
        self.root.join("candidates")
    }

    pub(crate) fn checkpoints(&self) -> PathBuf {
        self.root.join("checkpoints")
    }

    pub(crate) fn scans(&self) -> PathBuf {
        self.root.join(".scan")
    }

    pub(crate) fn place(&self, place: Place) -> PathBuf {
        match place {
            Place::Root => self.root.clone(),
            Place::Candidates => self.candidates(),
        }
    }

    pub(crate) fn pointer(&self) -> PathBuf {
        self.root.join(POINTER)
    }

    pub(crate) fn history(&self) -> PathBuf {
        self.root.join("history.jsonl")
    }

    pub(crate) fn training_status(&self) -> PathBuf {
        self.root.join("training_status.json")
    }

    pub(crate) fn seen(&self) -> PathBuf {
        self.root.join("seen")
    }

    pub(crate) fn last_attempt(&self) -> PathBuf {
        self.root.join("last_attempt.json")
    }

    /// A new version before `publish.lock`: its name is taken by making this folder. The trainer's fencing number keeps one
    /// that wakes up late from sweeping what a later one has staged.
    pub(crate) fn stage(&self, version: &Version, train_fence: u64) -> PathBuf {
        self.staging().join(format!("{STAGE}{version}-{train_fence:010}"))
    }

    /// What the holder of `publish.lock` number `fence` is about to put in place.
    pub(crate) fn commit(&self, fence: u64) -> PathBuf {
        self.staging().join(format!("{COMMIT}{fence:010}"))
    }

    /// A version on its way out.
    pub(crate) fn trash(&self, place: Place, version: &Version) -> PathBuf {
        self.staging().join(match place {
            Place::Root => format!("{TRASH}{version}"),
            Place::Candidates => format!("{TRASH_CANDIDATE}{version}"),
        })
    }
}

pub(crate) const POINTER: &str = "latest_metadata.json";
pub(crate) const STAGED_ATTEMPT: &str = "attempt.tmp";
pub(crate) const PLAN: &str = "plan.json";
const STAGE: &str = "version-";
const COMMIT: &str = "commit-";
pub(crate) const TRASH: &str = "prune-";
pub(crate) const TRASH_CANDIDATE: &str = "prune-candidate-";

/// `model_VERSION.json`.
pub(crate) fn metadata_name(version: &Version) -> String {
    format!("model_{version}.json")
}

/// The version whose metadata file this name is; `None` for every other name.
pub(crate) fn version_of_metadata(name: &str) -> Option<Version> {
    name.strip_prefix("model_")?.strip_suffix(".json")?.parse().ok()
}

/// The version that a file name belongs to, whatever its kind.
pub(crate) fn version_of_any(name: &str) -> Option<Version> {
    name.strip_prefix("model_")?.get(..15)?.parse().ok()
}

/// The fencing number in the name of a staged version's folder.
pub(crate) fn stage_fence(name: &str) -> Option<u64> {
    name.strip_prefix(STAGE)?.rsplit_once('-')?.1.parse().ok()
}

/// The fencing number in the name of a commit's folder.
pub(crate) fn commit_fence(name: &str) -> Option<u64> {
    name.strip_prefix(COMMIT)?.parse().ok()
}
