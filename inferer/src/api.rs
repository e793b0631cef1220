//! The serving port: `POST /infer`, what serves, which version should.
//!
//! A request is read, admitted (a place an image, a model), handed to the pipeline and answered; handlers only wait. Bodies in
//! memory, places and connections are bounded each, and who does not fit is refused at once.

pub mod admission;
pub mod auth;
pub mod body;
pub mod error;
mod infer;
mod model;
mod models;
mod openapi;
pub mod options;
mod stats;
mod trace;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::infer::Rules;
use crate::metrics::Metrics;
use crate::pace::Pace;
use crate::pipeline::Pipeline;
use crate::slot::Slot;
use admission::Admission;
use auth::{Auth, Guard, Scope, guard};
use body::Bounds;
use error::ApiError;
pub use model::describe;
pub use models::Models;
pub use trace::LogLines;

/// What the handlers share.
#[derive(Clone)]
pub struct Api {
    /// The model in service.
    pub slot: Slot,
    /// Where admitted requests go.
    pub pipeline: Pipeline,
    /// Who may come in.
    pub admission: Admission,
    /// Who may do what.
    pub auth: Auth,
    /// The store.
    pub models: Models,
    /// How fast images go.
    pub pace: Pace,
    /// Counters.
    pub metrics: Metrics,
    /// Thresholds and picture bounds where a request says nothing.
    pub rules: Arc<Rules>,
    /// Bounds of a body.
    pub bounds: Bounds,
    /// Most images of one request.
    pub max_batch: usize,
    /// Longest time from a request's arrival to its answer.
    pub request_timeout: Duration,
    /// When the process started.
    pub since: Instant,
    /// Failures in the log.
    pub log_lines: LogLines,
    /// Set while the process drains: every answer then asks its client to connect elsewhere.
    pub draining: Arc<AtomicBool>,
}

/// The routes, for a socket or for tests without one. What is not in the OpenAPI document is not here either: the document is
/// made of the routes.
pub fn router(api: Api) -> Router {
    let behind = |scope: Scope| from_fn_with_state(Guard { api: api.clone(), scope }, guard);
    let infer = OpenApiRouter::new()
        .routes(routes!(infer::infer))
        .routes(routes!(model::model))
        .routes(routes!(models::models))
        .routes(routes!(stats::stats))
        .route_layer(behind(Scope::Infer));
    let admin = OpenApiRouter::new().routes(routes!(models::promote)).routes(routes!(models::rollback)).route_layer(behind(Scope::Admin));
    let (router, document) = OpenApiRouter::with_openapi(openapi::head()).merge(infer).merge(admin).split_for_parts();
    let methods = openapi::methods(&document);
    router
        .merge(openapi::routes(&document))
        .method_not_allowed_fallback(move |method: Method, request: Request| {
            let allowed = methods.iter().find(|(path, _)| openapi::fits(path, request.uri().path())).map_or("GET", |(_, method)| method);
            std::future::ready(wrong_method(&method, allowed))
        })
        .fallback(not_found)
        .layer(from_fn_with_state(api.clone(), trace::around))
        .with_state(api)
}

async fn not_found(request: Request) -> ApiError {
    let path: String = request.uri().path().chars().take(200).collect();
    let message = format!("there is nothing at {path}; /docs shows what there is");
    ApiError::new(StatusCode::NOT_FOUND, "not_found", message).closing()
}

fn wrong_method(method: &Method, allowed: &'static str) -> Response {
    let message = format!("{method} is not possible here; use {allowed}");
    let mut response = ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message).closing().into_response();
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    response
}
