//! What `--json` prints, and what the tables are made from.

use chrono::{DateTime, Utc};
use edgeloop_store::{Metadata, Pointer, Store, StoreError, Version};
use serde::Serialize;

/// `models list`.
#[derive(Debug, Serialize)]
pub(super) struct Listing {
    /// The promoted version.
    pub(super) promoted: Option<Version>,
    /// Why it cannot be told which one is promoted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pointer_error: Option<String>,
    pub(super) versions: Vec<Metadata>,
    pub(super) candidates: Vec<Metadata>,
    pub(super) broken: Vec<Broken>,
}

#[derive(Debug, Serialize)]
pub(super) struct Broken {
    pub(super) path: String,
    pub(super) error: String,
}

impl Listing {
    pub(super) fn of(store: &Store) -> anyhow::Result<Self> {
        let survey = store.survey()?;
        let (promoted, pointer_error) = match store.pointer() {
            Ok(pointer) => (pointer.map(|pointer| pointer.metadata.version), None),
            Err(error) => (None, Some(error.to_string())),
        };
        let broken = survey.broken.into_iter();
        Ok(Self {
            promoted,
            pointer_error,
            versions: survey.versions,
            candidates: survey.candidates,
            broken: broken.map(|(path, error)| Broken { path: path.display().to_string(), error: error.to_string() }).collect(),
        })
    }
}

/// `models promote` and `models rollback`.
#[derive(Debug, Serialize)]
pub(super) struct Moved {
    pub(super) version: Version,
    pub(super) promotion: u64,
    pub(super) at: DateTime<Utc>,
    pub(super) by: String,
    pub(super) reason: String,
    pub(super) predecessors: Vec<Version>,
}

impl From<&Pointer> for Moved {
    fn from(pointer: &Pointer) -> Self {
        let Pointer { metadata, promoted_at, promoted_by, reason, promotion, predecessors } = pointer.clone();
        Self { version: metadata.version, promotion, at: promoted_at, by: promoted_by, reason, predecessors }
    }
}

/// One line of `models verify`.
#[derive(Debug, Serialize)]
pub(super) struct Check {
    /// A version, or the file that should describe one.
    pub(super) what: String,
    /// What is wrong; absent when nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
    pub(super) ok: bool,
}

impl Check {
    pub(super) fn of(what: String, result: Result<(), StoreError>) -> Self {
        let error = result.err().map(|error| error.to_string());
        Self { what, ok: error.is_none(), error }
    }

    pub(super) fn is_ok(&self) -> bool {
        self.ok
    }
}

pub(super) fn json(value: &impl Serialize) -> String {
    let mut text = serde_json::to_string_pretty(value).expect("views have string keys and serialise into memory");
    text.push('\n');
    text
}
