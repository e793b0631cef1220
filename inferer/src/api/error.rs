//! Errors as clients see them: one table from what happened to status, type and message.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use edgeloop_vision::decode::DecodeError;
use serde_json::json;

use crate::infer::InferError;

/// An answer that is no detections. `{"error": "<type>", "message": "<what to do>"}` with its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// HTTP status.
    pub status: StatusCode,
    /// The type: short, stable, for programs.
    pub kind: &'static str,
    /// What is wrong and what to do, for people.
    pub message: String,
    /// After how long another try makes sense.
    pub retry_after: Option<Duration>,
    /// Whether the connection must end: its request was not read to the end.
    pub close: bool,
}

impl ApiError {
    /// An error of the request.
    pub fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, kind, message: message.into(), retry_after: None, close: false }
    }

    fn retry(self, after: Duration) -> Self {
        Self { retry_after: Some(after), ..self }
    }

    /// The same, and the connection ends.
    #[must_use]
    pub fn closing(self) -> Self {
        Self { close: true, ..self }
    }

    /// 400 for a body that is not what its type says.
    pub fn bad_request(kind: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, kind, message)
    }

    /// 429: as many requests as may be inside are inside.
    #[must_use]
    pub fn busy() -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "busy", "all places are taken; try again after Retry-After").retry(Duration::from_secs(1))
    }

    /// 503: nothing serves yet.
    #[must_use]
    pub fn no_model() -> Self {
        let message = "no model serves yet: train and publish one, or look at /readyz on the admin port for what is wrong with it";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "no_model", message).retry(Duration::from_secs(5))
    }

    /// 413 for a body over the limit.
    #[must_use]
    pub fn body_too_large(limit: u64) -> Self {
        let message = format!("the body is larger than {limit} bytes; send a smaller image or raise MAX_BODY_BYTES");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message)
    }

    /// 408 for a body that does not arrive.
    #[must_use]
    pub fn body_timeout(limit: Duration) -> Self {
        let message = format!("the body did not arrive within {} s; send it again", limit.as_secs_f32());
        Self::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", message).closing()
    }

    /// 500: our fault, nothing more to say to a client.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the request could not be processed; the log of edgeloop-inferer says why")
    }
}

impl From<DecodeError> for ApiError {
    fn from(error: DecodeError) -> Self {
        let (status, kind) = match &error {
            DecodeError::Empty => (StatusCode::BAD_REQUEST, "empty_image"),
            DecodeError::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "image_too_large"),
            DecodeError::Unsupported(_) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_image"),
            DecodeError::Truncated(_) => (StatusCode::UNPROCESSABLE_ENTITY, "truncated_image"),
            DecodeError::Corrupt { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "corrupt_image"),
        };
        Self::new(status, kind, error.to_string())
    }
}

impl From<InferError> for ApiError {
    fn from(error: InferError) -> Self {
        match error {
            InferError::Decode(error) => error.into(),
            InferError::Busy => Self::busy(),
            InferError::Engine(reason) => {
                tracing::error!(reason, "the model could not be run");
                let message = "the model could not be run; try again after Retry-After";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "engine_failed", message).retry(Duration::from_secs(1))
            }
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = Json(json!({"error": self.kind, "message": self.message}));
        let mut response = (self.status, body).into_response();
        if let Some(after) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
        }
        if self.close {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
