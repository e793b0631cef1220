//! What the loop remembers between looks.

use std::sync::Weak;
use std::time::Instant;

use edgeloop_store::{Metadata, Store, StoreError, Version, VersionStamp};

use super::SETTLED;
use super::decide::{Quarantine, Target};
use crate::slot::Serving;

pub(super) struct Memory {
    pub quarantine: Quarantine,
    pub engine_again: Instant,
    /// The last complaint about the store itself: said once, not at every look.
    pub complaint: Option<String>,
    /// The model in service whose trouble has been noted: noting it again would start its pause anew.
    pub noted: Weak<Serving>,
    /// The version that was left because it went bad, and why, until another one serves.
    pub left: Option<(Version, String)>,
    /// The version whose files were not what its metadata says.
    pub incomplete: Option<Incomplete>,
    /// The model whose first minute is not over yet.
    pub watched: Weak<Serving>,
}

/// A version that is perhaps still being copied.
#[derive(Debug)]
pub(super) struct Incomplete {
    metadata: Metadata,
    stamp: VersionStamp,
    /// When its files last changed, as far as we saw.
    since: Option<Instant>,
}

impl Memory {
    pub fn new() -> Self {
        Self {
            quarantine: Quarantine::default(),
            engine_again: Instant::now(),
            complaint: None,
            noted: Weak::new(),
            left: None,
            incomplete: None,
            watched: Weak::new(),
        }
    }

    /// A version could not be read. Where its content is at fault somebody may still be writing it.
    pub fn found_incomplete(&mut self, error: &StoreError, metadata: Metadata, stamp: VersionStamp, now: Instant) {
        if !error.is_bad_content() {
            return;
        }
        let changed = self.incomplete.as_ref().is_some_and(|known| known.metadata.version == metadata.version && known.stamp != stamp);
        self.incomplete = Some(Incomplete { metadata, stamp, since: changed.then_some(now) });
    }

    /// A version could be read, whatever became of it then.
    pub fn found_whole(&mut self, version: &Version) {
        self.incomplete.take_if(|incomplete| incomplete.metadata.version == *version);
    }

    /// Ends the wait of a version whose files have changed since it was found incomplete, once they are left alone.
    pub fn look_at_files(&mut self, store: &Store, target: &Target, now: Instant) {
        self.incomplete.take_if(|incomplete| !target.names(&incomplete.metadata.version));
        let Some(incomplete) = &mut self.incomplete else { return };
        let stamp = store.stamp(&incomplete.metadata);
        if stamp != incomplete.stamp {
            (incomplete.stamp, incomplete.since) = (stamp, Some(now));
        }
        if let Some(since) = incomplete.since {
            self.quarantine.files_changed(&incomplete.metadata.version, since + SETTLED);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use edgeloop_store::{Architecture, Decision, Draft, FileKind, Owner, Producer};

    use super::super::decide::{Action, decide};
    use super::*;

    #[test]
    fn a_version_that_was_incomplete_is_tried_when_its_files_have_changed_and_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::create(dir.path()).unwrap();
        let draft = Draft {
            architecture: Architecture { family: "yolov8".into(), scale: "n".into() },
            image_size: 64,
            classes: vec!["bolt".into()],
            dataset: Default::default(),
            training: Default::default(),
            metrics: Default::default(),
            compared_with: None,
            producer: Producer { name: "test".into(), version: "0".into(), host: "here".into() },
            files: vec![(FileKind::Weights, vec![0]), (FileKind::Onnx, b"whole".to_vec()), (FileKind::Check, vec![0])],
        };
        let lock = store.lock_training(&Owner::current("test")).unwrap();
        let metadata = store.publish(&lock, draft, Decision::Promote { reason: "test".into() }).unwrap();
        let onnx = dir.path().join(FileKind::Onnx.file_name(&metadata.version));
        std::fs::write(&onnx, b"who").unwrap();

        let version = metadata.version.clone();
        let target = Target { version: version.clone(), digest: String::new(), promotion: 1, predecessors: Vec::new() };
        let (mut memory, mut now) = (Memory::new(), Instant::now());
        let stamp = store.stamp(&metadata);
        let error = store.read_verified(&metadata, FileKind::Onnx).unwrap_err();
        for _ in 0..6 {
            memory.found_incomplete(&error, metadata.clone(), stamp.clone(), now);
            let again = memory.quarantine.note(&version, error.to_string(), &target, now);
            memory.look_at_files(&store, &target, now);
            let next = decide(Some(&target), None, &memory.quarantine, now, now);
            assert_eq!(next, Action::Keep(Some(again)), "nobody has touched it");
            now = again;
        }
        now -= Duration::from_secs(100);
        let next = |memory: &Memory, now| decide(Some(&target), None, &memory.quarantine, now, now);
        std::fs::write(&onnx, b"whole").unwrap();
        memory.look_at_files(&store, &target, now);
        assert_eq!(next(&memory, now), Action::Keep(Some(now + SETTLED)), "it may go on changing");
        assert_eq!(next(&memory, now + SETTLED), Action::Load(version.clone()));
        store.read_verified(&metadata, FileKind::Onnx).unwrap();
        memory.found_whole(&version);
        assert!(memory.incomplete.is_none());
    }
}
