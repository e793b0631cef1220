//! Our numbers against those of ultralytics, a yardstick that `scripts/parity` runs: the head's raw output for the same
//! weights, the losses of the same batch, the mAP of the same detections. The figures are in `tests/golden/parity.json`, with
//! the command and the versions that made them.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test fails by panicking")]

#[path = "parity/inputs.rs"]
mod inputs;

use std::path::Path;

use edgeloop_model::{Network, Scale};
use edgeloop_trainer::{
    data::{Batch, Target},
    fit::to_input,
    loss::Loss,
    net::{Head, Yolo},
};
use edgeloop_vision::map::Evaluator;
use serde_json::Value;
use tch::{Device, Kind, Tensor};

/// `PARITY_GOLDEN` lets `scripts/parity` compare with figures made a moment ago.
fn golden() -> Value {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/parity.json");
    let path = std::env::var_os("PARITY_GOLDEN").map_or(own, Into::into);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn batch() -> Batch {
    let targets = inputs::targets().into_iter().map(|(image, class, cx, cy, w, h)| Target { image, class, cx, cy, w, h }).collect();
    Batch { n: inputs::IMAGES, h: inputs::SIDE, w: inputs::SIDE, images: inputs::images(), targets }
}

fn network(scale: Scale) -> Yolo {
    Yolo::from_weights(&Network::yolov8(scale, inputs::CLASSES), Device::Cpu, &inputs::weights(scale)).unwrap()
}

/// Level `l` as the yardstick lays it out: distributions, then class logits, `[n, 64 + classes, h, w]`, flat.
fn flat(head: &Head, level: usize) -> Vec<f64> {
    let level = &head.levels[level];
    let joined = Tensor::cat(&[&level.boxes, &level.scores], 1).to_kind(Kind::Double).contiguous();
    Vec::<f64>::try_from(joined.view(-1)).unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

#[test]
fn the_same_weights_give_the_same_raw_output() {
    let golden = golden();
    for (name, scale) in [("n", Scale::N), ("s", Scale::S)] {
        for (mode, train) in [("eval", false), ("train", true)] {
            // A network for each: in training the running statistics move.
            let net = network(scale);
            let head = tch::no_grad(|| net.try_forward(&to_input(&batch(), Device::Cpu).unwrap(), train)).unwrap();
            let mut worst: f64 = 0.0;
            for (at, level) in golden["scales"][name]["raw"][mode].as_array().unwrap().iter().enumerate() {
                let ours = flat(&head, at);
                assert_eq!(ours.len() as u64, level["values"].as_u64().unwrap());
                let mean = ours.iter().map(|v| v.abs()).sum::<f64>() / ours.len() as f64;
                let close = (mean - number(&level["mean_abs"])).abs() < 1e-4;
                assert!(close, "{name} {mode} level {at}: mean of absolute values {mean}, not {}", level["mean_abs"]);
                for sample in level["samples"].as_array().unwrap() {
                    worst = worst.max((ours[sample[0].as_u64().unwrap() as usize] - number(&sample[1])).abs());
                }
            }
            println!("yolov8{name}, {mode}: raw output differs by at most {worst:.2e}");
            assert!(worst <= 1e-3, "yolov8{name}, {mode}: raw output differs by {worst}");
        }
    }
}

#[test]
fn the_same_batch_gives_the_same_losses() {
    let golden = golden();
    for (name, scale) in [("n", Scale::N), ("s", Scale::S)] {
        let (net, batch) = (network(scale), batch());
        let head = net.try_forward(&to_input(&batch, Device::Cpu).unwrap(), true).unwrap();
        let losses = Loss::default().of(&head, &batch.targets, batch.h, batch.w).unwrap();
        for (part, ours) in ["box", "cls", "dfl"].into_iter().zip(losses.parts) {
            let theirs = number(&golden["scales"][name]["losses"][part]);
            let off = (ours - theirs).abs() / theirs;
            println!("yolov8{name}: {part} loss {ours:.5}, theirs {theirs:.5}, off by {:.4} %", off * 100.0);
            assert!(off <= 0.005, "yolov8{name}: {part} loss is {ours}, theirs is {theirs}");
        }
    }
}

#[test]
fn the_same_detections_give_the_same_map() {
    let golden = golden();
    let mut evaluator = Evaluator::new(inputs::CLASSES);
    for picture in inputs::pictures() {
        evaluator.add_image(&picture.found, &picture.truths);
    }
    let (coco, yolo) = (evaluator.finish(), evaluator.by_trapezoid());
    let ours = [
        ("coco", "map50", coco.map50),
        ("coco", "map50_95", coco.map50_95),
        ("trapezoid", "map50", yolo.0),
        ("trapezoid", "map50_95", yolo.1),
    ];
    for (convention, name, ours) in ours {
        let theirs = number(&golden["map"][convention][name]);
        println!("{name} by {convention}: {ours:.5}, theirs {theirs:.5}");
        assert!((ours - theirs).abs() <= 0.002, "{name} by {convention} is {ours}, theirs is {theirs}");
    }
}
