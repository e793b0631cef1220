//! The two emitters give the same numbers.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use edgeloop_model::{Data, Role, Scale};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rstest::rstest;

use super::*;

/// Kernels this much larger than PyTorch's first ones keep layers from fading out without letting them explode.
const LIVELY: f32 = 2.3;

/// Weights with which every term matters: norms far from the identity, kernels `gain` times the first ones.
fn lively(network: &Network, seed: u64, gain: f32) -> Weights {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut weights = Weights::init(network, seed);
    for spec in network.params() {
        let Data::F32(values) = &mut weights.get_mut(&spec.name).unwrap().data else { continue };
        for value in values {
            match spec.role {
                Role::Weight => *value *= gain,
                Role::NormWeight => *value = rng.random_range(0.6..1.4),
                Role::NormBias | Role::RunningMean => *value = rng.random_range(-0.4..0.4),
                Role::RunningVar => *value = rng.random_range(0.5..2.0),
                Role::Bias => *value = rng.random_range(-1.0..1.0),
                Role::NumBatches | Role::Fixed => {}
            }
        }
    }
    weights
}

fn images(n: i64, h: i64, w: i64) -> Tensor {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let values: Vec<f32> = (0..n * 3 * h * w).map(|_| rng.random()).collect();
    Tensor::from_slice(&values).reshape([n, 3, h, w])
}

fn meta(classes: usize) -> OnnxMeta {
    OnnxMeta { names: (0..classes).map(|i| format!("class {i}")).collect(), imgsz: 640, stride: 32, extra: vec![] }
}

#[rstest]
fn emitters_agree(#[values((320, 320), (384, 640), (96, 160))] (h, w): (i64, i64), #[values(1, 3)] batch: i64) {
    let network = Network::yolov8(Scale::N, 5);
    let images = images(batch, h, w);
    let exported = export(&lively(&network, 3, LIVELY), &network, &meta(5), &images).unwrap();
    println!("{batch}×{h}×{w}: {:?}", exported.difference);
    assert!(exported.noise.is_none(), "passed without allowance: {:?}", exported.difference);

    // The comparison has teeth only if outputs differ between anchors of one level: constants would agree as well.
    let check = safetensors::read(&exported.check).unwrap();
    let output = check.get("output0").unwrap();
    let (anchors, finest) = (Network::anchors(h as usize, w as usize), (h * w / 64) as usize);
    assert_eq!(output.shape, [batch as usize, 9, anchors]);
    let spread = |row: usize| {
        let row = &output.as_f32().unwrap()[row * anchors..][..finest];
        row.iter().copied().fold(f32::MIN, f32::max) - row.iter().copied().fold(f32::MAX, f32::min)
    };
    assert!(spread(2) > 1.0, "widths spread over {} px", spread(2));
    assert!(spread(5) > 0.05, "scores spread over {}", spread(5));
    assert_eq!(check.get("images").unwrap().shape, [batch as usize, 3, h as usize, w as usize]);
}

#[test]
fn a_graph_that_computes_something_else_is_not_published() {
    let network = Network::yolov8(Scale::N, 2);
    let weights = lively(&network, 3, LIVELY);
    let images = images(1, 64, 64);
    let reference = reference(&weights, &network, &images).unwrap();
    let mut other = weights.clone();
    let Data::F32(means) = &mut other.get_mut("model.9.cv2.bn.running_mean").unwrap().data else { panic!() };
    means[0] += 0.5;
    let onnx = emit(&network, &other, &meta(2)).unwrap();
    let difference = compare(&onnx, &images, &reference).unwrap();
    let noise = noise(&weights, &network, &images, &reference).unwrap();
    assert!(!difference.within(&allowed(Some(noise))), "{difference:?} with {noise:?} of noise");
}

/// Each layer of an exploding network multiplies what rounding did: libtorch's own float32 is then as far from the truth as
/// ONNX Runtime is. That is not a fault of the export, and the training must not be lost over it.
#[test]
fn rounding_that_libtorch_shares_is_no_reason_to_refuse() {
    let network = Network::yolov8(Scale::N, 2);
    let exported = export(&lively(&network, 3, 2.7), &network, &meta(2), &images(1, 160, 160)).unwrap();
    assert!(exported.difference.boxes > BOX_TOLERANCE, "the case is not a case: {:?}", exported.difference);
    assert!(exported.noise.is_some());
}

#[test]
fn differences_are_told_apart_by_row_and_nan_sticks() {
    // one image, 4 + 1 rows, 2 anchors
    let a = [0.0; 10];
    let mut b = a;
    b[7] = 0.25; // row 3: a box
    b[8] = -0.5; // row 4: a score
    assert_eq!(difference(&a, &b, [1, 5, 2]), Difference { boxes: 0.25, scores: 0.5 });
    b[0] = f32::NAN;
    assert!(difference(&a, &b, [1, 5, 2]).boxes.is_nan());
}

#[test]
fn an_input_that_does_not_fit_is_refused() {
    let network = Network::yolov8(Scale::N, 1);
    let weights = Weights::init(&network, 0);
    let error = export(&weights, &network, &meta(1), &images(1, 50, 64)).unwrap_err();
    assert!(matches!(error, ExportError::Net(NetError::Input(_))), "{error}");
}

/// Three classes that grew to 90 keep the class branch 64 wide; a network of 90 from the start would be 90.
#[test]
fn emitters_agree_on_a_class_branch_of_another_width() {
    for (classes, width) in [(90, 64), (2, 80)] {
        let network = Network::yolov8_with_class_width(Scale::N, classes, width);
        let exported = export(&lively(&network, 5, LIVELY), &network, &meta(classes), &images(1, 96, 160)).unwrap();
        assert!(exported.noise.is_none(), "passed without allowance: {:?}", exported.difference);
    }
}
