//! New classes in new images alone: what was known before is kept by replay, and a model that forgot it does not pass the gate.
//!
//! Three trainings as processes, on drawn images: red and blue squares from scratch; then images with nothing but green ones are
//! added, and the model goes on from there once as it does by default and once with `REPLAY_SHARE=0`.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test fails by panicking")]

use std::{fs, path::Path, process::Command};

use edgeloop_store::{GateDecision, HistoryEvent, Metadata, Store};
use edgeloop_vision::{Image, encode::encode_png};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tempfile::TempDir;

const SIDE: u32 = 64;
const COLOURS: [[u8; 3]; 3] = [[220, 30, 30], [30, 30, 220], [30, 200, 30]];

/// An image with a square in one or both of its halves, of these classes.
fn draw(dir: &Path, number: u64, classes: &[usize]) {
    let mut rng = ChaCha8Rng::seed_from_u64(number);
    let mut data: Vec<u8> = (0..SIDE * SIDE * 3).map(|_| rng.random_range(90..140)).collect();
    let mut rows = String::new();
    for half in 0..rng.random_range(1..=2) {
        let (class, side) = (classes[rng.random_range(0..classes.len())], rng.random_range(16..28u32));
        let (x, y) = (half * 32 + rng.random_range(0..32 - side), rng.random_range(0..SIDE - side));
        for (py, px) in (y..y + side).flat_map(|py| (x..x + side).map(move |px| (py, px))) {
            let at = ((py * SIDE + px) * 3) as usize;
            data[at..at + 3].copy_from_slice(&COLOURS[class]);
        }
        let of = |v: u32| f64::from(v) / f64::from(SIDE);
        let (centre, size) = (|v: u32| of(v) + of(side) / 2.0, of(side));
        rows += &format!("{class} {} {} {size} {size}\n", centre(x), centre(y));
    }
    fs::write(dir.join(format!("{number:03}.png")), encode_png(&Image { width: SIDE, height: SIDE, data }).unwrap()).unwrap();
    fs::write(dir.join(format!("{number:03}.txt")), rows).unwrap();
}

fn train(images: &Path, models: &Path, epochs: &str, more: &[(&str, &str)]) {
    let status = Command::new(env!("CARGO_BIN_EXE_edgeloop-trainer"))
        .envs([("IMAGES_DIR", images), ("MODEL_DIR", models)])
        .envs([("EPOCHS", epochs), ("BATCH_SIZE", "8"), ("IMGSZ", "64"), ("THREADS", "1"), ("VAL_SHARE", "0.3")])
        .envs(more.iter().copied())
        .status()
        .unwrap();
    assert!(status.success(), "{status}");
}

/// A copy of a model folder.
fn copied(models: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    let status = Command::new("cp").arg("-r").arg(models.join(".")).arg(copy.path()).status().unwrap();
    assert!(status.success());
    copy
}

fn map50(metadata: &Metadata) -> Vec<(String, f64)> {
    metadata.metrics.per_class.iter().map(|class| (class.name.clone(), class.map50)).collect()
}

