//! `latest_metadata.json`: which version is promoted. The commit point of everything.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{Metadata, Version};

/// How many earlier promoted versions a pointer remembers: more than [`crate::Retention`] keeps by default.
pub(crate) const MOST_PREDECESSORS: usize = 32;

/// The promoted version, and when, by whom and why it was promoted.
#[derive(Debug, Clone, PartialEq)]
pub struct Pointer {
    /// The promoted version's metadata, whole: a reader needs no other JSON file.
    pub metadata: Metadata,
    /// When the pointer moved, by the mover's clock. For people.
    pub promoted_at: DateTime<Utc>,
    /// Who moved it.
    pub promoted_by: String,
    /// Why.
    pub reason: String,
    /// Counts the moves of the pointer, from 1: changes with every promotion and roll-back, whatever the clocks said.
    pub promotion: u64,
    /// What was promoted before, newest first; a roll-back goes to the first that is still whole and takes it off.
    pub predecessors: Vec<Version>,
}

/// The file: the metadata's own fields with `promotion` beside them.
#[derive(Serialize, Deserialize)]
pub(crate) struct PointerFile {
    #[serde(flatten)]
    pub(crate) metadata: Metadata,
    pub(crate) promotion: Promotion,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Promotion {
    pub(crate) at: DateTime<Utc>,
    pub(crate) by: String,
    pub(crate) reason: String,
    pub(crate) sequence: u64,
    #[serde(default)]
    pub(crate) predecessors: Vec<Version>,
}

impl From<PointerFile> for Pointer {
    fn from(file: PointerFile) -> Self {
        let Promotion { at, by, reason, sequence, predecessors } = file.promotion;
        Self { metadata: file.metadata, promoted_at: at, promoted_by: by, reason, promotion: sequence, predecessors }
    }
}

impl From<Pointer> for PointerFile {
    fn from(pointer: Pointer) -> Self {
        let Pointer { metadata, promoted_at, promoted_by, reason, promotion, predecessors } = pointer;
        Self { metadata, promotion: Promotion { at: promoted_at, by: promoted_by, reason, sequence: promotion, predecessors } }
    }
}

impl Pointer {
    /// The promoted version.
    #[must_use]
    pub fn version(&self) -> &Version {
        &self.metadata.version
    }

    /// What the next promotion has to remember: this one, then what this one remembered.
    pub(crate) fn lineage(&self, next: &Version) -> Vec<Version> {
        std::iter::once(&self.metadata.version)
            .chain(&self.predecessors)
            .filter(|version| *version != next)
            .take(MOST_PREDECESSORS)
            .cloned()
            .collect()
    }
}
