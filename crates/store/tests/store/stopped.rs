//! A trainer that stood still (SIGSTOP, as a suspended machine) while another one took its lock publishes nothing.

use std::process::Child;
use std::time::{Duration, Instant};

use edgeloop_store::fault;
use rustix::process::{Pid, Signal, kill_process};

use super::child::{self, DONE, LOST};
use super::shelf::Shelf;

struct Stopped(Child);

impl Stopped {
    fn at(shelf: &Shelf, task: &str, point: &str) -> Self {
        let child = Self(child::spawn(shelf.root(), task, &format!("{point}=stop")));
        let deadline = Instant::now() + Duration::from_secs(60);
        let stat = format!("/proc/{}/stat", child.0.id());
        while !std::fs::read_to_string(&stat).unwrap().contains(") T ") {
            assert!(Instant::now() < deadline, "the child never stopped at {point}");
            std::thread::yield_now();
        }
        child
    }

    fn wake(mut self) -> Option<i32> {
        let pid = Pid::from_raw(self.0.id().cast_signed()).unwrap();
        kill_process(pid, Signal::CONT).unwrap();
        self.0.wait().unwrap().code()
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// From here on the version of the one that stands still has been seen by readers.
const COMMITTED: [&str; 4] = ["pointer-moved", "pointer-synced", "history-written", "commit-removed"];

#[test]
fn a_trainer_that_wakes_up_late_publishes_nothing_wherever_it_stood() {
    for point in fault::POINTS {
        let shelf = Shelf::new();
        shelf.promoted(1);
        let sleeper = Stopped::at(&shelf, "promote", point);
        // 45 s of the watcher's clock pass at once, twice where the sleeper has both locks.
        let next = shelf.promoted(3);
        assert_eq!(sleeper.wake(), Some(if COMMITTED.contains(point) { DONE } else { LOST }), "{point}");
        assert_eq!(shelf.pointed(), Some(next.version), "{point}");
        assert_eq!(shelf.served(), Some(3), "{point}");
        shelf.promoted(4);
        shelf.assert_tidy();
        assert_eq!(shelf.store.versions().unwrap().len(), if COMMITTED.contains(point) { 4 } else { 3 }, "{point}");
        let moves = shelf.store.history().unwrap().iter().filter_map(|entry| entry.promotion).collect::<Vec<_>>();
        assert_eq!(moves, (1..=moves.len() as u64).collect::<Vec<_>>(), "{point}");
    }
}

#[test]
fn a_trainer_that_only_lost_its_lock_and_sees_no_new_version_publishes_nothing_either() {
    for point in fault::POINTS.iter().filter(|point| !COMMITTED.contains(point)) {
        let shelf = Shelf::new();
        shelf.promoted(1);
        let sleeper = Stopped::at(&shelf, "promote", point);
        let taken = shelf.store.lock_training(&edgeloop_store::Owner::current("test")).unwrap();
        assert_eq!(sleeper.wake(), Some(LOST), "{point}");
        assert_eq!(shelf.served(), Some(1), "{point}");
        assert!(taken.still_held());
        drop(taken);
        shelf.store.prune(&Default::default()).unwrap();
        shelf.assert_tidy();
    }
}

#[test]
fn a_roll_back_that_wakes_up_late_moves_nothing() {
    for point in ["publish-locked", "commit-planned", "moved-latest-onnx", "fences-read"] {
        let shelf = Shelf::new();
        shelf.promoted(1);
        shelf.promoted(2);
        let sleeper = Stopped::at(&shelf, "rollback", point);
        shelf.promoted(3);
        assert_eq!(sleeper.wake(), Some(LOST), "{point}");
        assert_eq!(shelf.served(), Some(3), "{point}");
        shelf.store.prune(&Default::default()).unwrap();
        shelf.assert_tidy();
    }
}