#[test]
fn replay_keeps_what_was_known_and_the_gate_stops_what_forgot_it() {
    let (images, models) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    (0..160).for_each(|number| draw(images.path(), number, &[0, 1]));
    fs::write(images.path().join("classes.txt"), "red\nblue\n").unwrap();
    train(images.path(), models.path(), "20", &[]);
    let base = Store::open(models.path()).unwrap().pointer().unwrap().unwrap().metadata;

    (200..260).for_each(|number| draw(images.path(), number, &[2]));
    fs::write(images.path().join("classes.txt"), "red\nblue\ngreen\n").unwrap();
    let without = copied(models.path());
    train(images.path(), models.path(), "15", &[]);
    train(images.path(), without.path(), "15", &[("REPLAY_SHARE", "0")]);

    let kept = Store::open(models.path()).unwrap().pointer().unwrap().unwrap().metadata;
    let forgot = Store::open(without.path()).unwrap().candidates().unwrap();
    println!("before          {:?}", map50(&base));
    println!("with replay     {:?} {:?} {}", map50(&kept), kept.gate.decision, kept.gate.reason);
    for metadata in &forgot {
        println!("without replay  {:?} {:?} {}", map50(metadata), metadata.gate.decision, metadata.gate.reason);
    }

    assert_eq!(kept.training.parent, Some(base.version.clone()), "the model with replay serves");
    assert!(
        kept.training.hyper["replay"]["new"].as_u64().unwrap() < 60 && kept.training.hyper["replay"]["replayed"].as_u64().unwrap() > 90
    );
    let [compared] = &kept.gate.comparisons[..] else { panic!("one rival: {:?}", kept.gate) };
    assert_eq!((compared.rival.clone(), compared.new_classes.clone()), (base.version.clone(), vec!["green".to_owned()]));
    for ((name, before), (_, after)) in map50(&base).iter().zip(map50(&kept)) {
        assert!(*before > 0.6 && before - after <= 0.05, "{name}: {before:.3}, then {after:.3}");
    }
    assert!(map50(&kept)[2].1 > 0.5, "the new class is learnt: {:?}", map50(&kept));

    let [forgot] = &forgot[..] else { panic!("the gate let a model pass that forgot: {forgot:?}") };
    assert_eq!(forgot.gate.decision, GateDecision::Rejected);
    assert_eq!(forgot.training.hyper["replay"]["replayed"], 0);
    assert_eq!(Store::open(without.path()).unwrap().pointer().unwrap().unwrap().metadata.version, base.version);
}

#[test]
fn the_next_run_sees_what_is_new_and_a_share_of_the_rest_and_force_is_written_down() {
    let (images, models) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    (0..30).for_each(|number| draw(images.path(), number, &[0, 1]));
    fs::write(images.path().join("classes.txt"), "red\nblue\n").unwrap();
    train(images.path(), models.path(), "1", &[("GATE_MIN_MAP50", "0")]);
    let store = Store::open(models.path()).unwrap();
    let first = store.pointer().unwrap().unwrap().metadata;
    assert_eq!(first.training.hyper["replay"]["new"], first.dataset.train_images);
    assert_eq!(store.seen(&first.version).unwrap().len() as u64, first.dataset.train_images);

    // Other numbers for the same names, a new class between them, and new images.
    for number in 0..30 {
        let path = images.path().join(format!("{number:03}.txt"));
        let renumbered: Vec<String> = fs::read_to_string(&path)
            .unwrap()
            .lines()
            .map(|row| row.strip_prefix('0').map_or_else(|| "0".to_owned() + &row[1..], |rest| "2".to_owned() + rest))
            .collect();
        fs::write(path, renumbered.join("\n")).unwrap();
    }
    (30..50).for_each(|number| draw(images.path(), number, &[1]));
    fs::write(images.path().join("classes.txt"), "blue\ngreen\nred\n").unwrap();
    let refusing = [("REPLAY_SHARE", "0.5"), ("GATE_MAX_DROP", "-2")];
    train(images.path(), models.path(), "1", &[&refusing[..], &[("FORCE_PROMOTE", "it knows green")]].concat());
    let second = store.pointer().unwrap().unwrap().metadata;
    let replay = |key: &str| second.training.hyper["replay"][key].as_u64().unwrap();
    assert_eq!((replay("older"), replay("new")), (first.dataset.train_images, second.dataset.train_images - first.dataset.train_images));
    assert!(replay("replayed") >= replay("older").div_ceil(2) && replay("replayed") < replay("older"), "{:?}", second.training.hyper);

    assert_eq!((second.training.parent, second.gate.decision), (Some(first.version.clone()), GateDecision::Rejected));
    assert_eq!(second.gate.forced.unwrap().reason, "it knows green");
    let [compared] = &second.gate.comparisons[..] else { panic!("one rival") };
    assert_eq!((compared.rival.clone(), compared.new_classes.clone()), (first.version, vec!["green".to_owned()]));
    let last = store.history().unwrap().pop().unwrap();
    assert_eq!(
        (last.event, last.version, last.forced, last.reason.as_str()),
        (HistoryEvent::Promoted, second.version, true, "it knows green")
    );
}
