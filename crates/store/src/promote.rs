//! The pointer moved by hand: to a version somebody names, or back to the one before. Waits for no training.

use crate::commit::{Commit, Plan, PlanPlace};
use crate::layout::Place;
use crate::publish::copy_latest;
use crate::{HistoryEntry, HistoryEvent, Metadata, Owner, Pointer, Store, StoreError, Version, files};

impl Store {
    /// Makes a version the promoted one, after reading all its files and comparing them with its metadata. One that is promoted
    /// already stays so, and nothing is written.
    ///
    /// # Errors
    /// [`StoreError::GateRejected`] for a candidate without `force`; whatever [`Store::verify`] finds (`force` does not help);
    /// [`StoreError::UnknownVersion`]; [`StoreError::LockHeld`]; [`StoreError::Io`].
    pub fn promote(&self, version: &Version, by: &str, reason: &str, force: bool) -> Result<Pointer, StoreError> {
        let commit = Commit::begin(self, &Owner::current(by))?;
        let (place, metadata) = self.locate(version)?;
        let numbers = self.numbers()?;
        if let Some(pointer) = numbers.pointer.as_ref().filter(|pointer| pointer.version() == version) {
            return Ok(pointer.clone());
        }
        if place == Place::Candidates && !force {
            return Err(StoreError::GateRejected { version: version.clone(), reason: metadata.gate.reason });
        }
        self.verify_in(place, &metadata)?;
        let pointer = numbers.point_at(metadata, self.options.clock.utc(), by, reason);
        self.point(commit, place, &pointer, numbers.pointer.as_ref(), HistoryEvent::Promoted)
    }

    /// Goes back to what was promoted before: the newest predecessor that is still there and whole.
    ///
    /// Going back takes the version off the list of predecessors, so the next roll-back goes further back, and a version that
    /// was rolled back is not come back to after a new one.
    ///
    /// # Errors
    /// [`StoreError::NoPredecessor`] with what was wrong with each; [`StoreError::LockHeld`]; [`StoreError::Io`].
    pub fn rollback(&self, by: &str, reason: &str) -> Result<Pointer, StoreError> {
        let commit = Commit::begin(self, &Owner::current(by))?;
        let numbers = self.numbers()?;
        let Some(now) = &numbers.pointer else {
            let reason = "no usable pointer says what was promoted before; name a version with `edgeloop models promote`".to_owned();
            return Err(StoreError::NoPredecessor { reason });
        };
        let mut refused = Vec::new();
        for (index, version) in now.predecessors.iter().enumerate() {
            match self.usable(version) {
                Ok(metadata) => {
                    let mut pointer = numbers.point_at(metadata, self.options.clock.utc(), by, reason);
                    pointer.predecessors = now.predecessors[index + 1..].to_vec();
                    return self.point(commit, Place::Root, &pointer, Some(now), HistoryEvent::RolledBack);
                }
                Err(error) => {
                    tracing::warn!(%version, %error, "passed over");
                    refused.push(error.to_string());
                }
            }
        }
        let reason = if refused.is_empty() {
            format!("{} is the first version that was promoted here", now.version())
        } else {
            format!("no predecessor of {} is usable: {}", now.version(), refused.join("; "))
        };
        Err(StoreError::NoPredecessor { reason })
    }

    fn usable(&self, version: &Version) -> Result<Metadata, StoreError> {
        let unknown = || StoreError::UnknownVersion { version: version.clone(), root: self.layout.root().to_owned() };
        let metadata = self.metadata_in(Place::Root, version)?.ok_or_else(unknown)?;
        self.verify_in(Place::Root, &metadata)?;
        Ok(metadata)
    }

    fn point(
        &self,
        commit: Commit<'_>,
        place: Place,
        pointer: &Pointer,
        before: Option<&Pointer>,
        event: HistoryEvent,
    ) -> Result<Pointer, StoreError> {
        let metadata = &pointer.metadata;
        let source = self.layout.place(place);
        // Copied, not moved: what lies in the commit's own folder is all that a late process could still rename.
        let new = if place == Place::Candidates { Plan::names(metadata) } else { Vec::new() };
        commit.prepare(|folder| {
            files::make_dir(folder)?;
            copy_latest(&source, &metadata.files, folder)?;
            new.iter().try_for_each(|name| files::copy_new(&source.join(name), &folder.join(name)))
        })?;
        let plan = Plan {
            version: metadata.version.clone(),
            to: PlanPlace::Root,
            files: new,
            promotion: Some(pointer.promotion),
            latest: Plan::latest(metadata),
            history: vec![HistoryEntry {
                at: pointer.promoted_at,
                event,
                version: metadata.version.clone(),
                sequence: metadata.sequence,
                promotion: Some(pointer.promotion),
                from: before.map(|before| before.version().clone()),
                by: pointer.promoted_by.clone(),
                reason: pointer.reason.clone(),
                forced: place == Place::Candidates,
            }],
        };
        commit.execute(&plan, Some(pointer), None)?;
        Ok(pointer.clone())
    }
}
