//! YOLOv8n with random weights as a version of a store: what examples serve where what is found does not matter.

use edgeloop_engine::{Device, InputView, LoadOptions, Precision};
use edgeloop_model::onnx::{OnnxMeta, emit};
use edgeloop_model::{Array, Network, Scale, Weights, safetensors};
use edgeloop_store::{Architecture, Decision, Draft, FileKind, Owner, Producer, Store};

/// Publishes and promotes it at `side` pixels, another model for each `seed`; its version.
pub fn publish(store: &Store, side: usize, seed: u64) -> String {
    let network = Network::yolov8(Scale::N, 3);
    let classes: Vec<String> = ["bolt", "nut", "washer"].map(Into::into).into();
    let meta = OnnxMeta { names: classes.clone(), imgsz: side, stride: 32, extra: Vec::new() };
    let onnx = emit(&network, &Weights::init(&network, seed), &meta).unwrap();
    let options = LoadOptions { device: Device::Cpu, precision: Precision::Fp32, threads: 1, height: side, width: side };
    let images: Vec<f32> = (0..3 * side * side).map(|i| (i * 2_654_435_761 % 255) as f32 / 255.0).collect();
    let output = edgeloop_engine::load(&onnx, &options).unwrap().run(InputView { n: 1, h: side, w: side, data: &images }).unwrap();
    let mut check = Weights::new();
    check.insert("images", Array::f32([1, 3, side, side], images));
    check.insert("output0", Array::f32(output.shape, output.data));
    let check = safetensors::write(&check, &[]).unwrap();
    let draft = Draft {
        architecture: Architecture { family: "yolov8".into(), scale: "n".into() },
        image_size: side as u32,
        classes,
        dataset: Default::default(),
        training: Default::default(),
        metrics: Default::default(),
        compared_with: None,
        producer: Producer { name: "example".into(), version: "0".into(), host: "here".into() },
        files: vec![(FileKind::Weights, vec![0]), (FileKind::Onnx, onnx), (FileKind::Check, check)],
    };
    let lock = store.lock_training(&Owner::current("example")).unwrap();
    store.publish(&lock, draft, Decision::Promote { reason: "a store to try".into() }).unwrap().version.to_string()
}
