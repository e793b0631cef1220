//! Who may train, who is told to wait, and when a holder counts as gone.

use std::process::{Command, Stdio};
use std::time::Duration;

use edgeloop_store::{Clock, LockKind, Owner, Store, StoreError};

use super::child;
use super::shelf::{Shelf, draft, names, options, promote, quick};

fn me() -> Owner {
    Owner::current("test")
}

#[test]
fn a_living_trainer_keeps_its_lock_and_is_named() {
    let shelf = Shelf::new();
    let first = Store::open_with(shelf.root(), quick()).unwrap();
    let lock = first.lock_training(&Owner::current("edgeloop-trainer")).unwrap();
    // Its beat is seen after some milliseconds; a stale one would take 45 s.
    let refused = Store::open_with(shelf.root(), quick()).unwrap().lock_training(&me()).unwrap_err();
    let StoreError::LockHeld { lock: LockKind::Train, owner, .. } = &refused else { panic!("{refused}") };
    assert_eq!((owner.name.as_str(), owner.pid), ("edgeloop-trainer", std::process::id()));
    assert!(refused.is_busy());
    assert!(lock.still_held());
    assert_eq!(names(&shelf.path("train.lock")).len(), 1, "a refused trainer leaves nothing");
}

#[test]
fn a_lock_that_was_given_back_is_taken_at_once_with_a_higher_number() {
    let shelf = Shelf::new();
    let fences: Vec<u64> = (0..3).map(|_| shelf.store.lock_training(&me()).unwrap().fence()).collect();
    assert_eq!(fences, [1, 2, 3]);
    assert_eq!(shelf.clock.monotonic(), Duration::ZERO, "nobody waited");
    assert_eq!(names(&shelf.path("train.lock")), ["0000000003"], "earlier numbers are swept");
}

#[test]
fn a_frozen_heartbeat_is_taken_over_after_45_seconds_of_the_watchers_clock_and_then_publishes_nothing() {
    let shelf = Shelf::new();
    shelf.promoted(1);
    let late = shelf.store.lock_training(&me()).unwrap();
    late.freeze_heartbeat();
    let start = shelf.clock.monotonic();
    let next = shelf.store.lock_training(&me()).unwrap();
    let waited = shelf.clock.monotonic() - start;
    assert!(waited >= Duration::from_secs(45) && waited < Duration::from_secs(50), "{waited:?}");
    assert!(next.fence() > late.fence());
    assert!(!late.still_held() && next.still_held());

    let error = shelf.store.publish(&late, draft(2), promote()).unwrap_err();
    assert!(matches!(error, StoreError::LockLost { lock: LockKind::Train, .. }), "{error}");
    assert_eq!(shelf.served(), Some(1));
    shelf.store.publish(&next, draft(3), promote()).unwrap();
    drop(late);
    assert!(next.still_held(), "giving back a lost lock takes nothing from its new holder");
    assert_eq!(shelf.served(), Some(3));
}

#[test]
fn a_wall_clock_set_back_or_forth_neither_frees_nor_keeps_a_lock() {
    let shelf = Shelf::new();
    let lock = shelf.store.lock_training(&me()).unwrap();
    lock.freeze_heartbeat();
    shelf.clock.set_utc("1970-01-01T00:00:00Z".parse().unwrap());
    let start = shelf.clock.monotonic();
    let next = shelf.store.lock_training(&me()).unwrap();
    assert!(shelf.clock.monotonic() - start >= Duration::from_secs(45));
    // A jump of a century while another one watches: the holder beats on, so it holds on.
    let clock = shelf.clock.clone();
    next.freeze_heartbeat();
    let (path, mut beats) = (shelf.path("train.lock/0000000002"), 0u32);
    shelf.clock.on_wait(move |_| {
        clock.set_utc("2126-01-01T00:00:00Z".parse().unwrap());
        beats += 1;
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replacen(&format!("\"beat\":{}", beats - 1), &format!("\"beat\":{beats}"), 1)).unwrap();
    });
    assert!(matches!(shelf.store.lock_training(&me()), Err(StoreError::LockHeld { .. })));
    assert!(next.still_held());
}

