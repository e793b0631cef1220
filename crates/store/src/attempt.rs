//! `last_attempt.json`: what the last training was made of, so that the next one can tell whether there is anything new.
//!
//! It is written when a training begins and again when it ends. A version that was published says by itself what it was made
//! of, so a crash between the publishing and the second write loses nothing.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{GateDecision, Metadata, OutcomeKind, Store, StoreError, TrainLock, Version, files, layout};

/// One training.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// When it began, or went on.
    pub began: DateTime<Utc>,
    /// The highest sequence of a version then; 0 without one.
    pub after: u64,
    /// Digest of images, labels, classes and their split: `dataset.fingerprint` of the version that it makes.
    pub data: String,
    /// Digest of the settings that decide what it makes: `training.hyper.settings` there.
    pub settings: String,
    /// A digest of each usable image with its labels, 16 hexadecimal digits; sorted.
    pub images: Vec<String>,
    /// How it ended, once it has.
    #[serde(default)]
    pub ended: Option<Ended>,
}

/// The end of an [`Attempt`] that would end the same way if it was made again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// When.
    pub at: DateTime<Utc>,
    /// How: promoted, rejected, or failed for good.
    pub result: OutcomeKind,
    /// The version that it made.
    pub version: Option<Version>,
}

impl Attempt {
    /// How many of `images` are new or labelled anew since this attempt.
    #[must_use]
    pub fn unseen(&self, images: &[String]) -> usize {
        images.iter().filter(|image| self.images.binary_search(image).is_err()).count()
    }

    fn made(&self, version: &Metadata) -> bool {
        let settings = version.training.hyper.get("settings").and_then(serde_json::Value::as_str);
        version.sequence > self.after && version.dataset.fingerprint == self.data && settings == Some(self.settings.as_str())
    }
}

impl Store {
    /// A training of these images and settings begins, or goes on: `images` in any order. The lock says that the caller is the
    /// trainer.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn begin_attempt(&self, lock: &TrainLock, data: String, settings: String, mut images: Vec<String>) -> Result<Attempt, StoreError> {
        images.sort_unstable();
        let survey = self.survey()?;
        let after = survey.versions.iter().chain(&survey.candidates).map(|version| version.sequence).max().unwrap_or(0);
        let attempt = Attempt { began: self.options.clock.utc(), after, data, settings, images, ended: None };
        self.write_attempt(lock, &attempt)?;
        Ok(attempt)
    }

    /// It ended, and would end the same way again.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn end_attempt(&self, lock: &TrainLock, attempt: Attempt, result: OutcomeKind, version: Option<Version>) -> Result<(), StoreError> {
        let ended = Some(Ended { at: self.options.clock.utc(), result, version });
        self.write_attempt(lock, &Attempt { ended, ..attempt })
    }

    fn write_attempt(&self, _lock: &TrainLock, attempt: &Attempt) -> Result<(), StoreError> {
        files::make_dir(&self.layout.staging())?;
        // One name: only the trainer writes this, and a leftover is overwritten or swept.
        let staged = self.layout.staging().join(layout::STAGED_ATTEMPT);
        files::replace(&staged, &self.layout.last_attempt(), &files::to_json(attempt))
    }

    /// The last attempt; `None` before the first. One that had published a version when it was cut off has ended with that.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::BadFile`].
    pub fn last_attempt(&self) -> Result<Option<Attempt>, StoreError> {
        let Some(mut attempt) = files::read_json::<Attempt>(&self.layout.last_attempt())? else { return Ok(None) };
        attempt.images.sort_unstable();
        if attempt.ended.is_none() {
            let survey = self.survey()?;
            let made = survey.versions.iter().chain(&survey.candidates).find(|version| attempt.made(version));
            attempt.ended = made.map(|version| Ended {
                at: version.created,
                result: match version.gate.decision {
                    GateDecision::Promoted => OutcomeKind::Promoted,
                    GateDecision::Rejected => OutcomeKind::Rejected,
                },
                version: Some(version.version.clone()),
            });
        }
        Ok(Some(attempt))
    }
}
