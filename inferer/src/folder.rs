//! The images folder: every image once for each model, then new and changed ones, as JSON lines.
//!
//! One image at a time, on a thread of its own, and only while nobody waits at the serving port. Change notices say when a
//! pass is due; without them passes come at the interval, but never so often that listing takes more than a twentieth of the
//! time: `stat` of 100,000 files costs 0.26 CPU-seconds.

pub mod scan;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use edgeloop_service::admin::Health;
use edgeloop_service::shutdown::Shutdown;
use edgeloop_store::Version;
use edgeloop_vision::decode::DecodeError;
use notify::RecursiveMode;
use serde::Serialize;
use serde_json::json;

use crate::api::admission::Traffic;
use crate::api::error::ApiError;
use crate::api::options::Options;
use crate::infer::{Answer, InferError, Rules, Scratch, infer, ms};
use crate::metrics::Metrics;
use crate::reload::Wake;
use crate::slot::{Serving, Slot};
use crate::watch::Watch;
use scan::{Seen, is_image, list, stamp};

/// How often a summary is printed while there is nothing new.
const SUMMARY: Duration = Duration::from_secs(60);
/// A pass at least so often although no notice came.
const SLOW_RESCAN: Duration = Duration::from_secs(60);
/// Listing may take one part in so many of the time.
const LISTING_SHARE: u32 = 20;
/// Longest time that an image waits for a gap in the traffic: then it goes between two requests.
const GIVE_WAY: Duration = Duration::from_secs(1);
/// How often it looks for a gap.
const GAP_POLL: Duration = Duration::from_millis(2);

/// What the loop works with.
pub struct Folder<W> {
    /// The folder; it may appear later.
    pub dir: PathBuf,
    /// Time between passes.
    pub interval: Duration,
    /// Every image in every pass.
    pub all: bool,
    /// Bounds and thresholds.
    pub rules: Rules,
    /// The model in service.
    pub slot: Slot,
    /// Whom to give way to.
    pub traffic: Traffic,
    /// Counters.
    pub metrics: Metrics,
    /// `/livez`.
    pub health: Health,
    /// Whom to tell when the model fails.
    pub reload: Wake,
    /// Ends the loop.
    pub shutdown: Shutdown,
    /// Wakes the loop.
    pub wake: Wake,
    /// The other end of `wake`.
    pub looks: Receiver<()>,
    /// Where lines go.
    pub out: W,
}

#[derive(Serialize)]
struct Line<'a> {
    file: &'a str,
    #[serde(flatten)]
    answer: &'a Answer,
}

/// What the loop remembers between passes.
struct Memory {
    seen: Seen,
    model: Option<Version>,
    scratch: Scratch,
    images: usize,
    broken: u64,
    printed: Instant,
    silent: bool,
    missing: bool,
}

