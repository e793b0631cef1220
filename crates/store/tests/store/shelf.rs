//! A store in a temporary folder, with a clock that tests set, and versions that differ in every byte.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use edgeloop_store::{
    Architecture, ClassMetrics, DatasetInfo, Decision, Draft, FileKind, ManualClock, Metadata, Metrics, Owner, Producer, Store, StoreError,
    StoreOptions, TrainingInfo, Verdict, Version,
};

pub struct Shelf {
    folder: tempfile::TempDir,
    pub store: Store,
    pub clock: Arc<ManualClock>,
}

impl Shelf {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new("2026-11-21T03:00:00Z".parse().unwrap()));
        let store = Store::create_with(folder.path(), options(&clock)).unwrap();
        Self { folder, store, clock }
    }

    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    /// The file of a published version.
    pub fn file(&self, metadata: &Metadata, kind: FileKind) -> PathBuf {
        self.path(&metadata.file(kind).unwrap().name)
    }

    pub fn publish(&self, mark: u8, verdict: impl Into<Verdict>) -> Result<Metadata, StoreError> {
        let lock = self.store.lock_training(&Owner::current("test"))?;
        self.store.publish(&lock, draft(mark), verdict)
    }

    pub fn promoted(&self, mark: u8) -> Metadata {
        self.publish(mark, promote()).unwrap()
    }

    pub fn rejected(&self, mark: u8) -> Metadata {
        self.publish(mark, Decision::Reject { reason: "worse".into() }).unwrap()
    }

    pub fn pointed(&self) -> Option<Version> {
        self.store.pointer().unwrap().map(|pointer| pointer.metadata.version)
    }

    /// What a careful reader sees: the mark of the promoted version, all of whose files carry it.
    pub fn served(&self) -> Option<u8> {
        let pointer = self.store.pointer().unwrap()?;
        let marks: BTreeSet<u8> = FileKind::ALL.iter().map(|kind| self.store.read_verified(&pointer.metadata, *kind).unwrap()[0]).collect();
        assert_eq!(marks.len(), 1, "a mixture of versions: {marks:?}");
        assert_eq!(pointer.metadata.training.seed, u64::from(*marks.first().unwrap()), "metadata of another version");
        marks.first().copied()
    }

    /// The mark in the copies for people.
    pub fn latest(&self) -> Option<u8> {
        let weights = fs::read(self.path("latest.pt")).ok()?;
        let onnx = fs::read(self.path("latest.onnx")).unwrap();
        assert_eq!(weights[0], onnx[0], "latest.pt and latest.onnx differ");
        Some(weights[0])
    }

    /// Nothing is left half done: no staged file, no file without a version, no version without its files, copies of the promoted
    /// one, sequences without repetition.
    pub fn assert_tidy(&self) {
        let staged = names(&self.path(".staging"));
        assert!(staged.is_empty(), "left in .staging: {staged:?}");
        let survey = self.store.survey().unwrap();
        assert!(survey.broken.is_empty(), "{:?}", survey.broken);
        for (folder, versions) in [(self.root().to_owned(), &survey.versions), (self.path("candidates"), &survey.candidates)] {
            let named: BTreeSet<String> = versions
                .iter()
                .flat_map(|metadata| {
                    metadata.files.iter().map(|file| file.name.clone()).chain([format!("model_{}.json", metadata.version)])
                })
                .collect();
            let there: BTreeSet<String> = names(&folder).into_iter().filter(|name| name.starts_with("model_")).collect();
            assert_eq!(there, named, "in {}", folder.display());
            for metadata in versions {
                self.store.verify(&metadata.version).unwrap();
            }
        }
        assert_eq!(self.latest(), self.served(), "the copies are another version's");
        let all: Vec<u64> = survey.versions.iter().chain(&survey.candidates).map(|metadata| metadata.sequence).collect();
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "a sequence number twice: {all:?}");
    }
}

/// Waiting costs no time: a watcher's 45 s pass at once. Beats go by the machine's clock.
pub fn options(clock: &Arc<ManualClock>) -> StoreOptions {
    StoreOptions { clock: clock.clone(), ..StoreOptions::default() }
}

/// The machine's clocks, and patience in milliseconds: for what happens between threads or processes.
pub fn quick() -> StoreOptions {
    let mut options = StoreOptions::default();
    for timing in [&mut options.train, &mut options.publish] {
        timing.heartbeat = Duration::from_millis(5);
        timing.poll = Duration::from_millis(1);
    }
    options
}

pub fn promote() -> Decision {
    Decision::Promote { reason: "better".into() }
}

/// Every file is full of `mark`, and the seed is `mark` too.
pub fn draft(mark: u8) -> Draft {
    let class =
        ClassMetrics { name: "bolt".into(), boxes: 12, map50: 0.9, map50_95: 0.6, precision: 0.9, recall: 0.8, threshold: Some(0.4) };
    Draft {
        architecture: Architecture { family: "yolov8".into(), scale: "n".into() },
        image_size: 320,
        classes: vec!["bolt".into(), "nut".into()],
        dataset: DatasetInfo { images: 10, train_images: 8, val_images: 2, boxes: 30, fingerprint: "f".into(), ..Default::default() },
        training: TrainingInfo { seed: u64::from(mark), epochs: 20, epochs_done: 20, seconds: 1.5, ..Default::default() },
        metrics: Metrics { map50: 0.9, map50_95: 0.6, precision: 0.9, recall: 0.8, per_class: vec![class] },
        compared_with: None,
        producer: Producer { name: "edgeloop-trainer".into(), version: "0.1.0".into(), host: "box".into() },
        files: vec![(FileKind::Weights, vec![mark; 4000]), (FileKind::Onnx, vec![mark; 3000]), (FileKind::Check, vec![mark; 500])],
    }
}

pub fn names(folder: &Path) -> Vec<String> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}
