//! A run that nobody watches: checkpoints by the clock, a second try, a budget.

use super::*;

/// Left to itself, decay multiplies weights by 1 − lr · decay at every step: by −18.9 here, and by −0.99 at a tenth of the rate.
fn exploding() -> Hyper {
    let hyper = Hyper { batch_size: 1, nominal_batch: 1, warmup_batches: 0, lr0: 39.8, lrf: 1.0, weight_decay: 0.5, ..hyper(1) };
    Hyper { augment: Augment::NONE, ..hyper }
}

#[test]
fn checkpoints_by_the_clock_change_no_number() {
    let dir = tempfile::tempdir().unwrap();
    let data = dataset(dir.path(), 20, 4);
    let hyper = Hyper { nominal_batch: 16, warmup_batches: 1, ..hyper(2) };
    let without = done(train(&data, hyper, None, u64::MAX).0);
    let folder = dir.path().join("checkpoints");
    // One after every batch.
    let how = || How { checkpoint: Some((&folder, Duration::ZERO)), stop_after: u64::MAX, ..How::default() };
    let with = done(run(&data, hyper, how()).0.unwrap());
    assert_eq!(with.weights, without.weights);
    assert_eq!(figures(&with.log), figures(&without.log));
    // What is left is that of the finished run: going on from it gives the same once more.
    let again = done(run(&data, hyper, how()).0.unwrap());
    assert_eq!(again.weights, without.weights);
}

#[test]
fn a_damaged_checkpoint_costs_what_was_done_since_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    let data = dataset(dir.path(), 16, 4);
    let straight = done(train(&data, hyper(3), None, u64::MAX).0);
    let folder = dir.path().join("checkpoints");
    train(&data, hyper(3), Some(&folder), 5);
    let last = folder.join(checkpoint::FILE);
    let length = std::fs::metadata(&last).unwrap().len();
    // A file whose blocks were never written, as some file systems leave it after a power cut.
    std::fs::write(&last, vec![0; length as usize]).unwrap();
    let (fitted, witness) = train(&data, hyper(3), Some(&folder), u64::MAX);
    assert_eq!(witness.batches, 6 - 4, "it goes on from the end of the second epoch");
    assert_eq!(figures(&done(fitted).log), figures(&straight.log));
    // And with neither, it starts over.
    for name in [checkpoint::FILE, checkpoint::PREVIOUS] {
        std::fs::write(folder.join(name), b"half").unwrap();
    }
    let (fitted, witness) = train(&data, hyper(3), Some(&folder), u64::MAX);
    assert_eq!(witness.batches, 6);
    assert_eq!(figures(&done(fitted).log), figures(&straight.log));
}

#[test]
fn a_training_that_diverges_is_tried_once_more_at_a_lower_rate() {
    let dir = tempfile::tempdir().unwrap();
    let data = dataset(dir.path(), 60, 4);
    let (fitted, witness) = run(&data, exploding(), How { stop_after: u64::MAX, ..How::default() });
    let done = done(fitted.unwrap());
    let retry = done.retry.unwrap();
    assert_eq!(witness.retry, Some(retry));
    assert_eq!((retry.epoch, retry.lr0_before), (1, 39.8));
    assert!((retry.lr0 - 3.98).abs() < 1e-9);
    assert!(done.log.iter().all(|epoch| epoch.lr < 3.99 && epoch.box_loss.is_finite()), "{:?}", done.log);
}

#[test]
fn the_second_try_starts_from_the_last_checkpoint_and_outlives_a_stop() {
    let dir = tempfile::tempdir().unwrap();
    let data = dataset(dir.path(), 60, 4);
    let folder = dir.path().join("checkpoints");
    let (fitted, _) = train(&data, exploding(), Some(&folder), 3);
    assert!(matches!(fitted, Fitted::Stopped { epochs_done: 0 }));
    // Diverges, goes back to batch 3, and is stopped on its second way.
    let (_, straight) = {
        let copy = dir.path().join("copy");
        std::fs::create_dir(&copy).unwrap();
        std::fs::copy(folder.join(checkpoint::FILE), copy.join(checkpoint::FILE)).unwrap();
        let (fitted, witness) = train(&data, exploding(), Some(&copy), u64::MAX);
        let before_it_diverged = witness.retry.unwrap().batch - 1 - 3;
        assert_eq!(witness.batches, before_it_diverged + 60 - 3);
        (done(fitted).retry.unwrap(), witness)
    };
    let retry = straight.retry.unwrap();
    let (fitted, _) = train(&data, exploding(), Some(&folder), retry.batch - 4 + 5);
    assert!(matches!(fitted, Fitted::Stopped { epochs_done: 0 }));
    let (fitted, witness) = train(&data, exploding(), Some(&folder), u64::MAX);
    let done = done(fitted);
    assert_eq!(witness.retry, None, "it need not diverge again");
    assert_eq!(done.retry, Some(retry));
    assert_eq!(figures(&done.log), figures(&straight.log));
}

#[test]
fn a_budget_that_is_used_up_still_ends_with_a_model() {
    let dir = tempfile::tempdir().unwrap();
    let data = dataset(dir.path(), 16, 4);
    let how = How { budget: Some(Budget { seconds: 1.0, before: 2.0 }), stop_after: u64::MAX, ..How::default() };
    let (fitted, witness) = run(&data, hyper(50), how);
    let done = done(fitted.unwrap());
    assert_eq!((witness.batches, done.log.len(), done.best_epoch), (1, 1, 1));
}

#[test]
fn a_short_budget_bends_the_schedule_and_a_long_one_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let data = dataset(dir.path(), 16, 4);
    let how = |seconds| How { budget: Some(Budget { seconds, before: 0.0 }), stop_after: u64::MAX, ..How::default() };
    let cut = done(run(&data, hyper(100_000), how(4.0)).0.unwrap());
    let (first, last) = (&cut.log[0], cut.log.last().unwrap());
    assert!(cut.log.len() < 100_000);
    assert!(last.lr < 0.3 * first.lr.max(0.002), "{first:?} {last:?}");
    assert!(last.map50.is_finite(), "the last epoch is judged");

    let long = done(run(&data, hyper(2), how(1e6)).0.unwrap());
    assert_eq!(long.weights, done(train(&data, hyper(2), None, u64::MAX).0).weights);
}
