//! What the demo shows at the end: a table, an annotated picture, the training curves, the summary.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result};
use comfy_table::{Table, presets::UTF8_BORDERS_ONLY};
use edgeloop_store::EpochLog;
use edgeloop_vision::{
    boxes::Xyxy,
    decode::{self, Limits},
    draw::{self, Annotation},
    plot::{Chart, Panel, Series},
};
use serde::Serialize;

use super::{MAX_PUBLISH_TO_ANSWER_S, MAX_TOTAL, client::Answer};

/// The detections of one image as a table.
pub fn table(image: &Path, answer: &Answer) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY).set_header(["class", "label", "confidence", "x1", "y1", "x2", "y2"]);
    for d in &answer.detections {
        let corner = |v: f32| format!("{v:.1}");
        table.add_row([
            d.class.to_string(),
            d.label.clone(),
            format!("{:.2}", d.confidence),
            corner(d.bbox[0]),
            corner(d.bbox[1]),
            corner(d.bbox[2]),
            corner(d.bbox[3]),
        ]);
    }
    format!(
        "POST /infer with {} → {} detections by {} ({} {}), {:.1} ms: decode {:.1}, infer {:.1}\n{table}",
        image.file_name().map(|n| n.to_string_lossy()).unwrap_or_default(),
        answer.detections.len(),
        answer.model,
        answer.engine.device,
        answer.engine.precision,
        answer.timing_ms.total,
        answer.timing_ms.decode,
        answer.timing_ms.infer
    )
}

/// The image with its detections drawn, twice as large so that small parts can be told apart.
///
/// # Errors
/// An image that does not decode, a file that cannot be written.
pub fn annotated(jpeg: &[u8], answer: &Answer, path: &Path) -> Result<()> {
    let mut image = decode::decode(jpeg, &Limits::default())?;
    let boxes: Vec<Annotation> = answer
        .detections
        .iter()
        .map(|d| Annotation {
            bbox: Xyxy { x1: d.bbox[0], y1: d.bbox[1], x2: d.bbox[2], y2: d.bbox[3] },
            label: d.label.clone(),
            confidence: Some(d.confidence),
            class: d.class,
        })
        .collect();
    draw::draw_detections(&mut image, &boxes);
    fs::write(path, draw::encode_png(&image)?).with_context(|| format!("writing {}", path.display()))
}

/// Losses and mAP by epoch, as a PNG.
///
/// # Errors
/// A file that cannot be written.
pub fn curves(epochs: &[EpochLog], path: &Path) -> Result<()> {
    // NaN: not measured in that epoch.
    let series = |name: &str, value: fn(&EpochLog) -> f64| Series {
        name: name.to_owned(),
        points: epochs.iter().map(|e| (f64::from(e.epoch), value(e))).filter(|(_, v)| v.is_finite()).collect(),
    };
    let chart = Chart {
        title: "Training".to_owned(),
        x_label: "epoch".to_owned(),
        panels: vec![
            Panel {
                title: "loss".to_owned(),
                y_range: None,
                x_range: None,
                series: vec![series("box", |e| e.box_loss), series("cls", |e| e.cls_loss), series("dfl", |e| e.dfl_loss)],
            },
            Panel {
                title: "mAP on val".to_owned(),
                y_range: Some((0.0, 1.0)),
                x_range: None,
                series: vec![series("mAP50", |e| e.map50), series("mAP50-95", |e| e.map50_95)],
            },
        ],
    };
    fs::write(path, chart.png(1000, 720)?).with_context(|| format!("writing {}", path.display()))
}

/// `summary.json`.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// First model, on val.
    pub map50: f64,
    /// First model, on val.
    pub map50_95: f64,
    /// First training, start to exit.
    pub train_s: f64,
    /// First model: from the pointer's move to the first answer.
    pub publish_to_answer_s: f64,
    /// Sent while the second model was trained and swapped in.
    pub requests: u64,
    /// Of these, without a good answer.
    pub failed_requests: u64,
    /// Published versions, in order.
    pub versions: Vec<String>,
    /// Second model, on val.
    pub second_map50: f64,
    /// Second model, on val.
    pub second_map50_95: f64,
    /// Second training, start to exit.
    pub second_train_s: f64,
    /// Second model: from the pointer's move to its first answer, under traffic.
    pub swap_to_answer_s: f64,
    /// Answers by the version that gave them.
    pub answers_by_version: BTreeMap<String, u64>,
    /// The whole demo.
    pub total_s: f64,
    /// What was not reached; the exit code is 1 when there is any.
    pub missed: Vec<String>,
}

impl Summary {
    /// Compares with what must be reached: mAP50 (of the sample set only) and failures always, times when `strict`.
    pub fn judged(mut self, map50_target: Option<f64>, strict: bool, first_failure: Option<String>) -> Self {
        if let Some(target) = map50_target.filter(|target| self.map50 < *target) {
            self.missed.push(format!("mAP50 of the first model is {:.3}, not {target}", self.map50));
        }
        if self.failed_requests > 0 {
            let why = first_failure.unwrap_or_default();
            self.missed.push(format!("{} of {} requests failed; the first: {why}", self.failed_requests, self.requests));
        }
        if strict && self.total_s > MAX_TOTAL.as_secs_f64() {
            self.missed.push(format!("took {:.0} s, not {}", self.total_s, MAX_TOTAL.as_secs()));
        }
        if strict && self.publish_to_answer_s > MAX_PUBLISH_TO_ANSWER_S {
            self.missed.push(format!("first answer {:.2} s after publishing, not {MAX_PUBLISH_TO_ANSWER_S}", self.publish_to_answer_s));
        }
        self
    }

    /// # Errors
    /// A file that cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        fs::write(path, serde_json::to_vec_pretty(self)?).with_context(|| format!("writing {}", path.display()))
    }

    /// For a person.
    pub fn text(&self, out: &Path) -> String {
        let verdict = match self.missed.as_slice() {
            [] => "The loop works: trained, published, served, trained again and swapped without a failed request.".to_owned(),
            missed => format!("MISSED: {}", missed.join("; ")),
        };
        format!(
            "first model   mAP50 {:.3}, mAP50-95 {:.3}, trained in {:.0} s, answered {:.0} ms after publishing\n\
             second model  mAP50 {:.3}, mAP50-95 {:.3}, trained in {:.0} s, answered {:.0} ms after publishing\n\
             requests      {} across the swap, {} failed\n\
             took          {:.0} s\n\n{verdict}\n\
             Look at {out}/detections.png and {out}/training.png; all figures: {out}/summary.json",
            self.map50,
            self.map50_95,
            self.train_s,
            self.publish_to_answer_s * 1e3,
            self.second_map50,
            self.second_map50_95,
            self.second_train_s,
            self.swap_to_answer_s * 1e3,
            self.requests,
            self.failed_requests,
            self.total_s,
            out = out.display(),
        )
    }
}
