//! A trained model becomes a version.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use chrono::{DateTime, Utc};

use crate::commit::{Commit, LATEST, Plan, PlanPlace};
use crate::layout::{self, Place};
use crate::{
    Decision, Draft, FileEntry, FileKind, Forced, GateDecision, GateRecord, HistoryEntry, HistoryEvent, Metadata, Pointer, SCHEMA, Store,
    StoreError, TrainLock, Verdict, Version, fault, files,
};

/// How many seconds a name may be moved on before something else must be wrong: a day.
const MOST_BUMPS: usize = 86_400;

impl Store {
    /// Stores a version and, if the gate says so or somebody insists, moves the pointer to it: all of it or nothing, whatever happens meanwhile.
    /// The big files are written and synced before `publish.lock` is taken; it is held for the renames.
    ///
    /// # Errors
    /// [`StoreError::BadDraft`]; [`StoreError::LockLost`] when another trainer took over (nothing was published);
    /// [`StoreError::LockHeld`] when `publish.lock` stays held; [`StoreError::FutureSchema`] when a newer program wrote the
    /// pointer; [`StoreError::Io`].
    pub fn publish(&self, lock: &TrainLock, draft: Draft, verdict: impl Into<Verdict>) -> Result<Metadata, StoreError> {
        let _one_at_a_time = lock.publishing.lock().unwrap_or_else(PoisonError::into_inner);
        check(&draft)?;
        self.layout.make_folders()?;
        lock.held.check()?;
        // Who was passed finds its staged files gone: that is no trouble with the disk.
        self.publish_locked(lock, draft, verdict.into()).map_err(|error| lock.held.check().err().unwrap_or(error))
    }

    fn publish_locked(&self, lock: &TrainLock, draft: Draft, verdict: Verdict) -> Result<Metadata, StoreError> {
        let created = self.options.clock.utc();
        let stage = self.take_name(created, lock.fence())?;
        let entries = stage.write(&draft, verdict.promotes()).inspect_err(|_| {
            // On a full disk what is left of it would be in the way of everything else until the next training.
            let _ = files::remove_dir(&stage.folder);
        })?;

        let commit = Commit::begin(self, &lock.owner)?;
        lock.held.check()?;
        let numbers = self.numbers()?;
        let metadata = metadata(draft, entries, stage.version.clone(), numbers.sequence, created, &verdict);
        metadata.check().map_err(|reason| StoreError::BadDraft { reason })?;
        let (by, reason) = match &metadata.gate.forced {
            Some(Forced { by, reason }) => (by, reason),
            None => (&lock.owner.name, &metadata.gate.reason),
        };
        let pointer = verdict.promotes().then(|| numbers.point_at(metadata.clone(), created, by, reason));
        commit.prepare(|folder| {
            files::rename(&stage.folder, folder)?;
            files::write_new(&folder.join(layout::metadata_name(&metadata.version)), &files::to_json(&metadata))
        })?;
        let plan = plan(&metadata, pointer.as_ref(), numbers.pointer.as_ref(), &lock.owner.name);
        commit.execute(&plan, pointer.as_ref(), Some(&lock.held))?;
        Ok(metadata)
    }

    /// Takes the first free name from `at` on: free in the root, among candidates, in the history, and by O_EXCL.
    fn take_name(&self, at: DateTime<Utc>, fence: u64) -> Result<Stage, StoreError> {
        let mut taken: BTreeSet<Version> = self.history()?.into_iter().map(|entry| entry.version).collect();
        for place in [Place::Root, Place::Candidates] {
            let names = files::names(&self.layout.place(place))?;
            taken.extend(names.iter().filter_map(|name| layout::version_of_any(name)));
        }
        let first = Version::at(at)?;
        let mut next = Some(first.clone());
        for _ in 0..MOST_BUMPS {
            let Some(version) = next else { break };
            let folder = self.layout.stage(&version, fence);
            if !taken.contains(&version) {
                match fs::create_dir(&folder) {
                    Ok(()) => return Ok(Stage { version, folder }),
                    Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                    Err(error) => return Err(StoreError::io("create folder", folder)(error)),
                }
            }
            next = version.bump();
        }
        Err(StoreError::BadDraft { reason: format!("no free name within a day of {first}; set the clock") })
    }

    /// What the next version and the next move of the pointer are numbered. The caller holds `publish.lock`.
    pub(crate) fn numbers(&self) -> Result<Numbers, StoreError> {
        let pointer = match self.pointer() {
            // A pointer that says nothing is replaced; one that says more than this program understands is not.
            Err(error @ StoreError::BadFile { .. }) => {
                tracing::warn!(%error, "the pointer is damaged and will be replaced");
                None
            }
            other => other?,
        };
        let survey = self.survey()?;
        let history = self.history()?;
        let in_place = survey.versions.iter().chain(&survey.candidates).chain(pointer.iter().map(|pointer| &pointer.metadata));
        let sequence = in_place.map(|metadata| metadata.sequence).chain(history.iter().map(|entry| entry.sequence)).max().unwrap_or(0);
        let promotion = history.iter().filter_map(|entry| entry.promotion).chain(pointer.iter().map(|pointer| pointer.promotion)).max();
        let earlier = survey.versions.into_iter().rev().map(|metadata| metadata.version).collect();
        Ok(Numbers { sequence: sequence + 1, promotion: promotion.unwrap_or(0) + 1, pointer, earlier })
    }
}

