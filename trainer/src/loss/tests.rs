//! The whole loss, on heads small enough for a pencil.
#![allow(clippy::unwrap_used)]

use tch::{Device, Kind, Tensor};

use super::*;
use crate::net::Level;

/// One level of 2×2 cells of 8 px (a 16×16 input), `n` images, one class, three bins a side.
/// Sides: probabilities ½ ¼ ¼ (0.75 strides: 6 px each way); class logits 0.
fn head(n: i64) -> Head {
    let bins = Tensor::from_slice(&[0.5f32, 0.25, 0.25]).log().repeat([4]).reshape([1, 12, 1, 1]);
    let boxes = bins.expand([n, 12, 2, 2], false).contiguous().set_requires_grad(true);
    let scores = Tensor::zeros([n, 1, 2, 2], (Kind::Float, Device::Cpu)).set_requires_grad(true);
    Head { levels: vec![Level { boxes, scores, stride: 8 }] }
}

/// 0,0–8,8 of a 16×16 input: around the first cell's centre (4, 4), and no other.
fn cell(image: u32) -> Target {
    Target { image, class: 0, cx: 0.25, cy: 0.25, w: 0.5, h: 0.5 }
}

fn near(got: f64, want: f64) {
    assert!((got - want).abs() < 1e-4, "{got} is not {want}");
}

#[test]
fn background_costs_the_cross_entropy_of_its_logits() {
    // 4 anchors with logit 0 and no target: 4 ln 2 = 2.772589, over a score sum that is at least 1, gain ½.
    let head = head(1);
    let got = Loss::default().of(&head, &[], 16, 16).unwrap();
    assert_eq!((got.positives, got.parts[0], got.parts[2]), (0, 0.0, 0.0));
    near(got.parts[1], 0.5 * 4.0 * 2f64.ln());
    got.total.backward();
    // d softplus(0) = ½, gain ½
    near(head.levels[0].scores.grad().double_value(&[0, 0, 1, 1]), 0.25);
}

/// One box, one anchor. Predicted −2,−2–10,10 (12×12) against 0,0–8,8: cut 64 of 144, same centre, same aspect:
/// CIoU 4/9. The box's only anchor has the best alignment, so its score is its overlap, 4/9.
const SCORE: f64 = 4.0 / 9.0;

#[test]
fn one_box_costs_what_the_pencil_says() {
    let got = Loss::default().of(&head(1), &[cell(0)], 16, 16).unwrap();
    assert_eq!(got.positives, 1);
    // The sum of scores is 4/9, below 1: divided by 1.
    near(got.parts[0], 7.5 * (1.0 - SCORE) * SCORE);
    // softplus(0) four times, less 4/9 · 0
    near(got.parts[1], 0.5 * 4.0 * 2f64.ln());
    // Each side is 4 px = 0.5 strides away: half bin 0, half bin 1: (ln 2 + ln 4) / 2 = 1.5 ln 2.
    near(got.parts[2], 1.5 * 1.5 * 2f64.ln() * SCORE);
    near(got.total.double_value(&[]), got.parts.iter().sum());
}

#[test]
fn three_images_share_the_score_sum_and_the_total_is_for_three() {
    // Three equal images: every part triples, and the score sum is 3 · 4/9 = 4/3: each part is that of one image · 9/4.
    let one = Loss::default().of(&head(1), &[cell(0)], 16, 16).unwrap();
    let three = Loss::default().of(&head(3), &[cell(2), cell(0), cell(1)], 16, 16).unwrap();
    for (three, one) in three.parts.iter().zip(one.parts) {
        near(*three, one * 2.25);
    }
    near(three.total.double_value(&[]), 3.0 * three.parts.iter().sum::<f64>());
}

#[test]
fn descent_finds_the_boxes_and_their_classes() {
    let head = head(2);
    let targets = [cell(0), Target { cx: 0.75, cy: 0.75, ..cell(1) }];
    let level = &head.levels[0];
    let mut losses = Loss::default().of(&head, &targets, 16, 16).unwrap();
    for _ in 0..100 {
        losses.total.backward();
        tch::no_grad(|| {
            for t in [&level.boxes, &level.scores] {
                let (mut data, mut grad) = (t.detach(), t.grad());
                data -= &grad * 0.05;
                let _ = grad.zero_();
            }
        });
        losses = Loss::default().of(&head, &targets, 16, 16).unwrap();
    }
    // The truth is half a stride away on every side; the start was 0.75.
    let sides = dfl::expectation(&level.boxes.detach().select(0, 0).reshape([4, 3, 4]).permute([0, 2, 1]).log_softmax(-1, Kind::Float));
    assert!((sides.double_value(&[0, 0]) - 0.5).abs() < 0.1, "{:?}", Vec::<f32>::try_from(sides.flatten(0, -1)));
    let logit = |image: i64, y: i64, x: i64| level.scores.double_value(&[image, 0, y, x]);
    let (right, wrong) = (logit(0, 0, 0), logit(0, 1, 1));
    assert!(right > 0.5 && wrong < -0.5, "{right} {wrong}");
}

#[test]
fn a_class_that_the_head_lacks_is_an_error() {
    assert!(Loss::default().of(&head(1), &[Target { class: 1, ..cell(0) }], 16, 16).is_err());
}
