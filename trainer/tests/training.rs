//! The trainer as a process on a folder that it can train on: what it publishes, how it stops, how it goes on.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test fails by panicking")]

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use edgeloop_store::{FileKind, GateDecision, OutcomeKind, Owner, Phase, Store};
use edgeloop_vision::{Image, encode::encode_png};
use serde_json::Value;
use tempfile::TempDir;

/// Bright squares on grey, with labels.
fn images(count: u32) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for number in 0..count {
        let mut image = Image::filled(64, 64, [90, 90, 90]);
        let (left, top) = (number * 7 % 40, number * 11 % 40);
        for (y, x) in (top..top + 20).flat_map(|y| (left..left + 20).map(move |x| (y, x))) {
            let at = ((y * 64 + x) * 3) as usize;
            image.data[at..at + 3].copy_from_slice(&[250, 240, number as u8]);
        }
        fs::write(dir.path().join(format!("{number:02}.png")), encode_png(&image).unwrap()).unwrap();
        let (cx, cy) = (f64::from(left + 10) / 64.0, f64::from(top + 10) / 64.0);
        fs::write(dir.path().join(format!("{number:02}.txt")), format!("0 {cx} {cy} 0.3125 0.3125\n")).unwrap();
    }
    fs::write(dir.path().join("classes.txt"), "square\n").unwrap();
    dir
}

struct Trainer {
    child: Child,
    events: Box<dyn Iterator<Item = Value>>,
}

impl Trainer {
    fn start(images: &Path, models: &Path, more: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_edgeloop-trainer"))
            .envs([("IMAGES_DIR", images), ("MODEL_DIR", models)])
            .envs([("EPOCHS", "2"), ("BATCH_SIZE", "4"), ("IMGSZ", "64"), ("THREADS", "1"), ("GATE_MIN_MAP50", "0")])
            .envs(more.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, events: Box::new(lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap())) }
    }

    /// The next event of this name. The process ending ends the wait.
    fn event(&mut self, name: &str) -> Value {
        self.events.find(|event| event["event"] == name).unwrap_or_else(|| panic!("no event {name}"))
    }

    fn code(mut self) -> Option<i32> {
        self.events.by_ref().for_each(drop);
        self.child.wait().unwrap().code()
    }

    fn terminate(&self) {
        // SAFETY: the child has not been waited for, so the number is still its own.
        unsafe { libc::kill(self.child.id() as libc::pid_t, libc::SIGTERM) };
    }
}

#[test]
fn a_folder_becomes_a_version_and_the_next_training_starts_from_it() {
    let (images, models) = (images(16), tempfile::tempdir().unwrap());
    let mut trainer = Trainer::start(images.path(), models.path(), &[]);
    assert_eq!(trainer.event("scanned")["images"], 16);
    assert_eq!(trainer.event("epoch")["epoch"], 1);
    assert_eq!(trainer.event("ended")["result"], "promoted");
    assert_eq!(trainer.code(), Some(0));

    let store = Store::open(models.path()).unwrap();
    let first = store.pointer().unwrap().unwrap().metadata;
    store.verify(&first.version).unwrap();
    for kind in FileKind::ALL {
        assert!(!store.read_verified(&first, kind).unwrap().is_empty());
    }
    assert_eq!((first.classes.as_slice(), first.image_size), (["square".to_owned()].as_slice(), 64));
    assert_eq!((first.training.epochs_done, first.training.parent.as_ref()), (2, None));
    assert_eq!(first.training.hyper["optimiser"], "adamw");
    assert!(!store.checkpoint_dir().join("last.safetensors").exists());
    let status = store.training_status().unwrap().unwrap();
    assert_eq!((status.phase, status.epochs_log.len()), (Phase::Done, 2));
    assert!(!status.val_sample.is_empty());
    let outcome = status.last_outcome.unwrap();
    assert_eq!((outcome.result, outcome.version), (OutcomeKind::Promoted, Some(first.version.clone())));

    // A gate that nobody passes: kept as a candidate, and what serves goes on serving.
    let trainer = Trainer::start(images.path(), models.path(), &[("GATE_MAX_DROP", "-2")]);
    assert_eq!(trainer.code(), Some(0));
    let second = store.candidates().unwrap().remove(0);
    assert_eq!(second.training.parent, Some(first.version.clone()));
    assert_eq!((second.gate.decision, second.gate.compared_with), (GateDecision::Rejected, Some(first.version.clone())));
    assert_eq!(store.pointer().unwrap().unwrap().metadata.version, first.version);
}

#[test]
fn a_stopped_training_goes_on_where_it_was() {
    let (images, models) = (images(16), tempfile::tempdir().unwrap());
    // Niced, as `edgeloop up` starts it: it begins again to change how its threads wait, and the signal still arrives.
    let more = [("EPOCHS", "40"), ("SHARE_CORES", "true")];
    let mut trainer = Trainer::start(images.path(), models.path(), &more);
    trainer.event("epoch");
    trainer.terminate();
    assert_eq!(trainer.event("ended")["result"], "stopped");
    assert_eq!(trainer.code(), Some(143));
    let store = Store::open(models.path()).unwrap();
    assert_eq!(store.training_status().unwrap().unwrap().phase, Phase::Stopped);
    assert!(store.pointer().unwrap().is_none());

    let mut trainer = Trainer::start(images.path(), models.path(), &more);
    let done = trainer.event("training")["epochs_done"].as_u64().unwrap();
    assert!(done >= 1);
    assert_eq!(trainer.event("epoch")["epoch"], done + 1);
    trainer.terminate();
    assert_eq!(trainer.code(), Some(143));
    // Other settings are another run.
    let mut trainer = Trainer::start(images.path(), models.path(), &[("EPOCHS", "1")]);
    assert_eq!(trainer.event("training")["epochs_done"], 0);
    assert_eq!(trainer.code(), Some(0));
}

#[test]
fn one_trainer_at_a_time() {
    let (images, models) = (images(8), tempfile::tempdir().unwrap());
    let store = Store::create(models.path()).unwrap();
    let _lock = store.lock_training(&Owner::current("somebody else")).unwrap();
    assert_eq!(Trainer::start(images.path(), models.path(), &[]).code(), Some(75));
}

#[test]
fn settings_that_make_no_sense_end_with_2() {
    let (images, models) = (images(8), tempfile::tempdir().unwrap());
    for wrong in [("IMGSZ", "100"), ("EPOCHS", "none"), ("INIT_WEIGHTS", "/nowhere.pt"), ("DEVICE", "cuda:99")] {
        assert_eq!(Trainer::start(images.path(), models.path(), &[wrong]).code(), Some(2), "{wrong:?}");
    }
}
