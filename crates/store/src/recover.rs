//! After a crash: what a holder of a lock does with what earlier holders left.

use std::path::Path;

use crate::commit::{Commit, LATEST, Plan, PlanPlace};
use crate::layout::{self, PLAN, Place, TRASH, TRASH_CANDIDATE};
use crate::{Owner, Store, StoreError, Version, files, history};

impl Store {
    /// Under `publish.lock` number `fence`: a commit folder with a lower number belongs to a holder that is dead or was passed. One
    /// with a higher number means that this process was passed, and is none of its business.
    pub(crate) fn recover(&self, fence: u64) -> Result<(), StoreError> {
        let staging = self.layout.staging();
        for name in files::names(&staging)? {
            if layout::commit_fence(&name).is_some_and(|number| number < fence) {
                tracing::info!(left = name, "finishing or undoing a commit that was interrupted");
                self.resolve(&staging.join(&name))?;
            } else if let Some(version) = parsed(&name, TRASH_CANDIDATE) {
                self.finish_prune(Place::Candidates, &version)?;
            } else if let Some(version) = parsed(&name, TRASH) {
                self.finish_prune(Place::Root, &version)?;
            }
        }
        Ok(())
    }

    /// Under `train.lock` number `fence`, just taken: staged versions of earlier trainers go, and so does whatever they were
    /// committing. Afterwards none of them can publish.
    pub(crate) fn settle(&self, owner: &Owner, fence: u64) -> Result<(), StoreError> {
        let commit = Commit::begin(self, owner)?;
        let staging = self.layout.staging();
        for name in files::names(&staging)? {
            let path = staging.join(&name);
            if layout::stage_fence(&name).is_some_and(|number| number < fence) {
                tracing::info!(left = name, "removing a version that was never published");
                files::remove_dir(&path)?;
            } else if (name.starts_with("status-") && name.ends_with(".tmp")) || name == layout::STAGED_ATTEMPT {
                files::remove(&path)?;
            }
        }
        drop(commit);
        Ok(())
    }

    /// Finishes a commit whose pointer moved, undoes any other.
    pub(crate) fn resolve(&self, folder: &Path) -> Result<(), StoreError> {
        let plan = match files::read_json::<Plan>(&folder.join(PLAN)) {
            Ok(plan) => plan,
            // The plan is on the disk, whole, before the first file moves. A torn one: nothing has moved.
            Err(StoreError::BadFile { .. }) => None,
            Err(error) => return Err(error),
        };
        // First what could still be renamed by a process that wakes up late; the plan stays until it is carried out.
        for name in files::names(folder)?.iter().filter(|name| *name != PLAN) {
            files::remove(&folder.join(name))?;
        }
        if let Some(plan) = plan {
            if self.happened(&plan)? {
                let known = self.history()?;
                let missing: Vec<_> = plan.history.iter().filter(|entry| !known.contains(entry)).cloned().collect();
                if !missing.is_empty() {
                    history::append(&self.layout, &missing)?;
                }
                self.remove_candidate(&plan)?;
            } else {
                self.undo(&plan, folder)?;
            }
        }
        files::remove_dir(folder)
    }

    fn happened(&self, plan: &Plan) -> Result<bool, StoreError> {
        let Some(promotion) = plan.promotion else {
            let metadata = self.layout.place(plan.to.into()).join(layout::metadata_name(&plan.version));
            return Ok(metadata.exists());
        };
        match self.pointer() {
            Ok(pointer) => Ok(pointer.is_some_and(|pointer| pointer.promotion >= promotion)),
            // Nobody can tell. Files too many are better than files too few.
            Err(error) if error.is_bad_content() => {
                tracing::warn!(%error, version = %plan.version, "cannot tell whether the version was promoted; keeping its files");
                Ok(true)
            }
            Err(error) => Err(error),
        }
    }

    fn undo(&self, plan: &Plan, folder: &Path) -> Result<(), StoreError> {
        let place = self.layout.place(plan.to.into());
        // The metadata first: without it there is no version whose files could be missing.
        for name in plan.files.iter().rev() {
            files::remove(&place.join(name))?;
        }
        let pointer = self.pointer()?;
        for (kind, name, _) in LATEST {
            let Some(new) = plan.latest.iter().find(|entry| entry.kind == kind) else { continue };
            let path = self.layout.root().join(name);
            if !path.exists() || !files::digest(&path).is_ok_and(|(bytes, sha256)| bytes == new.bytes && sha256 == new.sha256) {
                continue;
            }
            match pointer.as_ref().and_then(|pointer| pointer.metadata.file(kind)) {
                None => files::remove(&path)?,
                Some(old) if old.sha256 == new.sha256 => {}
                Some(old) => {
                    files::copy_new(&self.layout.root().join(&old.name), &folder.join(name))?;
                    files::rename(&folder.join(name), &path)?;
                }
            }
        }
        files::sync_dir(self.layout.root())
    }

    /// A candidate that was promoted after all is in the root now.
    pub(crate) fn remove_candidate(&self, plan: &Plan) -> Result<(), StoreError> {
        if plan.to == PlanPlace::Root && !plan.files.is_empty() {
            for name in plan.files.iter().rev() {
                files::remove(&self.layout.candidates().join(name))?;
            }
        }
        Ok(())
    }
}

fn parsed(name: &str, prefix: &str) -> Option<Version> {
    name.strip_prefix(prefix)?.parse().ok()
}
