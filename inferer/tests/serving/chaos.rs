//! Everything at once: 32 threads publish, promote, roll back, corrupt and delete while requests keep coming. Not one may fail.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use edgeloop_store::{Store, StoreError, Version};

use crate::program::Program;
use crate::support::*;

const THREADS: u64 = 32;
const CLIENTS: usize = 4;

/// Operations of each thread: all 200 take minutes; `CHAOS=200` asks for them.
fn operations() -> u64 {
    std::env::var("CHAOS").map_or(6, |text| text.parse().unwrap())
}

/// A small generator (xorshift64*): each thread has its own, and the same every time.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n.max(1) as u64) as usize
    }
}

/// The signature of the `n`-th version: told apart to the three digits that are compared.
pub fn sign(n: usize) -> f32 {
    0.5 + (n % 400) as f32 / 1000.0
}

struct Chaos<'a> {
    dir: &'a Path,
    store: Store,
    /// One trainer at a time, as in production.
    trainer: &'a Mutex<()>,
    made: &'a AtomicUsize,
    signs: &'a Mutex<HashMap<String, f32>>,
}

impl Chaos<'_> {
    fn publish(&self) {
        let _one = self.trainer.lock().unwrap();
        let sign = sign(self.made.fetch_add(1, Ordering::SeqCst));
        let version = publish(&self.store, sign).version;
        self.signs.lock().unwrap().insert(version.to_string(), sign);
    }

    fn any_version(&self, dice: &mut Dice) -> Option<Version> {
        let versions = self.store.versions().unwrap_or_default();
        (!versions.is_empty()).then(|| versions[dice.below(versions.len())].version.clone())
    }

    fn any_file(&self, dice: &mut Dice) -> Option<std::path::PathBuf> {
        let ends = ["onnx", "check.safetensors", "pt", "json"];
        let version = self.any_version(dice)?;
        Some(self.dir.join(format!("model_{version}.{}", ends[dice.below(ends.len())])))
    }

    fn corrupt(&self, dice: &mut Dice) {
        let Some(path) = self.any_file(dice) else { return };
        // Others delete: what is gone cannot be damaged.
        let Ok(mut bytes) = fs::read(&path) else { return };
        let at = dice.below(bytes.len());
        match dice.below(3) {
            0 if at < bytes.len() => bytes[at] ^= 1 << dice.below(8),
            1 => bytes.truncate(at),
            _ => bytes.clear(),
        }
        let _ = fs::write(&path, bytes);
    }

    /// One thing that somebody may do. The store may refuse it, for a reason that it can name; it is the requests that may not fail.
    fn act(&self, dice: &mut Dice) {
        let result: Result<(), StoreError> = match dice.below(20) {
            0..=3 => {
                self.publish();
                Ok(())
            }
            4..=9 => self.any_version(dice).map_or(Ok(()), |version| self.store.promote(&version, "chaos", "", false).map(drop)),
            10..=12 => self.store.rollback("chaos", "").map(drop),
            13..=15 => {
                self.corrupt(dice);
                Ok(())
            }
            16..=17 => {
                if let Some(path) = self.any_file(dice) {
                    let _ = fs::remove_file(path);
                }
                Ok(())
            }
            18 => {
                // A pointer that somebody wrote by hand.
                let _ = fs::write(self.dir.join("latest_metadata.json"), &b"{\"schema\": 1, \"version\": \"2026"[..dice.below(30)]);
                Ok(())
            }
            _ => {
                for version in self.store.versions().unwrap_or_default().iter().rev().skip(12) {
                    for end in ["onnx", "check.safetensors", "pt", "json"] {
                        let _ = fs::remove_file(self.dir.join(format!("model_{}.{end}", version.version)));
                    }
                }
                Ok(())
            }
        };
        drop(result);
    }
}

#[test]
fn while_32_threads_publish_promote_roll_back_corrupt_and_delete_no_request_fails() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path()).unwrap();
    let (trainer, made, signs) = (Mutex::new(()), AtomicUsize::new(0), Mutex::new(HashMap::new()));
    let chaos = |store: &Store| Chaos { dir: dir.path(), store: store.clone(), trainer: &trainer, made: &made, signs: &signs };
    chaos(&store).publish();
    let mut program = Program::ready(dir.path(), &["--queue", "64", "--check-model-interval", "1"]);
    let (address, photo, over) = (program.serving, jpeg(&quarter(64, 64, 2)), AtomicBool::new(false));
    let answers = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                scope.spawn(|| {
                    let (agent, mut seen, mut answers) = (agent(), HashMap::new(), 0);
                    while !over.load(Ordering::Relaxed) {
                        let (status, answer) = post(&agent, address, "image/jpeg", &photo);
                        assert_eq!(status, 200, "{answer}");
                        let (sign, boxes) = read_answer(&answer);
                        assert_eq!(boxes, [[0.0, 32.0, 32.0, 64.0]]);
                        let version = answer["model"].as_str().unwrap().to_owned();
                        let known = *seen.entry(version.clone()).or_insert(sign);
                        assert_eq!(sign, known, "two answers of {version} differ");
                        answers += 1;
                    }
                    (seen, answers)
                })
            })
            .collect();
        let actors: Vec<_> = (0..THREADS)
            .map(|seed| {
                let chaos = chaos(&store);
                scope.spawn(move || {
                    let mut dice = Dice::new(seed + 1);
                    (0..operations()).for_each(|_| chaos.act(&mut dice));
                })
            })
            .collect();
        let acted: Vec<_> = actors.into_iter().map(|actor| actor.join()).collect();
        over.store(true, Ordering::Relaxed);
        acted.into_iter().for_each(|result| result.unwrap());
        clients.into_iter().map(|client| client.join().unwrap()).collect::<Vec<_>>()
    });
    let versions: usize = answers.iter().map(|(seen, _)| seen.len()).max().unwrap();
    let count: usize = answers.iter().map(|(_, answers)| answers).sum();
    eprintln!("{count} answers of up to {versions} versions while {} were published", made.load(Ordering::SeqCst));
    let signs = signs.lock().unwrap().clone();
    for (version, sign) in answers.iter().flat_map(|(seen, _)| seen) {
        let expected = signs.get(version).unwrap_or_else(|| panic!("{version} was never published"));
        assert!((sign - f64::from(*expected)).abs() < 5e-4, "an answer of {version} is another version's: {sign}, not {expected}");
    }

    assert!(program.is_alive());
    assert_eq!((program.status(program.admin, "/livez"), program.status(program.admin, "/readyz")), (Some(200), Some(200)));
    let (status, answer) = post(&agent(), address, "image/jpeg", &photo);
    let expected = f64::from(signs[answer["model"].as_str().unwrap()]);
    assert!(status == 200 && (read_answer(&answer).0 - expected).abs() < 5e-4, "at the end it serves {answer}");
    let last = publish(&store, 0.95).version;
    wait_for("the version after it all", || (program.version()? == last.as_str()).then_some(()));
}
