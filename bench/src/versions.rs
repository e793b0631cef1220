//! Versions to serve that need no training: real YOLOv8n networks with random weights, each of which finds its own things.
//!
//! Random weights give every place nearly the same score. The class branch's last layer is scaled and shifted so that a few
//! dozen places of a picture stand out, all of one class, which is another one for each seed: random networks often agree about
//! places (the picture's edges), so that alone would not tell the versions apart.

use anyhow::Context;
use edgeloop_engine::{Device, InputView, LoadOptions, Precision};
use edgeloop_model::onnx::{OnnxMeta, emit};
use edgeloop_model::{Array, Data, Network, Scale, Weights, safetensors};
use edgeloop_store::{Architecture, Decision, Draft, FileKind, Owner, Producer, Store};
use edgeloop_vision::{Image, encode::encode_jpeg, letterbox::letterbox_chw};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Input side in pixels.
pub const SIDE: u32 = 640;
const CLASSES: [&str; 3] = ["one", "two", "three"];
/// Spread of the class logits over the places of a picture, after scaling.
const SPREAD: f32 = 1.5;
/// So many scores of a picture stand out.
const OUTSTANDING: usize = 60;
/// The logit of 0.62: so far above 0.25, from which on serving shows a detection, that what a lower precision moves stays above.
const SHOWN: f32 = 0.5;
/// How far below the logits of the classes lie that a version never finds.
const HIDDEN: f32 = 20.0;

/// A picture of coloured rectangles, another one for each seed.
pub fn picture(width: u32, height: u32, seed: u64) -> Image {
    let mut dice = ChaCha8Rng::seed_from_u64(seed);
    let mut image = Image { width, height, data: vec![96; (width * height * 3) as usize] };
    for _ in 0..60 {
        let (x, y) = (dice.random_range(0..width), dice.random_range(0..height));
        let (w, h) = (dice.random_range(8..width / 4), dice.random_range(8..height / 3));
        let colour: [u8; 3] = dice.random();
        for row in y..(y + h).min(height) {
            for column in x..(x + w).min(width) {
                let at = ((row * width + column) * 3) as usize;
                // A slope, so that a decoder has something to do.
                let shade = ((row + column) % 32) as u8;
                image.data[at..at + 3].copy_from_slice(&colour.map(|c| c.saturating_add(shade)));
            }
        }
    }
    image
}

/// The same as a JPEG.
///
/// # Errors
/// Never for sizes above 32.
pub fn jpeg(width: u32, height: u32, seed: u64) -> anyhow::Result<Vec<u8>> {
    Ok(encode_jpeg(&picture(width, height, seed), 90)?)
}

/// Publishes and promotes a version with weights from `seed`; its name.
///
/// # Errors
/// No ONNX Runtime, or a store that cannot be written.
pub fn publish(store: &Store, seed: u64) -> anyhow::Result<String> {
    let network = Network::yolov8(Scale::N, CLASSES.len());
    let side = SIDE as usize;
    let mut images = vec![0.0; 4 * 3 * side * side];
    for (n, input) in images.chunks_exact_mut(3 * side * side).enumerate() {
        letterbox_chw(&picture(1280, 720, n as u64), SIDE, SIDE, input);
    }
    let mut weights = Weights::init(&network, seed);
    stand_out(&network, &mut weights, &images, seed as usize % CLASSES.len())?;
    let (onnx, shape, output) = run(&network, &weights, &images)?;
    let mut check = Weights::new();
    check.insert("images", Array::f32([4, 3, side, side], images));
    check.insert("output0", Array::f32(shape, output));
    let draft = Draft {
        architecture: Architecture { family: "yolov8".into(), scale: "n".into() },
        image_size: SIDE,
        classes: CLASSES.map(str::to_owned).into(),
        dataset: Default::default(),
        training: Default::default(),
        metrics: Default::default(),
        compared_with: None,
        producer: Producer { name: "bench".into(), version: "0".into(), host: "here".into() },
        files: vec![
            (FileKind::Weights, b"not needed here".to_vec()),
            (FileKind::Onnx, onnx),
            (FileKind::Check, safetensors::write(&check, &[])?),
        ],
    };
    let lock = store.lock_training(&Owner::current("bench"))?;
    Ok(store.publish(&lock, draft, Decision::Promote { reason: "bench".into() })?.version.to_string())
}

/// The ONNX file, and its outputs for four images.
fn run(network: &Network, weights: &Weights, images: &[f32]) -> anyhow::Result<(Vec<u8>, [usize; 3], Vec<f32>)> {
    let side = SIDE as usize;
    let meta = OnnxMeta { names: CLASSES.map(str::to_owned).into(), imgsz: side, stride: 32, extra: Vec::new() };
    let onnx = emit(network, weights, &meta)?;
    let options = LoadOptions { device: Device::Cpu, precision: Precision::Fp32, threads: 2, height: side, width: side };
    let output = edgeloop_engine::load(&onnx, &options)?.run(InputView { n: 4, h: side, w: side, data: images })?;
    Ok((onnx, output.shape, output.data))
}

fn stand_out(network: &Network, weights: &mut Weights, images: &[f32], class: usize) -> anyhow::Result<()> {
    let (_, [_, _, anchors], output) = run(network, weights, images)?;
    let logit = |score: &f32| (score / (1.0 - score)).ln();
    let mut logits: Vec<f32> = output[(4 + class) * anchors..(5 + class) * anchors].iter().map(logit).collect();
    logits.sort_by(f32::total_cmp);
    let mean = logits.iter().sum::<f32>() / logits.len() as f32;
    let spread = (logits.iter().map(|l| (l - mean).powi(2)).sum::<f32>() / logits.len() as f32).sqrt();
    let factor = SPREAD / spread.max(1e-6);
    let outstanding = logits[logits.len() - OUTSTANDING];
    for level in &network.detect().classes {
        let [.., last] = level;
        let mut change = |name: String, change: &dyn Fn(usize, f32) -> f32| {
            let array = weights.get_mut(&name).with_context(|| format!("no {name}"))?;
            if let Data::F32(values) = &mut array.data {
                values.iter_mut().enumerate().for_each(|(at, value)| *value = change(at, *value));
            }
            anyhow::Ok(())
        };
        // logit = w·x + b becomes factor · logit − factor · outstanding + SHOWN; of the other classes far below that.
        let hidden = |at: usize| if at == class { 0.0 } else { HIDDEN };
        change(format!("{}.weight", last.name), &|_, w| w * factor)?;
        change(format!("{}.bias", last.name), &|at, b| (b - outstanding) * factor + SHOWN - hidden(at))?;
    }
    Ok(())
}
