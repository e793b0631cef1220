//! The network in libtorch against what is known about it.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use edgeloop_model::Scale;
use tch::Kind;

use super::*;

fn noise(n: i64, side: i64) -> Tensor {
    // a fixed pattern: libtorch's own generator is shared by all tests of the process
    let values: Vec<f32> = (0..n * 3 * side * side).map(|i| ((i * 7919) % 1009) as f32 / 1009.0).collect();
    Tensor::from_slice(&values).reshape([n, 3, side, side])
}

fn yolo(classes: usize) -> Yolo {
    Yolo::new(&Network::yolov8(Scale::N, classes), Device::Cpu, 1).unwrap()
}

#[test]
fn gradients_reach_every_trainable_value_of_n_with_80_classes() {
    let yolo = yolo(80);
    assert_eq!(yolo.variables().len(), 355);
    let head = yolo.forward(&noise(2, 64), true);
    // A weight on each output that differs by place: the sum of squares of a softmax's logits alone could cancel.
    let loss: Tensor =
        head.levels.iter().map(|level| level.boxes.square().mean(Kind::Float) + level.scores.square().mean(Kind::Float)).sum();
    loss.backward();
    let mut reached = 0;
    for (name, tensor, role) in yolo.variables() {
        if role.trainable() {
            let grad = tensor.grad();
            assert!(grad.defined(), "{name} has no gradient");
            assert!(grad.abs().sum(Kind::Double).double_value(&[]) > 0.0, "{name}'s gradient is zero");
            reached += tensor.numel();
        } else {
            assert!(!tensor.requires_grad(), "{name} must not be trained");
        }
    }
    assert_eq!(reached, 3_157_184);
}

#[test]
fn training_records_statistics_and_judging_does_not() {
    let yolo = yolo(2);
    let before = yolo.weights().unwrap();
    let _ = tch::no_grad(|| yolo.forward(&noise(1, 64), false));
    assert_eq!(yolo.weights().unwrap(), before);
    let _ = yolo.forward(&noise(2, 64), true);
    let after = yolo.weights().unwrap();
    for spec in yolo.network().params() {
        let statistic = matches!(spec.role, Role::RunningMean | Role::RunningVar | Role::NumBatches);
        let changed = before.get(&spec.name) != after.get(&spec.name);
        assert_eq!(changed, statistic, "{}", spec.name);
    }
    assert_eq!(after.get("model.0.bn.num_batches_tracked").unwrap().as_i64().unwrap(), [1]);
}

#[test]
fn weights_round_trip_through_libtorch_in_both_layouts() {
    let network = Network::yolov8(Scale::N, 3);
    let weights = Weights::init(&network, 5);
    let mut yolo = Yolo::new(&network, Device::Cpu, 0).unwrap();
    assert_ne!(yolo.weights().unwrap(), weights);
    yolo.load(&weights).unwrap();
    assert_eq!(yolo.weights().unwrap(), weights);
    yolo.to_channels_last().unwrap();
    assert_eq!(yolo.weights().unwrap(), weights);
    yolo.load(&Weights::init(&network, 6)).unwrap();
    assert_eq!(yolo.weights().unwrap(), Weights::init(&network, 6));
}

#[test]
fn another_networks_weights_are_refused_and_change_nothing() {
    let mut yolo = yolo(3);
    let before = yolo.weights().unwrap();
    let other = Weights::init(&Network::yolov8(Scale::N, 4), 9);
    let error = yolo.load(&other).unwrap_err();
    assert!(error.to_string().contains("model.22.cv3.0.2.weight"), "{error}");
    assert_eq!(yolo.weights().unwrap(), before);
}

#[test]
fn channels_last_gives_the_same_numbers_and_the_same_gradients() {
    let (plain, mut laid_out) = (yolo(3), yolo(3));
    laid_out.to_channels_last().unwrap();
    let images = noise(2, 96);
    let outputs = [&plain, &laid_out].map(|yolo| {
        let output = yolo.decode(&yolo.forward(&images, true));
        output.square().mean(Kind::Float).backward();
        output
    });
    assert!(edgeloop_torch::is_channels_last(&laid_out.variables()[6].1), "kernels are NHWC");
    let far = (&outputs[0] - &outputs[1]).abs().max().double_value(&[]);
    assert!(far < 2e-3, "{far}");
    for ((name, a, role), (_, b, _)) in plain.variables().into_iter().zip(laid_out.variables()) {
        if role == Role::Weight {
            let (a, b) = (a.grad(), b.grad());
            let far = (&a - &b).norm().double_value(&[]) / a.norm().double_value(&[]).max(1e-12);
            assert!(far < 1e-2, "{name}: gradients differ by {far}");
        }
    }
}

#[test]
fn bf16_stays_close_and_gives_float32() {
    let mut yolo = yolo(3);
    let images = noise(1, 96);
    let exact = tch::no_grad(|| yolo.decode(&yolo.forward(&images, false)));
    yolo.set_bf16(true);
    let head = tch::no_grad(|| yolo.forward(&images, false));
    assert!(head.levels.iter().all(|level| level.boxes.kind() == Kind::Float && level.scores.kind() == Kind::Float));
    let rough = yolo.decode(&head);
    let far = (exact - rough).abs().max().double_value(&[]);
    assert!(far > 0.0, "autocast changed nothing: is it on?");
    assert!(far < 2.0, "{far} px");
}

#[test]
fn the_first_scores_are_those_of_an_almost_empty_image() {
    let yolo = yolo(4);
    let output = tch::no_grad(|| yolo.decode(&yolo.forward(&noise(1, 64), false)));
    assert_eq!(output.size(), [1, 8, 64 + 16 + 4]);
    // stride 8: 5 objects of 4 classes over 80² cells: sigmoid(ln(5 / 4 / 6400)) = 0.0002 before any training
    let score = output.get(0).get(4).narrow(0, 0, 64).mean(Kind::Float).double_value(&[]);
    assert!((1e-4..4e-4).contains(&score), "{score}");
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let yolo = yolo(1);
    for shape in [vec![3, 64, 64], vec![1, 1, 64, 64], vec![1, 3, 64, 60], vec![0, 3, 64, 64]] {
        let error = yolo.try_forward(&Tensor::zeros(&shape, (Kind::Float, Device::Cpu)), false).unwrap_err();
        assert!(matches!(error, NetError::Input(_)), "{error}");
    }
}