impl<W: Write + Send> Folder<W> {
    /// Goes round until shutdown.
    pub fn run(mut self) {
        let wake = self.wake.clone();
        let mut watch = Watch::new("IMAGES_DIR", RecursiveMode::Recursive, is_image, move || wake.look());
        let mut memory = Memory {
            seen: Seen::default(),
            model: None,
            scratch: Scratch::default(),
            images: 0,
            broken: 0,
            printed: Instant::now(),
            silent: false,
            missing: false,
        };
        // A pass over a large folder beats at every image, so that only one that hangs is too old.
        let beat = self.health.heartbeat("folder", self.interval.saturating_mul(2) + Duration::from_secs(300));
        let mut next = Instant::now();
        let mut changed = true;
        while !self.shutdown.is_cancelled() {
            beat.beat();
            let model = self.slot.get().map(|s| s.version().clone());
            let another = model.is_some() && model != memory.model;
            let due = Instant::now() >= next;
            // Without notices every pass has to look; with them only a slow one does.
            changed |= (due && !watch.is_armed()) || Instant::now() >= next + SLOW_RESCAN;
            let wanted = model.is_some() && (changed || another || self.all);
            if due && wanted {
                watch.arm(std::slice::from_ref(&self.dir));
                // A notice that came before this listing is answered by it.
                while self.looks.try_recv().is_ok() {}
                let listing = self.pass(&mut memory, &beat);
                next = Instant::now() + self.interval.max(listing * LISTING_SHARE);
                changed = memory.seen.is_trying();
            }
            self.summary(&mut memory);
            // Never shorter than a moment, whatever is due: a loop that has nothing to work with must not take a core.
            let until_next = next.saturating_duration_since(Instant::now()).clamp(Duration::from_millis(10), self.interval);
            let pause = if wanted { until_next } else { self.interval };
            match self.looks.recv_timeout(pause) {
                Ok(()) => changed = true,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
    }

    /// One pass; returns how long the listing took.
    fn pass(&mut self, memory: &mut Memory, beat: &edgeloop_service::admin::Beat) -> Duration {
        let started = Instant::now();
        let model = self.slot.get().map(|s| s.version().clone());
        if model != memory.model {
            memory.model = model;
            memory.seen.clear();
        }
        let listing = match list(&self.dir) {
            Ok(listing) => listing,
            Err(error) => {
                if !std::mem::replace(&mut memory.missing, true) {
                    tracing::info!(dir = %self.dir.display(), %error, "waiting for the images folder");
                }
                return started.elapsed();
            }
        };
        memory.missing = false;
        let took = started.elapsed();
        if listing.cut && memory.images != listing.images.len() {
            tracing::warn!(limit = scan::MOST_IMAGES, "the images folder holds more than can be remembered; the rest is left out");
        }
        memory.images = listing.images.len();
        memory.seen.retain(&listing);
        for (path, stamp) in &listing.images {
            self.give_way();
            beat.beat();
            let Some(serving) = self.slot.get().filter(|_| !self.shutdown.is_cancelled()) else { break };
            // Another model has to see all of it: the loop starts over.
            if Some(serving.version()) != memory.model.as_ref() {
                break;
            }
            if self.all || memory.seen.is_new(path, *stamp) {
                self.image(memory, &serving, path, *stamp);
            }
        }
        took
    }

    fn image(&mut self, memory: &mut Memory, serving: &Arc<Serving>, path: &Path, seen: scan::Stamp) {
        let name = path.strip_prefix(&self.dir).unwrap_or(path).to_string_lossy().into_owned();
        let started = Instant::now();
        let limit = self.rules.limits.max_bytes;
        let rules = Options::default().rules(&self.rules, &serving.metadata).unwrap_or_else(|_| self.rules.clone());
        let result = if seen.bytes > limit {
            Err(ApiError::from(DecodeError::TooLarge(edgeloop_vision::decode::Excess::Bytes { bytes: seen.bytes, max: limit })))
        } else {
            match std::fs::read(path) {
                // It has changed since it was listed: whatever was read may be half of it.
                _ if stamp(path).ok() != Some(seen) => return memory.seen.postpone(path),
                Err(error) => Err(ApiError::bad_request("unreadable", error.to_string())),
                Ok(bytes) => match infer(serving, &bytes, &rules, &|| Ok(()), &mut memory.scratch) {
                    Ok((mut answer, spent)) => {
                        serving.ran();
                        answer.timing_ms.total = ms(started.elapsed());
                        self.metrics.answered("folder", serving, &answer, &spent, None);
                        Ok(answer)
                    }
                    // Not the image's fault: it stays new.
                    Err(InferError::Busy) => return memory.seen.postpone(path),
                    Err(error @ InferError::Engine(_)) => {
                        if serving.run_failed() {
                            self.reload.look();
                        }
                        tracing::error!(file = name, %error, "an image of the folder has no detections; it is tried again");
                        return memory.seen.postpone(path);
                    }
                    Err(error) => Err(error.into()),
                },
            }
        };
        match result {
            Ok(answer) => {
                memory.seen.finish(path, seen);
                self.print(memory, &Line { file: &name, answer: &answer });
            }
            // Perhaps it is still being written: only what stays broken is reported.
            Err(error) if memory.seen.fail(path, seen) => {
                memory.broken += 1;
                self.print(memory, &json!({"file": name, "error": error.kind, "message": error.message}));
            }
            Err(_) => {}
        }
    }

    /// Waits for a gap in the requests, but not for ever.
    fn give_way(&self) {
        let until = Instant::now() + GIVE_WAY;
        while self.traffic.inside() > 0 && Instant::now() < until && !self.shutdown.is_cancelled() {
            std::thread::sleep(GAP_POLL);
        }
    }

    fn summary(&mut self, memory: &mut Memory) {
        if memory.model.is_some() && memory.printed.elapsed() >= SUMMARY {
            let line = json!({"summary": {"images": memory.images, "new": 0, "broken": memory.broken, "model": memory.model}});
            self.print(memory, &line);
        }
    }

    fn print(&mut self, memory: &mut Memory, line: &impl Serialize) {
        memory.printed = Instant::now();
        let written = serde_json::to_vec(line).map_err(std::io::Error::from).and_then(|mut text| {
            text.push(b'\n');
            self.out.write_all(&text)?;
            self.out.flush()
        });
        match written {
            Ok(()) => memory.silent = false,
            // Whoever read our output has gone; serving goes on.
            Err(error) => {
                if !std::mem::replace(&mut memory.silent, true) {
                    tracing::warn!(%error, "results of the images folder cannot be printed");
                }
            }
        }
    }
}
