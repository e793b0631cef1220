//! The finer points in real runs: layers that do not learn, inputs of many sizes, gains.

use edgeloop_model::Role;

use super::*;

#[test]
fn frozen_layers_keep_their_weights_and_statistics_to_the_bit() {
    let dir = tempfile::tempdir().unwrap();
    let data = dataset(dir.path(), 16, 4);
    let recipe = Recipe { freeze: 10, ..Recipe::default() };
    // Decay would move them, and so would averaging what differs by a rounding.
    let hyper = Hyper { recipe, weight_decay: 0.5, ..hyper(2) };
    let network = Network::yolov8(Scale::N, 2);
    let before = Weights::init(&network, hyper.seed);
    let after = done(train(&data, hyper, None, u64::MAX).0).weights;
    let (mut kept, mut moved) = (0, 0);
    for spec in network.params() {
        let same = before.get(&spec.name) == after.get(&spec.name);
        let layer: u32 = spec.name.split('.').nth(1).unwrap().parse().unwrap();
        if layer < 10 {
            assert!(same, "{} is frozen", spec.name);
            kept += 1;
        } else if spec.role == Role::Weight {
            assert!(!same, "{} learns", spec.name);
            moved += 1;
        }
    }
    assert!(kept > 100 && moved > 20, "{kept} {moved}");
}

#[test]
fn with_inputs_of_many_sizes_and_patience_a_stopped_run_ends_as_one_that_was_not() {
    let dir = tempfile::tempdir().unwrap();
    let data = dataset(dir.path(), 20, 4);
    let augment = Augment { multi_scale: 0.5, mixup: 0.5, perspective: 0.0005, ..Augment::default() };
    let recipe = Recipe { patience: 1, cosine: false, clip_norm: 1.0, ..Recipe::default() };
    let hyper = Hyper { augment, recipe, nominal_batch: 16, warmup_batches: 1, ..hyper(4) };
    let straight = done(train(&data, hyper, None, u64::MAX).0);
    let folder = dir.path().join("checkpoints");
    // Three batches an epoch and two to a step: in the middle of both.
    let (first, _) = train(&data, hyper, Some(&folder), 2);
    assert!(matches!(first, Fitted::Stopped { epochs_done: 0 }));
    let second = done(train(&data, hyper, Some(&folder), u64::MAX).0);
    assert_eq!(figures(&second.log), figures(&straight.log));
    assert_eq!(second.weights, straight.weights);
    // And it is another run than one at a single size.
    let single = Hyper { augment: Augment { multi_scale: 0.0, ..augment }, ..hyper };
    assert_ne!(figures(&done(train(&data, single, None, u64::MAX).0).log), figures(&straight.log));
}

#[test]
fn gains_weigh_the_parts_of_the_loss() {
    let dir = tempfile::tempdir().unwrap();
    let data = dataset(dir.path(), 8, 4);
    // One batch: its losses are those of the untrained network whatever the gains are.
    let with = |gains| {
        let recipe = Recipe { gains, ..Recipe::default() };
        let done = done(train(&data, Hyper { recipe, ..hyper(1) }, None, u64::MAX).0);
        let first = &done.log[0];
        [first.box_loss, first.cls_loss, first.dfl_loss]
    };
    let one = with(Gains::default());
    let other = with(Gains { bbox: 15.0, class: 0.25, dfl: 4.5 });
    for ((one, other), factor) in one.into_iter().zip(other).zip([2.0, 0.5, 3.0]) {
        assert!((other / one - factor).abs() < 1e-4, "{one} {other} {factor}");
    }
}
