//! What can go wrong with the folder, in words that say which file and what to do.

use std::io;
use std::path::PathBuf;

use chrono::{DateTime, Utc};

use crate::{FileKind, LockKind, Owner, Version};

/// Why the store refused. Every message names the file or value and, where there is something to do, what.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The model folder is not there.
    #[error("model folder {path} does not exist or is not a folder; create it or point MODEL_DIR at it")]
    NoFolder {
        /// The folder as it was given.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot {action} {path}: {cause}")]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's answer; part of the message, so not a source as well.
        cause: io::Error,
    },
    /// A JSON file of the store cannot be understood.
    #[error("{path} is not usable: {reason}")]
    BadFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Written by a newer edgeloop.
    #[error("{path} has schema {found}, this program reads up to {supported}; update edgeloop on this machine")]
    FutureSchema {
        /// The file.
        path: PathBuf,
        /// Its schema number.
        found: u64,
        /// The newest one known here.
        supported: u32,
    },
    /// Not a version name.
    #[error("{text:?} is not a version; versions look like 20261121_030000")]
    BadVersion {
        /// What was given.
        text: String,
    },
    /// No such version in the folder.
    #[error("version {version} is not in {root}; `edgeloop models list` shows what is there")]
    UnknownVersion {
        /// The version asked for.
        version: Version,
        /// Where it was looked for.
        root: PathBuf,
    },
    /// The metadata does not name a file of this kind.
    #[error("version {version} has no {kind} file")]
    NoSuchKind {
        /// The version.
        version: Version,
        /// What was asked for.
        kind: FileKind,
    },
    /// A file that the metadata names is not there.
    #[error("version {version}: {path} is missing")]
    Missing {
        /// The version that names it.
        version: Version,
        /// The file.
        path: PathBuf,
    },
    /// A file is longer or shorter than its metadata says.
    #[error("version {version}: {path} has {found} bytes, its metadata says {expected}")]
    WrongSize {
        /// The version that names it.
        version: Version,
        /// The file.
        path: PathBuf,
        /// Bytes by the metadata.
        expected: u64,
        /// Bytes on disk.
        found: u64,
    },
    /// A file has the right length and other content.
    #[error("version {version}: {path} has SHA-256 {found}, its metadata says {expected}")]
    WrongDigest {
        /// The version that names it.
        version: Version,
        /// The file.
        path: PathBuf,
        /// Digest by the metadata.
        expected: String,
        /// Digest of what was read.
        found: String,
    },
    /// Somebody else has the lock and is alive.
    #[error("{lock} is held by {owner} since {since}")]
    LockHeld {
        /// Which lock.
        lock: LockKind,
        /// Who has it.
        owner: Box<Owner>,
        /// Since when, by the owner's clock.
        since: DateTime<Utc>,
    },
    /// This process had the lock, paused for too long, and somebody took it over. Nothing was published.
    #[error("{lock} number {fence} was taken over (now {now}) while this process was not running; nothing was published")]
    LockLost {
        /// Which lock.
        lock: LockKind,
        /// The fencing number this process had.
        fence: u64,
        /// The newest fencing number.
        now: u64,
    },
    /// The gate rejected this version and nobody insisted.
    #[error("the gate rejected version {version}: {reason}; promote it with --force to serve it anyway")]
    GateRejected {
        /// The version.
        version: Version,
        /// The gate's reason.
        reason: String,
    },
    /// No earlier version is left to go back to.
    #[error("nothing to roll back to: {reason}")]
    NoPredecessor {
        /// Why.
        reason: String,
    },
    /// A draft that no reader could use.
    #[error("the version cannot be published: {reason}")]
    BadDraft {
        /// What is wrong with it.
        reason: String,
    },
}

impl StoreError {
    /// For `map_err`: the system's error with the file and what was tried.
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |cause| Self::Io { action, path, cause }
    }

    /// True when trying again later can succeed without anybody doing anything: somebody else has the lock.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        matches!(self, Self::LockHeld { .. })
    }

    /// True when the content of the store is at fault (refuse it, keep what serves), not the machine.
    #[must_use]
    pub fn is_bad_content(&self) -> bool {
        matches!(
            self,
            Self::BadFile { .. }
                | Self::FutureSchema { .. }
                | Self::NoSuchKind { .. }
                | Self::Missing { .. }
                | Self::WrongSize { .. }
                | Self::WrongDigest { .. }
        )
    }
}
