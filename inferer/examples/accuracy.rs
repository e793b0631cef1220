//! What each shortcut of serving does to accuracy: `accuracy MODEL_DIR IMAGES_DIR [ENLARGE]`
//!
//! The promoted version runs over every labelled image (`x.txt` beside it, or under `labels` where it lies under `images`) with full and with
//! reduced decoding, at the square and at the images' own shape, in each precision that this CPU has. `ENLARGE` makes the
//! images so many times larger first (1.5: a third as in 1080p to 640, where 1 is a half as in 720p).
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use edgeloop_engine::{Device, Engine, InputView, LoadOptions, Precision, cpu, load, supports};
use edgeloop_inferer::engines::shapes::Shape;
use edgeloop_store::{FileKind, Store};
use edgeloop_vision::boxes::Xyxy;
use edgeloop_vision::decode::{Limits, decode, decode_reduced};
use edgeloop_vision::encode::encode_jpeg;
use edgeloop_vision::letterbox::{Letterbox, letterbox_reduced_chw, resize};
use edgeloop_vision::map::{Evaluator, Truth};
use edgeloop_vision::nms::{Detection, NmsConfig, Postprocess};

fn images(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            images(&path, found);
        } else if path.extension().is_some_and(|e| e == "jpg") {
            found.push(path);
        }
    }
}

fn truths(image: &Path, width: f32, height: f32) -> Option<Vec<Truth>> {
    let beside = image.with_extension("txt");
    let other = PathBuf::from(beside.to_str()?.replace("/images/", "/labels/"));
    let text = std::fs::read_to_string(&beside).or_else(|_| std::fs::read_to_string(other)).ok()?;
    let row = |line: &str| {
        let v: Vec<f32> = line.split_whitespace().map(|v| v.parse().unwrap()).collect();
        Truth { class: v[0] as u32, bbox: Xyxy::from_cxcywh(v[1] * width, v[2] * height, v[3] * width, v[4] * height) }
    };
    Some(text.lines().filter(|l| !l.trim().is_empty()).map(row).collect())
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let enlarge: f64 = arguments.get(2).map_or(1.0, |v| v.parse().unwrap());
    let store = Store::open(Path::new(&arguments[0])).unwrap();
    let pointer = store.pointer().unwrap().unwrap();
    let onnx = store.read_verified(&pointer.metadata, FileKind::Onnx).unwrap();
    let (side, classes) = (pointer.metadata.image_size, pointer.metadata.classes.len());
    let mut paths = Vec::new();
    images(Path::new(&arguments[1]), &mut paths);
    paths.sort();
    let mut set: Vec<(Vec<u8>, Vec<Truth>)> = Vec::new();
    for path in &paths {
        let bytes = std::fs::read(path).unwrap();
        let image = decode(&bytes, &Limits::default()).unwrap();
        let (w, h) = ((f64::from(image.width) * enlarge) as u32, (f64::from(image.height) * enlarge) as u32);
        let Some(truths) = truths(path, w as f32, h as f32) else { continue };
        set.push((if enlarge == 1.0 { bytes } else { encode_jpeg(&resize(&image, w, h), 92).unwrap() }, truths));
    }
    println!("version {}, {side} px, {} images enlarged {enlarge} times", pointer.version(), set.len());
    for (device, precision) in [(Device::Cpu, Precision::Fp32), (Device::OpenVino, Precision::Bf16), (Device::OpenVino, Precision::Fp16)] {
        if supports(device, precision, cpu()).is_err() {
            continue;
        }
        let mut engines: HashMap<Shape, Box<dyn Engine>> = HashMap::new();
        for (fitted, reduced) in [(false, false), (false, true), (true, false), (true, true)] {
            let (mut evaluator, mut post) = (Evaluator::new(classes), Postprocess::new());
            for (bytes, truths) in &set {
                let mut shape = Shape::square(side);
                let picture = decode_reduced(bytes, &Limits::default(), |w, h| {
                    shape = if fitted { Shape::fit(side, w, h) } else { shape };
                    let place = Letterbox::fit(w, h, shape.width, shape.height);
                    if reduced { (place.fit_w, place.fit_h) } else { (w, h) }
                })
                .unwrap();
                let (h, w) = (shape.height as usize, shape.width as usize);
                let engine = engines
                    .entry(shape)
                    .or_insert_with(|| load(&onnx, &LoadOptions { device, precision, threads: 1, height: h, width: w }).unwrap());
                let mut input = vec![0.0; 3 * h * w];
                let place = letterbox_reduced_chw(&picture, shape.width, shape.height, &mut input);
                let output = engine.run(InputView { n: 1, h, w, data: &input }).unwrap();
                let found = post.run(&output.data, classes, output.shape[2], &NmsConfig::judging());
                let found: Vec<_> = found.into_iter().map(|d| Detection { bbox: place.to_image(d.bbox), ..d }).collect();
                evaluator.add_image(&found, truths);
            }
            let report = evaluator.finish();
            println!(
                "{device} {precision}, {} input, {} decode: mAP50-95 {:.4}, mAP50 {:.4}",
                if fitted { "fitted" } else { "square" },
                if reduced { "reduced" } else { "full" },
                report.map50_95,
                report.map50
            );
        }
    }
}
