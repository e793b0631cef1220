//! The images folder: every image once for each model, then new and changed ones, as JSON lines.
//!
//! One image at a time, on a thread of its own, and only while nobody waits at the serving port. Its priority is not lower: when an
//! engine fails on an image, its successor is made on this thread and would keep the niceness. Change notices name what has changed; a slow walk through everything finds what no notice told. Where no notices can be had the walk comes at
//! the interval, but never so often that it takes more than a twentieth of the time: `stat` of 100,000 files costs 0.26 CPU-seconds.

pub mod noticed;
pub mod results;
pub mod scan;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{SecondsFormat, Utc};
use crossbeam_channel::{Receiver, RecvTimeoutError};
use edgeloop_service::admin::{Beat, Health};
use edgeloop_service::shutdown::Shutdown;
use edgeloop_store::Version;
use edgeloop_vision::decode::{DecodeError, Excess};
use notify::RecursiveMode;
use serde::Serialize;
use serde_json::json;

use crate::api::admission::Traffic;
use crate::api::error::ApiError;
use crate::api::options::Options;
use crate::infer::{Answer, InferError, Rules, Scratch, infer, ms};
use crate::metrics::Metrics;
use crate::pace::Lane;
use crate::reload::Wake;
use crate::slot::{Serving, Slot};
use crate::watch::Watch;
use noticed::Noticed;
use results::Results;
use scan::{Seen, Stamp, Walk, stamp};

/// How often a summary is printed while there is nothing new.
const SUMMARY: Duration = Duration::from_secs(60);
/// A walk at least so often although notices come: they get lost.
const SLOW_WALK: Duration = Duration::from_secs(60);
/// A walk may take one part in so many of the time, where it is all that finds new images,
const WALK_SHARE: u32 = 20;
/// and where notices do: half a per cent.
const SLOW_WALK_SHARE: u32 = 200;
/// Longest time that an image waits for a gap in the traffic: then it goes between two requests.
const GIVE_WAY: Duration = Duration::from_secs(1);
/// How often it looks for a gap.
const GAP_POLL: Duration = Duration::from_millis(2);
/// A walk pauses after so many images with nothing to do while there is traffic.
const WALK_STEPS: u32 = 256;

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
    /// Says when an image is at work.
    pub lane: Lane,
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
    /// Where they go as well.
    pub results: Option<Results>,
}

#[derive(Serialize)]
struct Line<'a> {
    file: &'a str,
    #[serde(flatten)]
    answer: &'a Answer,
}

/// What the loop remembers.
struct Memory {
    seen: Seen,
    model: Option<Version>,
    scratch: Scratch,
    broken: u64,
    printed: Instant,
    silent: bool,
    missing: bool,
    /// The walk that is under way, and what it has cost so far without the images that it found.
    walk: Option<(Walk, Duration)>,
    idle_steps: u32,
    /// Images that notices named, to be dealt with now.
    named: VecDeque<PathBuf>,
    /// Not before.
    next_walk: Instant,
    /// At the latest.
    slow_walk: Instant,
    /// Not before.
    next_named: Instant,
}

