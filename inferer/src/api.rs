//! The serving port: `POST /infer` and `GET /v1/model`.
//!
//! A request is admitted (a place, a model), read, handed to the pipeline and answered; handlers only wait. A place is held
//! from before the body is read until the answer is there, so what is in memory is bounded by places × body limit.

pub mod body;
pub mod error;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::json;
use tokio::sync::{Semaphore, oneshot};

use crate::infer::Answer;
use crate::metrics::Metrics;
use crate::pipeline::{Pipeline, Task};
use crate::slot::{Serving, Slot};
use error::ApiError;

/// What the handlers share.
#[derive(Clone)]
pub struct Api {
    /// The model in service.
    pub slot: Slot,
    /// Where admitted requests go.
    pub pipeline: Pipeline,
    /// Places.
    pub places: Arc<Semaphore>,
    /// How many requests hold a place: the folder loop waits for none.
    pub traffic: Traffic,
    /// Counters.
    pub metrics: Metrics,
    /// Body limit in bytes.
    pub max_body_bytes: u64,
    /// How long a body may take.
    pub body_timeout: Duration,
    /// Set while the process drains: every answer then asks its client to connect elsewhere.
    pub draining: Arc<AtomicBool>,
}

/// Requests inside, for those who give way to them. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct Traffic {
    inside: Arc<AtomicUsize>,
}

impl Traffic {
    /// Requests inside right now.
    #[must_use]
    pub fn inside(&self) -> usize {
        self.inside.load(Ordering::Relaxed)
    }

    fn enter(&self) -> Inside {
        self.inside.fetch_add(1, Ordering::Relaxed);
        Inside(self.clone())
    }
}

struct Inside(Traffic);

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The routes, for a socket or for tests without one.
pub fn router(api: Api) -> Router {
    Router::new()
        .route("/infer", post(infer).fallback(wrong_method))
        .route("/v1/model", get(model).fallback(wrong_method))
        .fallback(not_found)
        .layer(from_fn_with_state(api.clone(), around))
        .with_state(api)
}

/// Counts every answer and, while draining, closes its connection.
async fn around(State(api): State<Api>, request: Request, next: Next) -> Response {
    let counted = request.uri().path() == "/infer";
    let mut response = next.run(request).await;
    if counted {
        api.metrics.request(response.status());
    }
    if api.draining.load(Ordering::Relaxed) {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

async fn infer(State(api): State<Api>, request: Request) -> Result<Json<Answer>, ApiError> {
    let Ok(_place) = api.places.try_acquire() else {
        api.metrics.dropped();
        return Err(body::refuse(request, api.max_body_bytes, ApiError::busy()).await);
    };
    let _inside = api.traffic.enter();
    let Some(serving) = api.slot.get() else {
        return Err(body::refuse(request, api.max_body_bytes, ApiError::no_model()).await);
    };
    let payload = body::read(request, api.max_body_bytes, api.body_timeout).await?;
    let (reply, answer) = oneshot::channel();
    if !api.pipeline.submit(Task { payload, serving, arrived: Instant::now(), reply }) {
        api.metrics.dropped();
        return Err(ApiError::busy());
    }
    answer.await.unwrap_or_else(|_| Err(ApiError::internal())).map(Json)
}

async fn model(State(api): State<Api>) -> Result<Json<serde_json::Value>, ApiError> {
    let serving = api.slot.get().ok_or_else(ApiError::no_model)?;
    Ok(Json(describe(&serving)))
}

/// The model in service in words for people and programs.
pub fn describe(serving: &Serving) -> serde_json::Value {
    let metadata = &serving.metadata;
    json!({
        "version": metadata.version,
        "sequence": metadata.sequence,
        "created": metadata.created,
        "loaded": DateTime::<Utc>::from(serving.since).to_rfc3339_opts(SecondsFormat::Millis, true),
        "architecture": metadata.architecture,
        "image_size": metadata.image_size,
        "classes": metadata.classes,
        "metrics": {"mAP50": metadata.metrics.map50, "mAP50-95": metadata.metrics.map50_95},
        "parent": metadata.training.parent,
        "engine": serving.engines.describe(),
    })
}

async fn not_found(request: Request) -> ApiError {
    let message = format!("there is nothing at {}; use POST /infer or GET /v1/model", request.uri().path());
    ApiError::new(StatusCode::NOT_FOUND, "not_found", message).closing()
}

async fn wrong_method(method: Method, request: Request) -> Response {
    let allowed = if request.uri().path() == "/infer" { "POST" } else { "GET" };
    let message = format!("{method} is not possible here; use {allowed}");
    let mut response = ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message).closing().into_response();
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    response
}
