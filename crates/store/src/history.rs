//! `history.jsonl`: what happened to which version. A record for people; nothing is decided by it that a lost line could break.

use std::fs::OpenOptions;
use std::io::{Read, Seek, SeekFrom, Write};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::layout::Layout;
use crate::{Store, StoreError, Version, files};

/// 300 bytes an event, a dozen events a day: 64 MiB is half a century.
const LARGEST: u64 = 64 << 20;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HistoryEvent {
    /// A version was stored.
    Published,
    /// The pointer moved to it.
    Promoted,
    /// The gate rejected it.
    Rejected,
    /// The pointer went back to it.
    RolledBack,
    /// Its files were removed.
    Pruned,
}

impl std::fmt::Display for HistoryEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Published => "published",
            Self::Promoted => "promoted",
            Self::Rejected => "rejected",
            Self::RolledBack => "rolled back",
            Self::Pruned => "pruned",
        })
    }
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// When, by the writer's clock.
    pub at: DateTime<Utc>,
    /// What happened.
    pub event: HistoryEvent,
    /// To which version.
    pub version: Version,
    /// The version's place among all versions.
    pub sequence: u64,
    /// For a move of the pointer: which move it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promotion: Option<u64>,
    /// For a move of the pointer: where it was before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Version>,
    /// Who did it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// For a promotion: against the gate's verdict.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forced: bool,
}

impl Store {
    /// All lines that can be read, oldest first. A line cut by a power failure is left out, with a warning in the log.
    ///
    /// # Errors
    /// [`StoreError::Io`]; [`StoreError::BadFile`] beyond 64 MiB.
    pub fn history(&self) -> Result<Vec<HistoryEntry>, StoreError> {
        let path = self.layout.history();
        let Some(bytes) = files::read_bounded(&path, LARGEST)? else { return Ok(Vec::new()) };
        let mut entries = Vec::new();
        for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty()) {
            match serde_json::from_slice(line) {
                Ok(entry) => entries.push(entry),
                Err(error) => tracing::warn!(path = %path.display(), line = index + 1, %error, "unreadable history line"),
            }
        }
        Ok(entries)
    }
}

/// Appends lines in one write. The caller holds `publish.lock`.
pub(crate) fn append(layout: &Layout, entries: &[HistoryEntry]) -> Result<(), StoreError> {
    let path = layout.history();
    let write = || {
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(&path)?;
        let mut block = Vec::new();
        // A line that a crash cut short must not swallow the next one.
        if file.metadata()?.len() > 0 {
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                block.push(b'\n');
            }
        }
        for entry in entries {
            serde_json::to_writer(&mut block, entry)?;
            block.push(b'\n');
        }
        file.write_all(&block)?;
        file.sync_all()
    };
    write().map_err(StoreError::io("append to", &path))
}
