//! `GET /api/stats`: what dashboards of video recorders read.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::State;
use edgeloop_engine::Device;
use edgeloop_service::build;
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::error::ErrorBody;

/// The one detector's name: the same whichever engine runs, so that a dashboard finds it after a fallback too.
const NAME: &str = "edgeloop";

/// In the shape that Frigate gave it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Stats {
    /// By name; there is one.
    detectors: BTreeMap<&'static str, Detector>,
    /// Images inferred a second, over the last 10 s.
    detection_fps: f64,
    /// The process.
    service: Service,
}

/// The engine at work.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Detector {
    /// `onnx` (ONNX Runtime) or `openvino`; empty before a model serves.
    #[serde(rename = "type")]
    kind: &'static str,
    /// Running mean of the model's runs in milliseconds; 0 before the first.
    inference_speed: f64,
    /// When the image that has been at work for longest began, in seconds since 1970; 0 while idle.
    detection_start: f64,
    /// This process.
    pid: u32,
}

/// The process.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Service {
    /// Seconds since it started.
    uptime: u64,
    /// Its version.
    version: &'static str,
    /// Now, in seconds since 1970.
    last_updated: u64,
}

/// Inference speed, frame rate and process, as Frigate's `/api/stats` has them.
#[utoipa::path(get, path = "/api/stats", tag = "models", security(("token" = []), ()), responses(
    (status = 200, description = "The figures now", body = Stats),
    (status = "4XX", description = "No right to it", body = ErrorBody),
))]
pub(super) async fn stats(State(api): State<Api>) -> Json<Stats> {
    // Frigate's words for them: ONNX Runtime with whatever provider is `onnx`.
    let kind = api.slot.get().map_or("", |serving| match serving.engines.square().info().device {
        Device::OpenVino => "openvino",
        _ => "onnx",
    });
    let hundredths = |value: f64| (value * 100.0).round() / 100.0;
    let detector = Detector {
        kind,
        inference_speed: hundredths(api.pace.mean_ms()),
        detection_start: api.pace.working_since(),
        pid: std::process::id(),
    };
    Json(Stats {
        detectors: BTreeMap::from([(NAME, detector)]),
        detection_fps: hundredths(api.metrics.infer_fps()),
        service: Service {
            uptime: api.since.elapsed().as_secs(),
            version: build::VERSION,
            last_updated: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
        },
    })
}
