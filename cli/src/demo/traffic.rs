//! Requests that keep coming while the model changes, counted.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use edgeloop_store::Version;

use super::client::InferClient;

/// Two clients, each sending on a fixed beat whether or not it was answered late: about what two cameras ask for, and little
/// enough that the training beside it on two cores is not what is measured.
const CLIENTS: u32 = 2;
const PERIOD: Duration = Duration::from_millis(100);

/// What was sent and what came of it.
#[derive(Debug, Default, Clone)]
pub struct Counts {
    /// Requests that were answered or failed.
    pub requests: u64,
    /// Those without a 200 and a well-formed answer.
    pub failed: u64,
    /// Answers by version.
    pub by_model: BTreeMap<String, u64>,
    /// What the first failure said.
    pub first_failure: Option<String>,
    first_answer: BTreeMap<String, Instant>,
}

/// Requests on a beat, until stopped.
#[derive(Debug)]
pub struct Traffic {
    counts: Arc<Mutex<Counts>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Traffic {
    /// Starts to send `images` in turn.
    pub fn start(client: &InferClient, images: Vec<Vec<u8>>) -> Self {
        let counts = Arc::new(Mutex::new(Counts::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let images = Arc::new(images);
        let threads = (0..CLIENTS)
            .map(|number| {
                let (client, counts, stop, images) = (client.clone(), counts.clone(), stop.clone(), images.clone());
                std::thread::spawn(move || {
                    let mut next = Instant::now() + PERIOD / CLIENTS * number;
                    for image in images.iter().cycle() {
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                        std::thread::sleep(next.saturating_duration_since(Instant::now()));
                        next += PERIOD;
                        let answer = client.infer(image);
                        count(&mut lock(&counts), answer.map(|a| a.model));
                    }
                })
            })
            .collect();
        Self { counts, stop, threads }
    }

    /// When `version` first answered.
    ///
    /// # Errors
    /// It did not within `patience`.
    pub fn wait_for_model(&self, version: &Version, patience: Duration) -> Result<Instant> {
        self.wait_for_answers(version, 1, patience)?;
        Ok(lock(&self.counts).first_answer[version.as_str()])
    }

    /// Waits for at least `answers` of `version`.
    ///
    /// # Errors
    /// They did not come within `patience`.
    pub fn wait_for_answers(&self, version: &Version, answers: u64, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        while lock(&self.counts).by_model.get(version.as_str()).copied().unwrap_or(0) < answers {
            if Instant::now() > deadline {
                let counts = lock(&self.counts);
                bail!(
                    "{version} is published but does not answer; so far: {:?}, last failure: {:?}",
                    counts.by_model,
                    counts.first_failure
                );
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Stops, waits for what is under way, and returns the counts.
    pub fn stop(self) -> Counts {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            // A client that panicked has printed why; its requests so far are counted.
            let _ = thread.join();
        }
        lock(&self.counts).clone()
    }
}

fn count(counts: &mut Counts, answer: Result<String>) {
    counts.requests += 1;
    match answer {
        Ok(model) => {
            counts.first_answer.entry(model.clone()).or_insert_with(Instant::now);
            *counts.by_model.entry(model).or_default() += 1;
        }
        Err(error) => {
            counts.failed += 1;
            counts.first_failure.get_or_insert_with(|| format!("{error:#}"));
        }
    }
}

fn lock(counts: &Mutex<Counts>) -> MutexGuard<'_, Counts> {
    counts.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
