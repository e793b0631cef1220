//! Errors as clients see them: one table from what happened to status, type and message.

use std::borrow::Cow;
use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use edgeloop_vision::decode::DecodeError;
use serde::Serialize;
use utoipa::ToSchema;

use crate::infer::InferError;

const LATE: &str = "deadline_exceeded";

/// The shape of every error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ErrorBody {
    /// The type: short, stable, for programs.
    #[schema(value_type = String, example = "busy")]
    pub error: Cow<'static, str>,
    /// What is wrong and what to do, for people.
    #[schema(example = "all places are taken; try again after Retry-After")]
    pub message: String,
}

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
    /// More for the log, nothing for the client.
    pub detail: Option<String>,
}

/// What the log says about an answer that is an error; travels in the response's extensions.
#[derive(Debug, Clone)]
pub struct Logged {
    /// [`ApiError::kind`].
    pub kind: &'static str,
    /// [`ApiError::detail`].
    pub detail: Option<String>,
}

impl ApiError {
    /// An error of the request.
    pub fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, kind, message: message.into(), retry_after: None, close: false, detail: None }
    }

    /// The same, and after how long another try makes sense.
    #[must_use]
    pub fn retry(self, after: Duration) -> Self {
        Self { retry_after: Some(after), ..self }
    }

    /// The same, and what the log says besides.
    #[must_use]
    pub fn because(self, detail: impl Into<String>) -> Self {
        Self { detail: Some(detail.into()), ..self }
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

    /// 429: the memory for bodies that are arriving is used up.
    #[must_use]
    pub fn no_memory() -> Self {
        let message = "too many bytes are arriving at once; try again after Retry-After";
        Self::new(StatusCode::TOO_MANY_REQUESTS, "busy", message).retry(Duration::from_secs(1))
    }

    /// 400: a body without a byte, or a file without one.
    #[must_use]
    pub fn empty_body() -> Self {
        Self::bad_request("empty_body", "the body is empty; send {\"image\": \"<base64>\"} or an image file")
    }

    /// The deadline passed first: 408 where the request set it itself, 504 where the server did.
    #[must_use]
    pub fn late(own: bool) -> Self {
        let (status, message) = if own {
            (StatusCode::REQUEST_TIMEOUT, "the answer was not ready within timeout_ms; allow more, or send less at once")
        } else {
            (StatusCode::GATEWAY_TIMEOUT, "the answer was not ready within REQUEST_TIMEOUT; try again after Retry-After")
        };
        Self::new(status, LATE, message).retry(Duration::from_secs(1))
    }

    /// Whether its deadline passed.
    #[must_use]
    pub fn is_late(&self) -> bool {
        self.kind == LATE
    }

    /// Whether another image in its place would have met the same.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.status.is_server_error() || self.status == StatusCode::TOO_MANY_REQUESTS || self.is_late()
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

    /// 413 for more images than a request may bring.
    #[must_use]
    pub fn batch_too_large(images: usize, most: usize) -> Self {
        let message = format!("the request has {images} images, at most {most} are taken at once (MAX_BATCH, QUEUE); send them in parts");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "batch_too_large", message)
    }

    /// 408 for a body that does not arrive.
    #[must_use]
    pub fn body_timeout(limit: Duration) -> Self {
        let message = format!("the body did not arrive within {} s; send it again", limit.as_secs_f32());
        Self::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", message).closing()
    }

    /// The error's shape: `{"error": "<type>", "message": "<what to do>"}`.
    #[must_use]
    pub fn body(&self) -> ErrorBody {
        ErrorBody { error: self.kind.into(), message: self.message.clone() }
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
            // Nobody reads the second one's answer.
            InferError::Late | InferError::Gone => Self::late(false),
            InferError::Engine(reason) => {
                let message = "the model could not be run; try again after Retry-After";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "engine_failed", message).retry(Duration::from_secs(1)).because(reason)
            }
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body())).into_response();
        response.extensions_mut().insert(Logged { kind: self.kind, detail: self.detail });
        if let Some(after) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"edgeloop\""));
        }
        if self.close {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
