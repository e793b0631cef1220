//! What serves.

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, SecondsFormat, Utc};
use edgeloop_store::{Architecture, Metadata, Version};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::Api;
use super::error::{ApiError, ErrorBody};
use crate::slot::Serving;

/// A version in a few words.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct Summary {
    /// Its name.
    #[schema(value_type = String, pattern = "^[0-9]{8}_[0-9]{6}$", example = "20261121_030000")]
    version: Version,
    /// Its place among all versions ever published in the store.
    sequence: u64,
    /// When it was published, by the publisher's clock.
    #[schema(value_type = String, format = DateTime)]
    created: DateTime<Utc>,
    /// The network.
    #[schema(value_type = ArchitectureSchema)]
    architecture: Architecture,
    /// Side of the square input it was trained at, in pixels.
    image_size: u32,
    /// Class names by index.
    classes: Vec<String>,
    /// How good it is on its val split.
    metrics: Figures,
    /// The version whose weights it started from.
    #[schema(value_type = Option<String>)]
    parent: Option<Version>,
}

/// Mean average precision; null where it is not defined.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct Figures {
    /// At IoU 0.5.
    #[serde(rename = "mAP50")]
    map50: Option<f64>,
    /// Averaged over IoU 0.50 to 0.95.
    #[serde(rename = "mAP50-95")]
    map50_95: Option<f64>,
}

/// The network.
#[derive(ToSchema)]
#[schema(as = Architecture)]
#[allow(dead_code, reason = "it only describes")]
pub(super) struct ArchitectureSchema {
    /// `yolov8`.
    family: String,
    /// `n`, `s`, `m`, `l` or `x`.
    scale: String,
}

/// The model in service.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct ModelInService {
    #[serde(flatten)]
    summary: Summary,
    /// When it was put into service.
    #[schema(format = DateTime)]
    loaded: String,
    /// What runs it.
    #[schema(value_type = EngineInService)]
    engine: Value,
}

/// What runs the model.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it only describes what the engines say of themselves")]
pub(super) struct EngineInService {
    /// `cpu` (ONNX Runtime), `openvino`, …
    device: String,
    /// Its arithmetic.
    precision: String,
    /// The library's own version.
    library_version: String,
    /// Why another engine than the one asked for runs it; null when it does not.
    #[schema(required)]
    fallback: Option<String>,
    /// Why this one.
    reason: String,
    /// What was measured, fastest first.
    measured: Vec<Value>,
    /// What could not be had, and why.
    refused: Vec<Value>,
    /// Models beside each other.
    instances: u64,
    /// Threads in a run of each.
    threads: u64,
    /// Whether one more engine with all cores waits for images that come alone.
    solo: bool,
    /// Input shapes that are ready, height × width.
    shapes: Vec<String>,
    /// What all engines take, in MiB.
    memory_mb: u64,
}

impl From<&Metadata> for Summary {
    fn from(metadata: &Metadata) -> Self {
        // JSON has no NaN; serde_json would write null without the schema's leave.
        let figure = |value: f64| value.is_finite().then_some(value);
        Self {
            version: metadata.version.clone(),
            sequence: metadata.sequence,
            created: metadata.created,
            architecture: metadata.architecture.clone(),
            image_size: metadata.image_size,
            classes: metadata.classes.clone(),
            metrics: Figures { map50: figure(metadata.metrics.map50), map50_95: figure(metadata.metrics.map50_95) },
            parent: metadata.training.parent.clone(),
        }
    }
}

impl From<&Serving> for ModelInService {
    fn from(serving: &Serving) -> Self {
        Self {
            summary: (&serving.metadata).into(),
            loaded: DateTime::<Utc>::from(serving.since).to_rfc3339_opts(SecondsFormat::Millis, true),
            engine: serving.engines.describe(),
        }
    }
}

/// The model in service in words for people and programs.
pub fn describe(serving: &Serving) -> Value {
    serde_json::to_value(ModelInService::from(serving)).unwrap_or_default()
}

/// The model that answers now, and what runs it.
#[utoipa::path(get, path = "/v1/model", tag = "models", security(("token" = []), ()), responses(
    (status = 200, description = "The model in service", body = ModelInService),
    (status = "4XX", description = "No right to it", body = ErrorBody),
    (status = 503, description = "No model serves yet", body = ErrorBody),
))]
pub(super) async fn model(State(api): State<Api>) -> Result<Json<ModelInService>, ApiError> {
    let serving = api.slot.get().ok_or_else(ApiError::no_model)?;
    Ok(Json((&*serving).into()))
}
