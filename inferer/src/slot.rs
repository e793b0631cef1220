//! The model in service, and the one place where it is swapped.
//!
//! A request takes the `Arc` once, when it is admitted, and stays with it: whoever began on the old model is answered by the
//! old model. The old engine's thread ends when the last of them is done.

use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwapOption;
use edgeloop_store::{Metadata, Version};

use crate::engines::Engines;
use crate::record::{Record, Rule};

/// A class name that answers share: a detection costs no copy of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label(Arc<str>);

impl Default for Label {
    fn default() -> Self {
        Self("".into())
    }
}

impl std::ops::Deref for Label {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl serde::Serialize for Label {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// A loaded, checked and warmed model.
#[derive(Debug)]
pub struct Serving {
    /// What the store says about it.
    pub metadata: Metadata,
    /// Its class names, shared with the answers.
    pub labels: Vec<Label>,
    /// What runs it.
    pub engines: Engines,
    /// When it was loaded.
    pub since: SystemTime,
    pub(crate) record: Record,
}

impl Serving {
    /// A model that is ready to serve.
    pub fn new(metadata: Metadata, engines: Engines) -> Self {
        let labels = metadata.classes.iter().map(|name| Label(name.as_str().into())).collect();
        Self { metadata, labels, engines, since: SystemTime::now(), record: Record::new(Rule::default()) }
    }

    /// Its version.
    pub fn version(&self) -> &Version {
        &self.metadata.version
    }

    /// Counts a run that worked.
    pub(crate) fn ran(&self) {
        self.record.ran();
    }

    /// Counts a run that failed; true when the version has become bad with it.
    pub(crate) fn run_failed(&self) -> bool {
        self.record.run_failed() || !self.engines.is_alive()
    }

    /// Why the version is bad, or `None` while it is good.
    pub fn trouble(&self) -> Option<String> {
        if self.engines.is_alive() { self.record.trouble().map(str::to_owned) } else { Some("its engine's thread has stopped".into()) }
    }
}

/// Holds the model in service. Clones are the same slot.
#[derive(Debug, Clone, Default)]
pub struct Slot {
    current: Arc<ArcSwapOption<Serving>>,
}

impl Slot {
    /// Empty: nothing serves yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The model in service.
    #[must_use]
    pub fn get(&self) -> Option<Arc<Serving>> {
        self.current.load_full()
    }

    /// Puts a model into service and returns the one before, which others may still be using.
    pub fn swap(&self, next: Serving) -> Option<Arc<Serving>> {
        self.current.swap(Some(Arc::new(next)))
    }
}
