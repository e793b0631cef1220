//! The model that is measured.

use std::path::PathBuf;

use anyhow::Context;
use edgeloop_model::onnx::{OnnxMeta, emit};
use edgeloop_model::{Network, Scale, Weights};
use edgeloop_store::{FileKind, Store};

/// A model to measure with.
pub struct Subject {
    /// For people.
    pub name: String,
    /// Its ONNX file.
    pub onnx: Vec<u8>,
    /// Input side in pixels.
    pub side: usize,
}

/// The promoted model, or one that is made here.
///
/// # Errors
/// The store cannot be read, or nothing is promoted in it.
pub fn subject(model_dir: Option<PathBuf>, size: u32) -> anyhow::Result<Subject> {
    let Some(dir) = model_dir else {
        let side = (size / 32 * 32) as usize;
        let network = Network::yolov8(Scale::N, 3);
        let names = ["a", "b", "c"].map(String::from).into();
        let meta = OnnxMeta { names, imgsz: side, stride: 32, extra: Vec::new() };
        let onnx = emit(&network, &Weights::init(&network, 1), &meta).context("the model to measure with cannot be written")?;
        return Ok(Subject { name: "YOLOv8n with random weights".into(), onnx, side });
    };
    let store = Store::open(&dir)?;
    let pointer = store.pointer()?.with_context(|| format!("nothing is promoted in {}; leave --model-dir out", dir.display()))?;
    let onnx = store.read_verified(&pointer.metadata, FileKind::Onnx)?;
    Ok(Subject { name: format!("version {}", pointer.version()), onnx, side: pointer.metadata.image_size as usize })
}
