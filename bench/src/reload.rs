//! A load that goes on while models change, with every answer compared with what its version is known to find.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::Mutex,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use crate::client::Client;
use crate::figures::percentile;

/// Two boxes of the same object overlap by this much, whatever the arithmetic of the engine that found them.
const SAME: f64 = 0.7;

/// A found object: class and box.
type Found = (u64, [f64; 4]);

/// What a version finds in each picture.
pub type References = HashMap<String, Vec<Vec<Found>>>;

/// An answered request.
#[derive(Debug, Clone, Copy)]
pub struct Answered {
    /// When it was due.
    pub due: Instant,
    /// From then to the end of its answer.
    pub latency: Duration,
}

/// What came of a load.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Answers of the versions that they name.
    pub answered: Vec<Answered>,
    /// Requests without a 200, with the reason of the first.
    pub failed: u64,
    /// Answers that are not their version's, with the first.
    pub mixed: u64,
    /// The first thing that went wrong.
    pub first: Option<String>,
}

impl Outcome {
    /// The latency in ms under which a share of the requests stayed that `counts`; NaN without any.
    pub fn percentile(&self, share: f64, counts: impl Fn(&Answered) -> bool) -> f64 {
        percentile(self.answered.iter().filter(|a| counts(a)).map(|a| a.latency.as_secs_f64() * 1e3), share)
    }

    fn wrong(&mut self, mixed: bool, what: String) {
        *(if mixed { &mut self.mixed } else { &mut self.failed }) += 1;
        self.first.get_or_insert(what);
    }

    /// What came of both.
    pub fn add(&mut self, other: Self) {
        self.answered.extend(other.answered);
        self.failed += other.failed;
        self.mixed += other.mixed;
        if self.first.is_none() {
            self.first = other.first;
        }
    }
}

/// What the version in service finds in `images`.
///
/// # Errors
/// A request that fails, or a version that finds too little to be told from others.
pub fn reference(address: SocketAddr, images: &[Vec<u8>]) -> anyhow::Result<Vec<Vec<Found>>> {
    let mut client = Client::new(address);
    let found = images.iter().map(|image| {
        let (status, answer) = client.infer(image)?;
        ensure!(status == 200, "{answer}");
        let found = found(&answer).context("an answer without detections")?;
        ensure!(found.len() >= 5, "only {} detections: too few to tell versions apart", found.len());
        Ok(found)
    });
    found.collect()
}

fn found(answer: &Value) -> Option<Vec<Found>> {
    let one = |d: &Value| {
        let side = |i: usize| d["box"][i].as_f64();
        Some((d["class"].as_u64()?, [side(0)?, side(1)?, side(2)?, side(3)?]))
    };
    answer["detections"].as_array()?.iter().map(one).collect()
}

fn overlap(a: [f64; 4], b: [f64; 4]) -> f64 {
    let area = |b: [f64; 4]| (b[2] - b[0]).max(0.0) * (b[3] - b[1]).max(0.0);
    let both = area([a[0].max(b[0]), a[1].max(b[1]), a[2].min(b[2]), a[3].min(b[3])]);
    both / (area(a) + area(b) - both).max(f64::MIN_POSITIVE)
}

/// Share of objects that both lists have.
fn alike(a: &[Found], b: &[Found]) -> f64 {
    let shared = a.iter().filter(|x| b.iter().any(|y| x.0 == y.0 && overlap(x.1, y.1) > SAME)).count();
    shared as f64 / a.len().max(b.len()).max(1) as f64
}

/// Whether an answer is of the version that it names, and of no other.
fn belongs(answer: &Value, image: usize, references: &References) -> Result<(), String> {
    let version = answer["model"].as_str().unwrap_or_default();
    let found = found(answer).ok_or_else(|| format!("no detections in {answer}"))?;
    let likeness = |version: &str| references.get(version).map(|of| alike(&found, &of[image]));
    let own = likeness(version).ok_or_else(|| format!("{version} was never published"))?;
    let others = references.keys().filter(|other| *other != version).filter_map(|other| likeness(other));
    let best = others.fold(0.0, f64::max);
    if own > best && own > 0.5 { Ok(()) } else { Err(format!("an answer of {version} is {own:.2} like it and {best:.2} like another")) }
}

/// Requests at random moments, `rate` a second on average, until `until` says stop: independent cameras, not a metronome.
pub struct OpenLoop<'a> {
    /// Where to.
    pub address: SocketAddr,
    /// JPEGs, one after another.
    pub images: &'a [Vec<u8>],
    /// What each version finds in them.
    pub references: &'a References,
    /// Requests a second.
    pub rate: f64,
    /// Connections: more than are ever busy at once.
    pub clients: usize,
    /// The same seed, the same moments.
    pub seed: u64,
}

impl OpenLoop<'_> {
    /// Runs until `over`.
    pub fn run(&self, over: impl Fn() -> bool + Sync) -> Outcome {
        let schedule = Mutex::new((Instant::now(), ChaCha8Rng::seed_from_u64(self.seed), 0_usize));
        let next = || {
            let mut schedule = schedule.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let (due, dice, number) = &mut *schedule;
            let gap: f64 = dice.random_range(f64::MIN_POSITIVE..1.0);
            *due += Duration::from_secs_f64(-gap.ln() / self.rate);
            *number += 1;
            (*due, *number % self.images.len())
        };
        let client = || {
            let (mut client, mut outcome) = (Client::new(self.address), Outcome::default());
            while !over() {
                let (due, image) = next();
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                match client.infer(&self.images[image]) {
                    Ok((200, answer)) => {
                        let latency = due.elapsed();
                        match belongs(&answer, image, self.references) {
                            Ok(()) => outcome.answered.push(Answered { due, latency }),
                            Err(what) => outcome.wrong(true, what),
                        }
                    }
                    Ok((status, answer)) => outcome.wrong(false, format!("{status} {answer}")),
                    Err(error) => outcome.wrong(false, error.to_string()),
                }
            }
            outcome
        };
        let mut all = Outcome::default();
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..self.clients).map(|_| scope.spawn(client)).collect();
            clients.into_iter().for_each(|client| all.add(client.join().unwrap_or_default()));
        });
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_answer_belongs_to_the_version_that_finds_the_same() {
        let shapes =
            |shift: f64| (0..6).map(|n| (n % 3, [0.0, 0.0, 10.0, 10.0].map(|v| v + shift + 50.0 * n as f64))).collect::<Vec<Found>>();
        let references = HashMap::from([("a".to_owned(), vec![shapes(0.0)]), ("b".to_owned(), vec![shapes(25.0)])]);
        let answer = |model: &str, shift: f64| {
            let list: Vec<_> = shapes(shift).into_iter().map(|(class, b)| json!({"class": class, "box": b})).collect();
            json!({"model": model, "detections": list})
        };
        assert_eq!(belongs(&answer("a", 0.5), 0, &references), Ok(()));
        assert!(belongs(&answer("a", 25.0), 0, &references).is_err(), "b's boxes under a's name");
        assert!(belongs(&answer("b", 12.0), 0, &references).is_err(), "nobody's boxes");
        assert!(belongs(&answer("c", 0.0), 0, &references).is_err(), "a version that nobody published");
    }
}
