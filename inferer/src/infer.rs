//! One image through one model: decode, letterbox, engine, detections. Blocks; called from the pipeline's threads and from
//! the folder's, never from a thread that serves connections.

use std::time::{Duration, Instant};

use edgeloop_engine::{Device, Job, Precision, SubmitError};
use edgeloop_store::Version;
use edgeloop_vision::decode::{self, DecodeError, Limits};
use edgeloop_vision::letterbox::letterbox_chw;
use edgeloop_vision::nms::{NmsConfig, Postprocess};
use serde::Serialize;

use crate::slot::Serving;

/// What is the same for every image.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Bounds of a picture.
    pub limits: Limits,
    /// Thresholds.
    pub nms: NmsConfig,
}

/// Buffers that a thread keeps from image to image.
#[derive(Default)]
pub struct Scratch {
    input: Vec<f32>,
    post: Postprocess,
}

/// One found object, as the contract has it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Found {
    /// Index into the model's class names.
    pub class: u32,
    /// Class score, to four digits.
    pub confidence: f64,
    /// Class name.
    pub label: String,
    /// `[x1, y1, x2, y2]` in pixels of the upright image, to a hundredth.
    #[serde(rename = "box")]
    pub bounds: [f64; 4],
}

/// Size of the upright image in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Size {
    /// Width.
    pub width: u32,
    /// Height.
    pub height: u32,
}

/// What ran the model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EngineSeen {
    /// ONNX Runtime (`cpu`) or `openvino`.
    pub device: Device,
    /// Its arithmetic.
    pub precision: Precision,
    /// Why the engine that was asked for did not run it; null when it did.
    pub fallback: Option<String>,
}

/// Where the time went, in milliseconds to the microsecond.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Timing {
    /// Body to letterboxed input.
    pub decode: f64,
    /// Waiting: for a decoding thread, then for the engine.
    pub queue: f64,
    /// The model's run.
    pub infer: f64,
    /// Output to detections.
    pub post: f64,
    /// From the body's arrival to the answer.
    pub total: f64,
}

/// An answered image.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    /// Most confident first.
    pub detections: Vec<Found>,
    /// The version that answered.
    pub model: Version,
    /// The upright image.
    pub image: Size,
    /// What ran the model.
    pub engine: EngineSeen,
    /// Where the time went.
    pub timing_ms: Timing,
}

/// Why an image has no answer.
#[derive(Debug, thiserror::Error)]
pub enum InferError {
    /// It cannot be decoded.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The engine's queue is full.
    #[error("the model's queue is full")]
    Busy,
    /// The engine failed or stopped.
    #[error("the model could not be run: {0}")]
    Engine(String),
}

/// How long each step took, as the metrics want it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Spent {
    /// Body to letterboxed input.
    pub decode: Duration,
    /// Waiting for the engine.
    pub queue: Duration,
    /// The model's run.
    pub infer: Duration,
    /// Output to detections.
    pub post: Duration,
}

/// Milliseconds to the microsecond.
#[must_use]
pub fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

/// Runs one encoded image through `serving`. `timing_ms.total` and the wait before this call are the caller's to add.
///
/// # Errors
/// The image cannot be decoded, or the engine is busy, stopped or failed.
pub fn infer(serving: &Serving, encoded: &[u8], rules: &Rules, scratch: &mut Scratch) -> Result<(Answer, Spent), InferError> {
    let started = Instant::now();
    let image = decode::decode(encoded, &rules.limits)?;
    let resident = serving.engines.pick(image.width, image.height);
    let (height, width) = (resident.height as usize, resident.width as usize);
    scratch.input.resize(3 * height * width, 0.0);
    let place = letterbox_chw(&image, resident.width, resident.height, &mut scratch.input);
    let size = Size { width: image.width, height: image.height };
    drop(image);
    let decode = started.elapsed();

    let job = Job { n: 1, h: height, w: width, data: std::mem::take(&mut scratch.input) };
    let receiver = match resident.pool.submit(job) {
        Ok(receiver) => receiver,
        Err(SubmitError::Busy(job)) => {
            scratch.input = job.data;
            return Err(InferError::Busy);
        }
        Err(stopped @ SubmitError::Stopped(_)) => return Err(InferError::Engine(stopped.to_string())),
    };
    let done = receiver.blocking_recv().map_err(|_| InferError::Engine("the engine's thread stopped during the run".into()))?;
    scratch.input = done.data;
    let output = done.output.map_err(|e| InferError::Engine(e.to_string()))?;

    let started = Instant::now();
    let [_, rows, anchors] = output.shape;
    let classes = &serving.metadata.classes;
    if rows != classes.len() + 4 {
        return Err(InferError::Engine(format!("its output has {rows} rows, expected 4 + {} classes", classes.len())));
    }
    let found = scratch.post.run(&output.data, classes.len(), anchors, &rules.nms);
    let detections = found
        .into_iter()
        .map(|d| {
            let b = place.to_image(d.bbox);
            Found {
                class: d.class,
                confidence: round(d.confidence, 1e4),
                label: classes.get(d.class as usize).cloned().unwrap_or_default(),
                bounds: [b.x1, b.y1, b.x2, b.y2].map(|v| round(v, 1e2)),
            }
        })
        .collect();
    let post = started.elapsed();

    let info = resident.info();
    let engine = EngineSeen { device: info.device, precision: info.precision, fallback: resident.fallback.clone() };
    let spent = Spent { decode, queue: done.queued, infer: done.ran, post };
    let timing_ms = Timing { decode: ms(decode), queue: ms(done.queued), infer: ms(done.ran), post: ms(post), total: 0.0 };
    Ok((Answer { detections, model: serving.version().clone(), image: size, engine, timing_ms }, spent))
}

/// To the nearest `1 / steps`, so that JSON shows 0.93 and not the binary fraction nearest to it.
fn round(value: f32, steps: f64) -> f64 {
    (f64::from(value) * steps).round() / steps
}