impl<W: Write + Send> Folder<W> {
    /// Goes round until shutdown.
    pub fn run(mut self) {
        // As notices name paths: an image must have one name only.
        self.dir = std::path::absolute(&self.dir).unwrap_or_else(|_| self.dir.clone());
        let noticed = Noticed::new(&self.dir, self.wake.clone());
        let mut watch = {
            let (path, everything) = (noticed.clone(), noticed.clone());
            // Notices are taken path by path; what is left for the watch to tell is that it knows no more than «something».
            let take = move |changed: &Path| {
                path.path(changed);
                false
            };
            Watch::new("IMAGES_DIR", RecursiveMode::Recursive, take, move || everything.everything())
        };
        let now = Instant::now();
        let mut memory = Memory {
            seen: Seen::default(),
            model: None,
            scratch: Scratch::default(),
            broken: 0,
            printed: now,
            silent: false,
            missing: false,
            walk: None,
            idle_steps: 0,
            named: VecDeque::new(),
            next_walk: now,
            slow_walk: now,
            next_named: now,
        };
        // It beats at every image, so that only one that hangs is too old.
        let beat = self.health.heartbeat("folder", self.interval.saturating_mul(2) + Duration::from_secs(300));
        while !self.shutdown.is_cancelled() {
            if !self.step(&mut memory, &mut watch, &noticed, &beat) {
                let pause = self.pause(&memory, &watch, &noticed);
                match self.looks.recv_timeout(pause) {
                    Ok(()) | Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            }
        }
    }

    /// Does one thing that is due; false when nothing is.
    fn step(&mut self, memory: &mut Memory, watch: &mut Watch, noticed: &Noticed, beat: &Beat) -> bool {
        beat.beat();
        let Some(serving) = self.slot.get() else { return false };
        if memory.model.as_ref() != Some(serving.version()) {
            // Another model has to see all of it.
            memory.model = Some(serving.version().clone());
            memory.seen.clear();
            (memory.walk, memory.next_walk, memory.slow_walk) = (None, Instant::now(), Instant::now());
        }
        let now = Instant::now();
        if memory.named.is_empty() && now >= memory.next_named && noticed.has_paths() && !self.all {
            memory.named = noticed.take_paths().into();
            memory.next_named = now + self.interval;
        }
        // New images before the rest of a walk: a walk with a new model may take an hour.
        if let Some(path) = memory.named.pop_front() {
            self.meet(memory, noticed, &serving, &path);
            return true;
        }
        if let Some((mut walk, cost)) = memory.walk.take() {
            let began = Instant::now();
            let Some(path) = walk.next() else {
                self.end_walk(memory, watch, cost);
                return true;
            };
            memory.walk = Some((walk, cost + began.elapsed()));
            self.meet(memory, noticed, &serving, &path);
            return true;
        }
        if now >= memory.slow_walk || now >= memory.next_walk && self.wants_walk(watch, noticed) {
            watch.arm(std::slice::from_ref(&self.dir));
            // What was noticed before is answered by the walk.
            noticed.clear();
            self.begin_walk(memory);
            return true;
        }
        self.summary(memory);
        false
    }

    fn pause(&self, memory: &Memory, watch: &Watch, noticed: &Noticed) -> Duration {
        if memory.model.is_none() {
            return self.interval;
        }
        let now = Instant::now();
        let mut until = (now + self.interval).min(memory.slow_walk);
        if noticed.has_paths() && !self.all {
            until = until.min(memory.next_named);
        }
        if self.wants_walk(watch, noticed) {
            until = until.min(memory.next_walk);
        }
        // Never shorter than a moment, whatever is due: a loop that has nothing to work with must not take a core.
        until.saturating_duration_since(now).max(Duration::from_millis(10))
    }

    /// Whether a walk is wanted before the slow one.
    fn wants_walk(&self, watch: &Watch, noticed: &Noticed) -> bool {
        self.all || noticed.is_everything() || !watch.is_armed()
    }

    fn begin_walk(&mut self, memory: &mut Memory) {
        let began = Instant::now();
        match Walk::begin(&self.dir) {
            Ok(walk) => {
                memory.missing = false;
                memory.seen.begin_walk();
                memory.walk = Some((walk, began.elapsed()));
            }
            Err(error) => {
                if !std::mem::replace(&mut memory.missing, true) {
                    tracing::info!(dir = %self.dir.display(), %error, "waiting for the images folder");
                }
                memory.next_walk = began + self.interval;
                memory.slow_walk = began + SLOW_WALK;
            }
        }
    }

    fn end_walk(&mut self, memory: &mut Memory, watch: &Watch, cost: Duration) {
        memory.seen.end_walk();
        self.metrics.folder_images(memory.seen.len());
        let now = Instant::now();
        memory.next_walk = now + self.interval.max(cost * WALK_SHARE);
        memory.slow_walk = if watch.is_armed() { now + SLOW_WALK.max(cost * SLOW_WALK_SHARE) } else { memory.next_walk };
    }

    /// Looks at one path, and infers what is there if it has not been seen so.
    fn meet(&mut self, memory: &mut Memory, noticed: &Noticed, serving: &Arc<Serving>, path: &Path) {
        let began = Instant::now();
        let Ok(found) = stamp(path) else { return memory.seen.forget(path) };
        let new = memory.seen.meet(path, found);
        if let Some((_, cost)) = &mut memory.walk {
            *cost += began.elapsed();
        }
        if new || self.all {
            self.give_way();
            if !self.image(memory, serving, path, found) {
                noticed.again(path.to_owned());
            }
            return;
        }
        memory.idle_steps += 1;
        if memory.idle_steps >= WALK_STEPS {
            memory.idle_steps = 0;
            if self.traffic.inside() > 0 {
                std::thread::sleep(GAP_POLL);
            }
        }
    }

    /// Infers an image and prints its line; false when it is to be tried again.
    fn image(&mut self, memory: &mut Memory, serving: &Arc<Serving>, path: &Path, seen: Stamp) -> bool {
        let name = self.name(path);
        match self.infer(memory, serving, &name, path, seen) {
            Some(Ok(answer)) => {
                memory.seen.finish(path, seen);
                self.print(memory, &Line { file: &name, answer: &answer });
                true
            }
            // Perhaps it is still being written: only what stays broken is reported.
            Some(Err(error)) if memory.seen.fail(path, seen) => {
                memory.broken += 1;
                self.print(memory, &json!({"file": name, "error": error.kind, "message": error.message}));
                true
            }
            Some(Err(_)) | None => false,
        }
    }

    /// The path below the folder, as the line names it.
    fn name(&self, path: &Path) -> String {
        path.strip_prefix(&self.dir).unwrap_or(path).to_string_lossy().into_owned()
    }

    /// `None`: not the image's fault, or it changed under our hands; it stays new.
    fn infer(&self, memory: &mut Memory, serving: &Arc<Serving>, name: &str, path: &Path, seen: Stamp) -> Option<Result<Answer, ApiError>> {
        let started = Instant::now();
        let max = self.rules.limits.max_bytes;
        if seen.bytes > max {
            return Some(Err(DecodeError::TooLarge(Excess::Bytes { bytes: seen.bytes, max }).into()));
        }
        // Bounded all the same: it may grow while it is read.
        let mut bytes = Vec::with_capacity(seen.bytes as usize);
        let read = File::open(path).and_then(|file| file.take(max + 1).read_to_end(&mut bytes));
        // It has changed since it was looked at: whatever was read may be half of it.
        if stamp(path).ok() != Some(seen) {
            return None;
        }
        if let Err(error) = read {
            return Some(Err(ApiError::bad_request("unreadable", error.to_string())));
        }
        let rules = Options::default().rules(&self.rules, &serving.metadata).unwrap_or_else(|_| self.rules.clone());
        let _running = self.lane.begin();
        match infer(serving, &bytes, &rules, &|| Ok(()), &mut memory.scratch) {
            Ok((mut answer, spent)) => {
                serving.ran();
                answer.timing_ms.total = ms(started.elapsed());
                self.metrics.answered("folder", serving, &answer, &spent, None);
                Some(Ok(answer))
            }
            Err(InferError::Busy | InferError::Late | InferError::Gone) => None,
            Err(error @ InferError::Engine(_)) => {
                if serving.run_failed() {
                    self.reload.look();
                }
                tracing::error!(file = name, %error, "an image of the folder has no detections; it is tried again");
                None
            }
            Err(error) => Some(Err(error.into())),
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
        if memory.printed.elapsed() >= SUMMARY {
            let line = json!({"summary": {"images": memory.seen.len(), "new": 0, "broken": memory.broken, "model": memory.model}});
            self.print(memory, &line);
        }
    }

    fn print(&mut self, memory: &mut Memory, line: &impl Serialize) {
        memory.printed = Instant::now();
        let mut text = match serde_json::to_vec(line) {
            Ok(text) => text,
            Err(error) => return tracing::error!(%error, "a result is no JSON"),
        };
        text.push(b'\n');
        if let Some(results) = &mut self.results {
            // Standard output gets its times from whoever collects it; a file has nobody.
            let mut dated = format!("{{\"at\":\"{}\",", Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true)).into_bytes();
            dated.extend_from_slice(&text[1..]);
            results.write(&dated);
        }
        match self.out.write_all(&text).and_then(|()| self.out.flush()) {
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
