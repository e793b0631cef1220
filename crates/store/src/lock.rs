//! Two locks of one make: an owner, a heartbeat, a fencing number.
//!
//! A lock is a folder with one file for each time it was taken; the file's name is the fencing number, and the highest number
//! has the lock. Taking it over means making the next number with O_EXCL, so two cannot win, and a holder that was passed can
//! be passed only once. The file is one block of fixed size, rewritten in place by each beat (a full disk cannot stop a
//! heartbeat), and stays behind when the lock is given back, so that numbers never repeat.
//!
//! Staleness is what a watcher sees: the same bytes for `stale_after` on the watcher's own monotonic clock. No wall time of any
//! machine is compared with another's. A holder that this kernel knows to be dead is not waited for.

mod held;
mod record;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub(crate) use held::Held;
use record::{Record, Top};

use crate::clock::Clock;
use crate::{Owner, Store, StoreError, StoreOptions, files};

/// Which lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LockKind {
    /// `train.lock`: one trainer at a time, for hours.
    Train,
    /// `publish.lock`: one writer of the pointer at a time, for milliseconds.
    Publish,
}

impl fmt::Display for LockKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Train => "train.lock",
            Self::Publish => "publish.lock",
        })
    }
}

/// A lock's patience.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockTiming {
    /// Between two beats of the holder.
    pub heartbeat: Duration,
    /// A beat that does not change for so long means that the holder is gone.
    pub stale_after: Duration,
    /// Between two looks of a watcher.
    pub poll: Duration,
    /// The longest that a watcher watches.
    pub wait: Duration,
}

/// What to do about a holder that is seen to be alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IfAlive {
    /// It has hours to go: say so at once.
    Refuse,
    /// It has milliseconds to go: look again until `wait` is over.
    Wait,
}

/// One lock's folder and manners.
#[derive(Clone)]
pub(crate) struct Lock {
    kind: LockKind,
    folder: PathBuf,
    timing: LockTiming,
    clock: Arc<dyn Clock>,
}

impl Lock {
    pub(crate) fn train(store: &Store) -> Self {
        Self::new(LockKind::Train, store, |options| options.train)
    }

    pub(crate) fn publish(store: &Store) -> Self {
        Self::new(LockKind::Publish, store, |options| options.publish)
    }

    fn new(kind: LockKind, store: &Store, timing: impl FnOnce(&StoreOptions) -> LockTiming) -> Self {
        let folder = store.layout.root().join(kind.to_string());
        Self { kind, folder, timing: timing(&store.options), clock: Arc::clone(&store.options.clock) }
    }

    pub(crate) fn acquire(&self, owner: &Owner, if_alive: IfAlive) -> Result<Held, StoreError> {
        files::make_dir(&self.folder)?;
        let start = self.clock.monotonic();
        let mut watch = Watch::default();
        loop {
            let free = match self.top()? {
                None => Some(1),
                Some(top) => {
                    let next = top.fence.saturating_add(1);
                    if top.is_free(owner) || watch.sees(&top, self.clock.monotonic(), &self.timing) {
                        Some(next)
                    } else {
                        let waited = self.clock.monotonic().saturating_sub(start);
                        if (watch.alive && if_alive == IfAlive::Refuse) || waited >= self.timing.wait {
                            let Record { owner, since, .. } = top.record.unwrap_or_else(|| Record::unknown(self.kind, top.fence));
                            return Err(StoreError::LockHeld { lock: self.kind, owner: Box::new(owner), since });
                        }
                        None
                    }
                }
            };
            match free {
                Some(fence) => {
                    if let Some(held) = self.claim(fence, owner)? {
                        return Ok(held);
                    }
                    // Somebody was quicker: what was seen of the old holder says nothing about the new one.
                    watch = Watch::default();
                }
                None => self.clock.wait(self.timing.poll),
            }
        }
    }

    /// Makes number `fence`. `None` when another one made it, or has passed it already.
    fn claim(&self, fence: u64, owner: &Owner) -> Result<Option<Held>, StoreError> {
        let record = Record { lock: self.kind, fence, owner: owner.fitting(), since: self.clock.utc(), beat: 0, released: false };
        let path = self.path(fence);
        match files::write_new(&path, &record.to_block()) {
            Err(StoreError::Io { cause, .. }) if cause.kind() == std::io::ErrorKind::AlreadyExists => return Ok(None),
            Err(error) => {
                // Half a record would look like a holder of unknown name until it is stale.
                let _ = files::remove(&path);
                return Err(error);
            }
            Ok(()) => {}
        }
        files::sync_dir(&self.folder)?;
        // A claimant that slept since it looked may have made a number that was given back and swept long ago.
        if self.top()?.is_some_and(|top| top.fence != fence) {
            files::remove(&path)?;
            return Ok(None);
        }
        for name in files::names(&self.folder)? {
            if record::fence_of(&name).is_some_and(|number| number < fence) || name.ends_with(record::PROBE) {
                files::remove(&self.folder.join(name))?;
            }
        }
        Held::start(self.clone(), record).map(Some)
    }

    fn path(&self, fence: u64) -> PathBuf {
        self.folder.join(record::name_of(fence))
    }

