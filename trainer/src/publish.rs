//! From trained weights to a version in the store: export, draft, verdict, hand-over.

use edgeloop_model::{Network, Weights, onnx::OnnxMeta, pt};
use edgeloop_service::build;
use edgeloop_store::{Architecture, ClassMetrics, DatasetInfo, Draft, FileKind, Metrics, Producer, TrainingInfo, Version};
use edgeloop_vision::map::MapReport;
use tch::Device;

use crate::{
    data::{Dataset, ValLoader},
    export, fit, machine,
};

/// Val images in the check file. Four of 640×640 are 20 MB; fewer where they would be more than that.
fn check_images(imgsz: u32) -> usize {
    const BYTES: usize = 20 << 20;
    (BYTES / (3 * 4 * (imgsz as usize).pow(2))).clamp(1, 4)
}

/// Bytes of the check file, about: the images, and outputs of a hundred classes for a box in 8, 16 and 32 pixels each.
pub fn check_bytes(imgsz: u32) -> u64 {
    let pixels = u64::from(imgsz).pow(2);
    check_images(imgsz) as u64 * 4 * (3 * pixels + 104 * (pixels / 64 + pixels / 256 + pixels / 1024))
}

/// The judge's report as the store keeps it.
pub fn metrics(report: &MapReport, classes: &[String]) -> Metrics {
    let per_class = report.per_class.iter().zip(classes).map(|(class, name)| ClassMetrics {
        name: name.clone(),
        boxes: class.boxes,
        map50: class.map50,
        map50_95: class.map50_95,
        precision: class.precision,
        recall: class.recall,
        threshold: None,
    });
    Metrics {
        map50: report.map50,
        map50_95: report.map50_95,
        precision: report.precision,
        recall: report.recall,
        per_class: per_class.collect(),
    }
}

/// The scan's counts as the store keeps them.
pub fn dataset_info(dataset: &Dataset) -> DatasetInfo {
    let report = &dataset.report;
    DatasetInfo {
        images: report.images as u64,
        train_images: dataset.train.len() as u64,
        val_images: dataset.val.len() as u64,
        boxes: report.boxes as u64,
        unlabelled: report.unlabelled as u64,
        skipped: report.skipped.len() as u64,
        fingerprint: dataset.fingerprint.clone(),
        split: dataset.split.clone(),
    }
}

/// A version but for its name.
pub struct Content<'a> {
    /// The network.
    pub network: &'a Network,
    /// What it learnt.
    pub weights: &'a Weights,
    /// What from.
    pub dataset: &'a Dataset,
    /// Side of the input.
    pub imgsz: u32,
    /// How.
    pub training: TrainingInfo,
    /// How well.
    pub metrics: Metrics,
    /// What the gate compared it with.
    pub compared_with: Option<Version>,
}

/// Exports the ONNX, checks it against libtorch on val images, and puts the version together.
///
/// # Errors
/// When the exported model does not give the same numbers, or a val image is gone.
pub fn draft(content: Content<'_>, val: &ValLoader) -> anyhow::Result<Draft> {
    let Content { network, weights, dataset, imgsz, training, metrics, compared_with } = content;
    let sample = val.first(check_images(imgsz))?;
    let images = fit::to_input(&sample.batch, Device::Cpu)?;
    let meta = OnnxMeta {
        names: dataset.classes.clone(),
        imgsz: imgsz as usize,
        stride: edgeloop_model::network::MAX_STRIDE,
        extra: vec![("producer".to_owned(), format!("edgeloop {}", build::VERSION))],
    };
    let export::Exported { onnx, check, difference, .. } = export::export(weights, network, &meta, &images)?;
    tracing::info!(?difference, bytes = onnx.len(), "the exported model agrees with the trained one");
    Ok(Draft {
        architecture: Architecture { family: "yolov8".to_owned(), scale: network.scale.to_string() },
        image_size: imgsz,
        classes: dataset.classes.clone(),
        dataset: dataset_info(dataset),
        training,
        metrics,
        compared_with,
        producer: Producer { name: "edgeloop-trainer".to_owned(), version: build::VERSION.to_owned(), host: machine::host() },
        files: vec![(FileKind::Weights, pt::write(weights)?), (FileKind::Onnx, onnx), (FileKind::Check, check)],
    })
}
