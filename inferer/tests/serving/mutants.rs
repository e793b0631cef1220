//! Models with bytes changed at random, published as if they were whole: the server survives them all.

use std::os::unix::fs::symlink;

use edgeloop_model::onnx::{OnnxMeta, emit};
use edgeloop_model::{Network, Scale, Weights};
use edgeloop_store::Store;

use crate::chaos::{Dice, sign};
use crate::program::Program;
use crate::support::*;
use crate::wire;

/// Mutants: all 10,000 take a quarter of an hour; `MUTANTS=10000` asks for them.
fn mutants() -> usize {
    std::env::var("MUTANTS").map_or(150, |text| text.parse().unwrap())
}

/// Versions in one store before another takes its place: publishing reads all of a store.
const IN_A_STORE: usize = 100;
/// Each of so many is a real network's file and not a toy's.
const REAL: usize = 25;
/// The toy's weights are this long, and nearly all of its file: flipping their bits says nothing about parsers.
const WEIGHTS: usize = 6 * 3 * 32 * 32 * 4;

fn real() -> Vec<u8> {
    let network = Network::yolov8(Scale::N, 2);
    let names = vec!["bright".to_owned(), "sign".to_owned()];
    emit(&network, &Weights::init(&network, 1), &OnnxMeta { names, imgsz: SIDE as usize, stride: 32, extra: Vec::new() }).unwrap()
}

/// A place in the file, mostly outside the weights: they are the longest run of it.
fn place(bytes: &[u8], dice: &mut Dice) -> usize {
    if bytes.len() < 2 * WEIGHTS && dice.below(5) > 0 {
        // The toy: what is not weights stands in front of them and behind them.
        let at = dice.below(bytes.len().saturating_sub(WEIGHTS).max(1));
        let front = bytes.len().min(400);
        return if at < front { at } else { (at + WEIGHTS).min(bytes.len() - 1) };
    }
    dice.below(bytes.len())
}

fn mutate(original: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = original.to_vec();
    for _ in 0..=dice.below(2) {
        let at = place(&bytes, dice);
        match dice.below(12) {
            0..=6 => bytes[at] ^= 1 << dice.below(8),
            7 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][dice.below(5)],
            8 => bytes.truncate(at + 1),
            9 => {
                let end = (at + 1 + dice.below(64)).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                let to = place(&bytes, dice);
                bytes.splice(to..to, piece);
            }
            10 => drop(bytes.splice(at..(at + 1 + dice.below(32)).min(bytes.len()), [])),
            // A length or a number that is larger than anything.
            _ => drop(bytes.splice(at..at, [0xff; 9].into_iter().chain([dice.below(2) as u8]))),
        }
        if bytes.is_empty() {
            bytes.push(0);
        }
    }
    // Sometimes a second graph: parsers merge them.
    if dice.below(50) == 0 {
        bytes.extend(wire::bytes(7, &wire::bytes(2, b"again")));
    }
    bytes
}

#[test]
fn mutated_models_crash_nothing_hang_nothing_and_take_no_memory() {
    let dir = tempfile::tempdir().unwrap();
    let models = dir.path().join("models");
    let (toy, real) = (detector(0.5).onnx(), real());
    let (toy_check, real_check) = (check_file(&toy, 0.0), check_file(&real, 0.0));
    let fresh = |n: usize| {
        let store = Store::create(dir.path().join(format!("store-{n}"))).unwrap();
        publish(&store, sign(n));
        let _ = std::fs::remove_file(dir.path().join("next"));
        symlink(store.root(), dir.path().join("next")).unwrap();
        std::fs::rename(dir.path().join("next"), &models).unwrap();
        store
    };
    let mut store = fresh(0);
    let mut program = Program::ready(&models, &["--candidate-timeout", "10"]);
    let photo = jpeg(&quarter(64, 64, 2));
    let serve = |program: &Program| {
        let (status, answer) = post(&agent(), program.serving, "image/jpeg", &photo);
        assert_eq!(status, 200, "{answer}");
    };
    let mut dice = Dice::new(20_261_121);
    let (mut outcomes, mut settled) = (std::collections::BTreeMap::<String, usize>::new(), 0);
    for n in 0..mutants() {
        if n > 0 && n.is_multiple_of(IN_A_STORE) {
            let old = store.root().to_owned();
            store = fresh(n);
            // Its versions may be called like the last one's.
            wait_for("the next store's model", || {
                let (_, answer) = post(&agent(), program.serving, "image/jpeg", &photo);
                ((read_answer(&answer).0 - f64::from(sign(n))).abs() < 5e-4).then_some(())
            });
            std::fs::remove_dir_all(old).unwrap();
            // What the first hundred leave behind is what it needs.
            if settled == 0 {
                settled = program.memory_kb("VmRSS");
            }
        }
        let (onnx, check) = if n.is_multiple_of(REAL) { (&real, &real_check) } else { (&toy, &toy_check) };
        let mutant = mutate(onnx, &mut dice);
        let version = publish_draft(&store, draft(mutant, check.clone())).version;
        let last = wait_for("a verdict", || {
            assert!(program.is_alive(), "mutant {n} killed the server");
            program.tried(version.as_str())
        });
        let reason = last["reason"].as_str().unwrap_or("served");
        let kind = [
            "no result after",
            "signal",
            "without a verdict",
            "check file",
            "refuses the model",
            "no engine can serve",
            "unusable",
            "served",
        ];
        *outcomes.entry(kind.into_iter().find(|kind| reason.contains(kind)).unwrap_or(reason).to_owned()).or_default() += 1;
        serve(&program);
    }
    eprintln!(
        "{outcomes:?}; {} kB at the end, {settled} kB after the first {IN_A_STORE}, {} kB at most",
        program.memory_kb("VmRSS"),
        program.memory_kb("VmHWM")
    );
    assert!(outcomes.len() > 2, "too few kinds of mutants: {outcomes:?}");
    let last = publish(&store, 0.7).version;
    wait_for("a whole version", || (program.version()? == last.as_str()).then_some(()));
    assert!(program.is_alive());
    // The kernel takes a moment to take down what is killed.
    wait_for("the end of every child", || program.children().is_empty().then_some(()));
    // A real network's engine beside a toy's, and what the allocator keeps: 200 MB is far below what one leaked mutant in a
    // hundred would come to.
    assert!(program.memory_kb("VmRSS") < settled.max(150_000) + 100_000, "{} kB", program.memory_kb("VmRSS"));
}
