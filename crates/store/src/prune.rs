//! Old versions go. The promoted one and the one before it never do.

use std::collections::BTreeSet;

use crate::commit::Commit;
use crate::layout::{self, Place};
use crate::{FileKind, HistoryEntry, HistoryEvent, Metadata, Owner, Store, StoreError, Version, fault, files, history};

/// What to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Published versions, the promoted one and its predecessor among them.
    pub keep_versions: usize,
    /// Rejected ones, for whoever wants to look at them or to insist.
    pub keep_candidates: usize,
    /// All files of all versions together (without the two copies). An x-size version has about 550 MB.
    pub keep_bytes: Option<u64>,
}

impl Default for Retention {
    fn default() -> Self {
        Self { keep_versions: 10, keep_candidates: 3, keep_bytes: None }
    }
}

/// What was removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PruneReport {
    /// Versions, in the order in which they went.
    pub removed: Vec<Version>,
    /// Their bytes.
    pub bytes: u64,
}

impl Store {
    /// Removes the oldest, by sequence: candidates first, then published versions, until what is left is within `retention` or
    /// protected. Broken versions are left for people to look at.
    ///
    /// # Errors
    /// Those of [`Store::pointer`], and then nothing is removed: who is protected is not known. [`StoreError::LockHeld`],
    /// [`StoreError::Io`].
    pub fn prune(&self, retention: &Retention) -> Result<PruneReport, StoreError> {
        let commit = Commit::begin(self, &Owner::current("edgeloop prune"))?;
        let pointer = self.pointer()?;
        let survey = self.survey()?;
        let mut protected = BTreeSet::new();
        if let Some(pointer) = &pointer {
            let here: BTreeSet<_> = survey.versions.iter().map(|metadata| &metadata.version).collect();
            protected.insert(pointer.version().clone());
            protected.extend(pointer.predecessors.iter().find(|version| here.contains(version)).cloned());
        }
        let mut report = PruneReport::default();
        for (place, metadata, why) in choose(&survey.versions, &survey.candidates, &protected, retention) {
            self.remove_version(&commit, place, metadata, &why)?;
            report.removed.push(metadata.version.clone());
            report.bytes += metadata.bytes();
        }
        Ok(report)
    }

    fn remove_version(&self, commit: &Commit<'_>, place: Place, metadata: &Metadata, why: &str) -> Result<(), StoreError> {
        let version = &metadata.version;
        let (trash, name) = (self.layout.trash(place, version), layout::metadata_name(version));
        files::make_dir(&trash)?;
        let entry = HistoryEntry {
            at: self.options.clock.utc(),
            event: HistoryEvent::Pruned,
            version: version.clone(),
            sequence: metadata.sequence,
            promotion: None,
            from: None,
            by: "retention".to_owned(),
            reason: why.to_owned(),
            forced: false,
        };
        files::remove(&trash.join(ENTRY))?;
        files::write_new(&trash.join(ENTRY), &files::to_json(&entry))?;
        files::sync_dir(&trash)?;
        fault::hit("prune-begun");
        // Asked after the folder was made: whoever takes the lock over from now on removes it, and the rename below fails.
        commit.check()?;
        // From here on it is no version any more, and whoever comes next goes on.
        files::rename(&self.layout.place(place).join(&name), &trash.join(&name))?;
        files::sync_dir(&trash)?;
        fault::hit("prune-metadata-moved");
        self.finish_prune(place, version)
    }

    /// Goes on with a removal as far as it had come.
    pub(crate) fn finish_prune(&self, place: Place, version: &Version) -> Result<(), StoreError> {
        let trash = self.layout.trash(place, version);
        if trash.join(layout::metadata_name(version)).exists() {
            for kind in FileKind::ALL {
                files::remove(&self.layout.place(place).join(kind.file_name(version)))?;
            }
            fault::hit("prune-files-removed");
            if let Some(entry) = files::read_json::<HistoryEntry>(&trash.join(ENTRY))?
                && !self.history()?.contains(&entry)
            {
                history::append(&self.layout, &[entry])?;
            }
        }
        files::remove_dir(&trash)
    }
}

const ENTRY: &str = "entry.json";

/// What goes, in order, with the reason. Pure: the lists are oldest first.
fn choose<'a>(
    versions: &'a [Metadata],
    candidates: &'a [Metadata],
    protected: &BTreeSet<Version>,
    retention: &Retention,
) -> Vec<(Place, &'a Metadata, String)> {
    let Retention { keep_versions, keep_candidates, keep_bytes } = *retention;
    let (mut left_versions, mut left_candidates) = (versions.len(), candidates.len());
    let mut left_bytes = versions.iter().chain(candidates).map(Metadata::bytes).fold(0, u64::saturating_add);
    let mut gone = Vec::new();
    let rejected = candidates.iter().map(|metadata| (Place::Candidates, metadata));
    let published = versions.iter().map(|metadata| (Place::Root, metadata)).filter(|(_, metadata)| !protected.contains(&metadata.version));
    for (place, metadata) in rejected.chain(published) {
        let (left, keep, noun) = match place {
            Place::Candidates => (&mut left_candidates, keep_candidates, "candidates"),
            Place::Root => (&mut left_versions, keep_versions, "versions"),
        };
        let why = if *left > keep {
            format!("{left} {noun}, {keep} are kept")
        } else if let Some(limit) = keep_bytes.filter(|limit| left_bytes > *limit) {
            format!("{left_bytes} bytes, {limit} are kept")
        } else {
            continue;
        };
        *left -= 1;
        left_bytes = left_bytes.saturating_sub(metadata.bytes());
        gone.push((place, metadata, why));
    }
    gone
}