/// The next numbers, and what is promoted now.
pub(crate) struct Numbers {
    sequence: u64,
    promotion: u64,
    pub(crate) pointer: Option<Pointer>,
    /// Published versions, newest first: the lineage when there is no pointer that knows it.
    earlier: Vec<Version>,
}

impl Numbers {
    pub(crate) fn point_at(&self, metadata: Metadata, at: DateTime<Utc>, by: &str, reason: &str) -> Pointer {
        let mut predecessors = match &self.pointer {
            Some(pointer) => pointer.lineage(&metadata.version),
            None => self.earlier.iter().filter(|version| **version != metadata.version).cloned().collect(),
        };
        predecessors.truncate(crate::pointer::MOST_PREDECESSORS);
        let (promoted_by, reason) = (by.to_owned(), reason.to_owned());
        Pointer { metadata, promoted_at: at, promoted_by, reason, promotion: self.promotion, predecessors }
    }
}

/// A name that is taken, and its folder, which goes when it was not handed on.
struct Stage {
    version: Version,
    folder: PathBuf,
}

impl Stage {
    fn write(&self, draft: &Draft, promote: bool) -> Result<Vec<FileEntry>, StoreError> {
        fault::hit("staged-nothing");
        let mut entries = Vec::new();
        for kind in FileKind::ALL {
            let Some((_, bytes)) = draft.files.iter().find(|(other, _)| *other == kind) else { continue };
            let name = kind.file_name(&self.version);
            files::write_new(&self.folder.join(&name), bytes)?;
            fault::hit(staged(kind));
            entries.push(FileEntry { kind, name, bytes: bytes.len() as u64, sha256: files::sha256(bytes) });
        }
        if promote {
            copy_latest(&self.folder, &entries, &self.folder)?;
        }
        files::sync_dir(&self.folder)?;
        fault::hit("staged-all");
        Ok(entries)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Handed on means renamed, and then there is nothing here. Best effort: the next trainer sweeps.
        let _ = files::remove_dir(&self.folder);
    }
}

/// Prepares `latest.pt` and `latest.onnx` in `folder` from the version's files in `source`.
pub(crate) fn copy_latest(source: &Path, entries: &[FileEntry], folder: &Path) -> Result<(), StoreError> {
    for (kind, name, _) in LATEST {
        if let Some(entry) = entries.iter().find(|entry| entry.kind == kind) {
            files::copy_new(&source.join(&entry.name), &folder.join(name))?;
        }
    }
    Ok(())
}

fn staged(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Weights => "staged-weights",
        FileKind::Onnx => "staged-onnx",
        FileKind::Check => "staged-check",
    }
}

fn check(draft: &Draft) -> Result<(), StoreError> {
    let refuse = |reason: String| Err(StoreError::BadDraft { reason });
    for (index, (kind, bytes)) in draft.files.iter().enumerate() {
        if bytes.is_empty() {
            return refuse(format!("its {kind} file is empty"));
        }
        if draft.files[..index].iter().any(|(other, _)| other == kind) {
            return refuse(format!("it has two {kind} files"));
        }
    }
    for kind in [FileKind::Weights, FileKind::Onnx] {
        if !draft.files.iter().any(|(other, _)| *other == kind) {
            return refuse(format!("it has no {kind} file"));
        }
    }
    if !draft.training.seconds.is_finite() {
        return refuse("its training time is not a number".to_owned());
    }
    Ok(())
}

fn metadata(draft: Draft, files: Vec<FileEntry>, version: Version, sequence: u64, created: DateTime<Utc>, verdict: &Verdict) -> Metadata {
    let (decision, forced) = match verdict.decision {
        Decision::Promote { .. } => (GateDecision::Promoted, None),
        Decision::Reject { .. } => (GateDecision::Rejected, verdict.forced.clone()),
    };
    let Draft { architecture, image_size, classes, dataset, training, metrics, compared_with, producer, files: _ } = draft;
    let (reason, comparisons) = (verdict.decision.reason().to_owned(), verdict.comparisons.clone());
    let gate = GateRecord { decision, reason, compared_with, comparisons, forced };
    Metadata {
        schema: SCHEMA,
        version,
        sequence,
        created,
        files,
        architecture,
        image_size,
        classes,
        dataset,
        training,
        metrics,
        gate,
        producer,
    }
}

fn plan(metadata: &Metadata, pointer: Option<&Pointer>, before: Option<&Pointer>, by: &str) -> Plan {
    let entry = |event, promotion, from: Option<Version>| HistoryEntry {
        at: metadata.created,
        event,
        version: metadata.version.clone(),
        sequence: metadata.sequence,
        promotion,
        from,
        by: by.to_owned(),
        reason: metadata.gate.reason.clone(),
        forced: false,
    };
    let outcome = match pointer {
        Some(pointer) => HistoryEntry {
            by: pointer.promoted_by.clone(),
            reason: pointer.reason.clone(),
            forced: metadata.gate.forced.is_some(),
            ..entry(HistoryEvent::Promoted, Some(pointer.promotion), before.map(|before| before.version().clone()))
        },
        None => entry(HistoryEvent::Rejected, None, None),
    };
    Plan {
        version: metadata.version.clone(),
        to: if pointer.is_some() { PlanPlace::Root } else { PlanPlace::Candidates },
        files: Plan::names(metadata),
        promotion: pointer.map(|pointer| pointer.promotion),
        latest: if pointer.is_some() { Plan::latest(metadata) } else { Vec::new() },
        history: vec![entry(HistoryEvent::Published, None, None), outcome],
    }
}