#[test]
fn a_holder_that_this_machine_knows_to_be_dead_is_not_waited_for() {
    let shelf = Shelf::new();
    child::run(shelf.root(), "promote", "moved-onnx");
    // It died with both locks in its hands.
    shelf.promoted(1);
    assert_eq!(shelf.clock.monotonic(), Duration::ZERO, "nobody waited");
}

#[test]
fn a_holder_on_another_machine_is_waited_for_although_its_number_is_nobodys_here() {
    let shelf = Shelf::new();
    child::run(shelf.root(), "promote", "staged-all");
    let path = shelf.path("train.lock/0000000001");
    let boot = me().boot_id;
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace(&boot, "00000000-0000-0000-0000-000000000000")).unwrap();
    shelf.promoted(1);
    assert!(shelf.clock.monotonic() >= Duration::from_secs(45));
}

#[test]
fn a_lock_file_that_its_maker_never_wrote_is_waited_for_like_a_silent_holder() {
    let shelf = Shelf::new();
    std::fs::create_dir(shelf.path("train.lock")).unwrap();
    std::fs::write(shelf.path("train.lock/0000000007"), b"").unwrap();
    let lock = shelf.store.lock_training(&me()).unwrap();
    assert_eq!(lock.fence(), 8);
    assert!(shelf.clock.monotonic() >= Duration::from_secs(45));
}

#[test]
fn of_many_that_want_a_free_lock_one_gets_it() {
    let shelf = Shelf::new();
    let results: Vec<_> = std::thread::scope(|scope| {
        let want = || Store::open_with(shelf.root(), quick()).unwrap().lock_training(&me());
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(want)).collect();
        // Kept until all have tried: a lock that is dropped would be free again.
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{results:?}");
    for refused in results.iter().filter_map(|result| result.as_ref().err()) {
        assert!(refused.is_busy(), "{refused}");
    }
}

#[test]
fn a_roll_back_does_not_wait_for_a_training() {
    let shelf = Shelf::new();
    let first = shelf.promoted(1);
    shelf.promoted(2);
    let training = shelf.store.lock_training(&me()).unwrap();
    let before = shelf.clock.monotonic();
    let pointer = shelf.store.rollback("test", "now").unwrap();
    assert_eq!(pointer.version(), &first.version);
    assert_eq!(shelf.clock.monotonic(), before, "nobody waited");
    // And the training goes on to publish.
    shelf.store.publish(&training, draft(3), promote()).unwrap();
    assert_eq!(shelf.served(), Some(3));
}

#[test]
fn a_lock_is_given_back_when_its_process_ends_in_order() {
    let shelf = Shelf::new();
    let status = child::run(shelf.root(), "reject", "");
    assert_eq!(status.code(), Some(child::DONE));
    // No process of that number: with another machine's boot id only `released` can free it.
    let path = shelf.path("train.lock/0000000001");
    assert!(std::fs::read_to_string(path).unwrap().contains("\"released\":true"));
}

#[test]
fn owners_of_any_name_fit_into_a_lock() {
    let shelf = Shelf::new();
    for name in ["\"".repeat(5000), "日本".repeat(900), "\u{7}\n\0".to_owned(), String::new()] {
        let lock = Store::open_with(shelf.root(), options(&shelf.clock)).unwrap().lock_training(&Owner::current(&name)).unwrap();
        assert!(lock.still_held());
    }
}

#[test]
fn a_process_that_ended_is_reaped_before_it_counts_as_dead() {
    // A zombie still has its number, so nothing is proved yet, and the heartbeat decides.
    let mut zombie = Command::new("true").stdout(Stdio::null()).spawn().unwrap();
    let owner = Owner { pid: zombie.id(), started: 0, ..me() };
    assert!(!owner.is_provably_dead(&me()));
    zombie.wait().unwrap();
    assert!(owner.is_provably_dead(&me()));
}
