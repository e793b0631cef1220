//! Writes what `bench/parity/golden.py` gives to ultralytics: `cargo run --release --example parity_inputs -- DIR`.
#![allow(clippy::unwrap_used, missing_docs, reason = "a developer's tool: scripts/parity calls it")]

#[path = "../tests/parity/inputs.rs"]
mod inputs;

use std::{fs, path::PathBuf};

use edgeloop_model::{Array, Scale, Weights, pt, safetensors};

fn main() {
    let dir = PathBuf::from(std::env::args().nth(1).expect("the folder to write to"));
    fs::create_dir_all(&dir).unwrap();
    for scale in [Scale::N, Scale::S] {
        fs::write(dir.join(format!("{scale}.pt")), pt::write(&inputs::weights(scale)).unwrap()).unwrap();
    }
    let images = inputs::images().iter().map(|&byte| f32::from(byte)).collect();
    let targets: Vec<f32> =
        inputs::targets().iter().flat_map(|&(image, class, cx, cy, w, h)| [image as f32, class as f32, cx, cy, w, h]).collect();
    let (mut truths, mut found) = (Vec::new(), Vec::new());
    for (number, picture) in inputs::pictures().iter().enumerate() {
        for t in &picture.truths {
            truths.extend([number as f32, t.class as f32, t.bbox.x1, t.bbox.y1, t.bbox.x2, t.bbox.y2]);
        }
        for d in &picture.found {
            found.extend([number as f32, d.class as f32, d.confidence, d.bbox.x1, d.bbox.y1, d.bbox.x2, d.bbox.y2]);
        }
    }
    let mut out = Weights::new();
    out.insert("images", Array::f32([inputs::IMAGES, 3, inputs::SIDE, inputs::SIDE], images));
    out.insert("targets", Array::f32([targets.len() / 6, 6], targets));
    out.insert("truths", Array::f32([truths.len() / 6, 6], truths));
    out.insert("detections", Array::f32([found.len() / 7, 7], found));
    fs::write(dir.join("inputs.safetensors"), safetensors::write(&out, &[]).unwrap()).unwrap();
}
