//! One image through one model: decode, letterbox, engine, detections. Blocks; called from the pipeline's threads and from
//! the folder's, never from a thread that serves connections.

use std::sync::Arc;
use std::time::{Duration, Instant};

use edgeloop_engine::{Device, Job, Precision, SubmitError};
use edgeloop_store::Version;
use edgeloop_vision::decode::{self, DecodeError, Limits};
use edgeloop_vision::letterbox::{Letterbox, letterbox_reduced_chw};
use edgeloop_vision::nms::{NmsConfig, Postprocess};
use serde::Serialize;
use utoipa::ToSchema;

use crate::engines::Resident;
use crate::slot::{Label, Serving};

/// What an image may be and what is wanted of it: the settings' rules, or a request's own on top of them.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Bounds of a picture.
    pub limits: Limits,
    /// Thresholds.
    pub nms: NmsConfig,
    /// The lowest score of each class, where classes differ; infinity leaves one out.
    pub floors: Option<Arc<[f32]>>,
}

/// Buffers that a thread keeps from image to image.
#[derive(Default)]
pub struct Scratch {
    input: Vec<f32>,
    post: Postprocess,
}

/// One found object, as the contract has it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Found {
    /// Index into the model's class names.
    pub class: u32,
    /// Class score, to four digits.
    pub confidence: f64,
    /// Class name.
    #[schema(value_type = String)]
    pub label: Label,
    /// `[x1, y1, x2, y2]` in pixels of the upright image, to a hundredth.
    #[serde(rename = "box")]
    pub bounds: [f64; 4],
}

/// Size of the upright image in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Size {
    /// Width.
    pub width: u32,
    /// Height.
    pub height: u32,
}

/// What ran the model.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct EngineSeen {
    /// ONNX Runtime (`cpu`) or `openvino`.
    #[schema(value_type = String, example = "cpu")]
    pub device: Device,
    /// Its arithmetic.
    #[schema(value_type = String, example = "fp32")]
    pub precision: Precision,
    /// Why the engine that was asked for did not run it; null when it did.
    pub fallback: Option<String>,
}

/// Where the time went, in milliseconds to the microsecond.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, ToSchema)]
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
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Answer {
    /// Most confident first.
    pub detections: Vec<Found>,
    /// The version that answered.
    #[schema(value_type = String, example = "20261121_030000")]
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
    /// Its deadline passed before the model was run.
    #[error("its deadline passed before the model was run")]
    Late,
    /// Whoever asked has gone.
    #[error("nobody waits for it any more")]
    Gone,
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

/// An image may be tried on so many engines: the shape's own, the square one, the safe one.
const MOST_TRIES: usize = 3;

/// Runs one encoded image through `serving`. `timing_ms.total` and the wait before this call are the caller's to add.
/// `still` is asked before decoding and before the model's run, so that work that nobody waits for is not done.
///
/// An engine that fails on it is left for another one, which runs it again: see [`Engines::fall_back`](crate::engines::Engines::fall_back).
///
/// # Errors
/// The image cannot be decoded, or the engine is busy, stopped or failed, and there is no other; or whatever `still` says.
pub fn infer(
    serving: &Serving,
    encoded: &[u8],
    rules: &Rules,
    still: &dyn Fn() -> Result<(), InferError>,
    scratch: &mut Scratch,
) -> Result<(Answer, Spent), InferError> {
    let mut instead = None;
    for _ in 1..MOST_TRIES {
        match attempt(serving, encoded, rules, still, scratch, instead.take()) {
            Err((InferError::Engine(reason), Some(failed))) => match serving.engines.fall_back(&failed, &reason) {
                Some(next) => instead = Some(next),
                None => return Err(InferError::Engine(reason)),
            },
            done => return done.map_err(|(error, _)| error),
        }
    }
    attempt(serving, encoded, rules, still, scratch, instead).map_err(|(error, _)| error)
}

/// What failed, and where, if an engine did.
type Failed = (InferError, Option<Arc<Resident>>);

/// One try, on `chosen` or on the engines for the image's shape.
fn attempt(
    serving: &Serving,
    encoded: &[u8],
    rules: &Rules,
    still: &dyn Fn() -> Result<(), InferError>,
    scratch: &mut Scratch,
    chosen: Option<Arc<Resident>>,
) -> Result<(Answer, Spent), Failed> {
    still().map_err(|error| (error, None))?;
    let started = Instant::now();
    let mut picked = chosen;
    let reduced = decode::decode_reduced(encoded, &rules.limits, |width, height| {
        let resident = picked.get_or_insert_with(|| serving.engines.pick(width, height));
        let place = Letterbox::fit(width, height, resident.shape.width, resident.shape.height);
        (place.fit_w, place.fit_h)
    })
    .map_err(|error| (error.into(), None))?;
    let size = Size { width: reduced.width, height: reduced.height };
    let resident = picked.unwrap_or_else(|| serving.engines.square());
    let (height, width) = (resident.shape.height as usize, resident.shape.width as usize);
    scratch.input.resize(3 * height * width, 0.0);
    let place = letterbox_reduced_chw(&reduced, resident.shape.width, resident.shape.height, &mut scratch.input);
    drop(reduced);
    let decode = started.elapsed();

    still().map_err(|error| (error, None))?;
    let failed = |reason: String| (InferError::Engine(reason), Some(resident.clone()));
    let job = Job { n: 1, h: height, w: width, data: std::mem::take(&mut scratch.input) };
    let receiver = match resident.pool.submit(job) {
        Ok(receiver) => receiver,
        Err(SubmitError::Busy(job)) => {
            scratch.input = job.data;
            return Err((InferError::Busy, None));
        }
        Err(stopped @ SubmitError::Stopped(_)) => return Err(failed(stopped.to_string())),
    };
    let done = receiver.blocking_recv().map_err(|_| failed("the engine's thread stopped during the run".into()))?;
    scratch.input = done.data;
    let output = done.output.map_err(|e| failed(e.to_string()))?;

    let started = Instant::now();
    let [_, rows, anchors] = output.shape;
    let labels = &serving.labels;
    if rows != labels.len() + 4 {
        return Err(failed(format!("its output has {rows} rows, expected 4 + {} classes", labels.len())));
    }
    let found = scratch.post.run_above(&output.data, labels.len(), anchors, &rules.nms, rules.floors.as_deref().unwrap_or_default());
    let detections = found
        .iter()
        .map(|d| {
            let b = place.to_image(d.bbox);
            Found {
                class: d.class,
                confidence: round(d.confidence, 1e4),
                label: labels.get(d.class as usize).cloned().unwrap_or_default(),
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