    /// The highest number with what is written in it; `None` when the lock was never taken.
    fn top(&self) -> Result<Option<Top>, StoreError> {
        loop {
            let Some(fence) = files::names(&self.folder)?.iter().filter_map(|name| record::fence_of(name)).max() else {
                return Ok(None);
            };
            // Swept between the listing and the read: there is a higher one now.
            if let Some(block) = files::read_bounded(&self.path(fence), record::BLOCK as u64)? {
                return Ok(Some(Top::new(fence, block)));
            }
        }
    }
}

/// What a watcher has seen of one holder.
#[derive(Debug, Default)]
struct Watch {
    seen: Option<(u64, Vec<u8>)>,
    last_look: Duration,
    unchanged: Duration,
    alive: bool,
}

impl Watch {
    /// Takes one look; true when the holder has been still for long enough.
    fn sees(&mut self, top: &Top, now: Duration, timing: &LockTiming) -> bool {
        let gap = now.saturating_sub(self.last_look);
        self.last_look = now;
        match &self.seen {
            Some((fence, block)) if *fence == top.fence && *block == top.block => {
                // A look that took long itself (a file server that was away) is no proof that the holder was still meanwhile:
                // it could not write either. Such a gap counts as two polls.
                self.unchanged += gap.min(timing.poll * 2);
            }
            seen => {
                self.alive = seen.is_some();
                self.unchanged = Duration::ZERO;
                self.seen = Some((top.fence, top.block.clone()));
            }
        }
        self.unchanged >= timing.stale_after
    }
}

/// The right to train and to publish what was trained. Beats on a thread of its own until it is dropped, which gives it back.
pub struct TrainLock {
    pub(crate) held: Held,
    pub(crate) owner: Owner,
    /// One publish at a time through one lock.
    pub(crate) publishing: Mutex<()>,
}

impl fmt::Debug for TrainLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrainLock").field("fence", &self.fence()).finish_non_exhaustive()
    }
}

impl TrainLock {
    /// The fencing number: higher than that of everybody who had the lock before.
    #[must_use]
    pub fn fence(&self) -> u64 {
        self.held.fence()
    }

    /// Whether nobody has taken it over. A trainer that asks between epochs saves itself useless work; publishing asks anyway.
    #[must_use]
    pub fn still_held(&self) -> bool {
        self.held.check().is_ok()
    }

    /// Stops the heartbeat without giving the lock back: what others see when this process is suspended. For tests.
    pub fn freeze_heartbeat(&self) {
        self.held.freeze();
    }
}

impl Store {
    /// Takes `train.lock`, then undoes what a trainer that had it before left half done: from here on no earlier holder can
    /// publish, however late it wakes up.
    ///
    /// Returns at once when the lock is free or its holder is provably dead. Otherwise it watches: up to two beats (4 s) to see
    /// a living holder, `stale_after` (45 s) to take over from one that stands still.
    ///
    /// # Errors
    /// [`StoreError::LockHeld`] with the owner; [`StoreError::Io`].
    pub fn lock_training(&self, owner: &Owner) -> Result<TrainLock, StoreError> {
        self.layout.make_folders()?;
        let held = Lock::train(self).acquire(owner, IfAlive::Refuse)?;
        self.settle(owner, held.fence())?;
        Ok(TrainLock { held, owner: owner.clone(), publishing: Mutex::new(()) })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rstest::rstest;

    const TIMING: LockTiming = LockTiming {
        heartbeat: Duration::from_secs(2),
        stale_after: Duration::from_secs(45),
        poll: Duration::from_secs(1),
        wait: Duration::from_secs(120),
    };

    /// One look: at which second, which number, which content.
    type Look = (u64, u64, &'static str);

    fn watch(looks: &[Look]) -> (Watch, bool) {
        let mut watch = Watch::default();
        let mut gone = false;
        for (at, fence, block) in looks {
            gone = watch.sees(&Top::new(*fence, block.as_bytes().to_vec()), Duration::from_secs(*at), &TIMING);
        }
        (watch, gone)
    }

    #[rstest]
    #[case::the_first_look_proves_nothing(&[(1000, 7, "a")], 0, false)]
    #[case::nothing_changed(&[(100, 7, "a"), (101, 7, "a"), (103, 7, "a")], 3, false)]
    #[case::a_beat_starts_again(&[(100, 7, "a"), (102, 7, "a"), (103, 7, "b"), (104, 7, "b")], 1, true)]
    #[case::another_holder_starts_again(&[(100, 7, "a"), (102, 7, "a"), (103, 8, "a"), (104, 8, "a")], 1, true)]
    // The file server was away for an hour: the holder could not beat either.
    #[case::a_look_that_took_an_hour_counts_as_two_polls(&[(100, 7, "a"), (3700, 7, "a")], 2, false)]
    fn what_a_watcher_makes_of_its_looks(#[case] looks: &[Look], #[case] unchanged: u64, #[case] alive: bool) {
        let (watch, gone) = watch(looks);
        assert_eq!((watch.unchanged, watch.alive, gone), (Duration::from_secs(unchanged), alive, false));
    }

    #[test]
    fn a_holder_is_gone_after_45_seconds_without_a_change_and_not_before() {
        let looks: Vec<Look> = (100..=145).map(|at| (at, 7, "a")).collect();
        assert!(!watch(&looks[..45]).1);
        assert!(watch(&looks).1);
    }
}
