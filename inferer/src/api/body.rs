//! From a request's body to an image's bytes, in the three forms of the contract.

use std::borrow::Cow;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Multipart, Request};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use axum::http::{HeaderMap, StatusCode};
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use futures::StreamExt;
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

use super::error::ApiError;
use crate::pipeline::Payload;

/// How a refused body is read on: a client that is still sending would see a reset instead of the answer.
const DRAIN_TIME: Duration = Duration::from_secs(2);
/// As many bytes of it, in units of the body limit.
const DRAIN_LIMITS: u64 = 4;

/// Which of the three forms a request has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    Image,
    Multipart,
    /// No telling type: JSON when it starts with a brace, an image otherwise. `curl -d` says `x-www-form-urlencoded`.
    Unsaid,
}

/// Reads a request's body whole, within `limit` bytes and `time`.
///
/// # Errors
/// 413 on `Content-Length` before a byte is read, or when more comes than was said; 408; 415; 400 for a broken body.
pub async fn read(request: Request, limit: u64, time: Duration) -> Result<Payload, ApiError> {
    let declared = content_length(request.headers());
    if declared.is_some_and(|length| length > limit) {
        return Err(refuse(request, limit, ApiError::body_too_large(limit)).await);
    }
    let form = match form(request.headers()) {
        Ok(form) => form,
        Err(error) => return Err(refuse(request, limit, error).await),
    };
    let deadline = Instant::now() + time;
    let read = async {
        if form == Form::Multipart {
            return multipart(request, limit).await.map(Payload::Image);
        }
        let bytes = collect(request.into_body(), declared, limit).await?;
        let is_json = || bytes.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'{');
        Ok(if form == Form::Json || form == Form::Unsaid && is_json() { Payload::Json(bytes) } else { Payload::Image(bytes) })
    };
    match timeout_at(deadline, read).await {
        Ok(Ok(Payload::Json(bytes) | Payload::Image(bytes))) if bytes.is_empty() => {
            Err(ApiError::bad_request("empty_body", "the body is empty; send {\"image\": \"<base64>\"} or an image file"))
        }
        Ok(payload) => payload,
        Err(_) => Err(ApiError::body_timeout(time)),
    }
}

/// Answers a request that is not wanted with `error`, reading on a bounded rest of its body first.
pub async fn refuse(request: Request, limit: u64, error: ApiError) -> ApiError {
    let declared = content_length(request.headers());
    // A client that asks first has sent nothing, and polling the body would tell it to go on.
    if request.headers().contains_key(EXPECT) || declared == Some(0) {
        return if declared == Some(0) { error } else { error.closing() };
    }
    let most = limit.saturating_mul(DRAIN_LIMITS);
    if declared.is_some_and(|length| length > most) {
        return error.closing();
    }
    let mut body = request.into_body().into_data_stream();
    let drain = async {
        let mut seen = 0;
        while let Some(Ok(chunk)) = body.next().await {
            seen += chunk.len() as u64;
            if seen > most {
                return false;
            }
        }
        true
    };
    match timeout_at(Instant::now() + DRAIN_TIME, drain).await {
        Ok(true) => error,
        _ => error.closing(),
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn form(headers: &HeaderMap) -> Result<Form, ApiError> {
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(Form::Unsaid) };
    let text = value.to_str().unwrap_or_default();
    let kind = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match kind.as_str() {
        "application/json" => Ok(Form::Json),
        "multipart/form-data" => Ok(Form::Multipart),
        "" | "application/octet-stream" | "application/x-www-form-urlencoded" => Ok(Form::Unsaid),
        kind if kind.ends_with("+json") => Ok(Form::Json),
        kind if kind.starts_with("image/") => Ok(Form::Image),
        _ => Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            format!("{kind:?} is not understood; send application/json, multipart/form-data or the image itself as image/jpeg"),
        )),
    }
}

async fn collect(body: Body, declared: Option<u64>, limit: u64) -> Result<Bytes, ApiError> {
    let mut stream = body.into_data_stream();
    // What was declared was checked against the limit; nothing is reserved on a client's word beyond 1 MB.
    let mut bytes = Vec::with_capacity(declared.unwrap_or(0).min(1 << 20) as usize);
    while let Some(chunk) = stream.next().await {
        let chunk =
            chunk.map_err(|e| ApiError::bad_request("broken_body", format!("the body ended early: {e}; send it again")).closing())?;
        if bytes.len() as u64 + chunk.len() as u64 > limit {
            return Err(ApiError::body_too_large(limit).closing());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.into())
}

/// The part named `image`, or else the first that is a file.
async fn multipart(request: Request, limit: u64) -> Result<Bytes, ApiError> {
    let broken = |text: String| {
        ApiError::bad_request("bad_multipart", format!("the multipart body is broken: {text}; send the image as the part \"image\""))
            .closing()
    };
    let mut parts = Multipart::from_request(request, &()).await.map_err(|e| broken(e.body_text()))?;
    let mut file = None;
    let mut seen = 0;
    while let Some(mut part) = parts.next_field().await.map_err(|e| broken(e.body_text()))? {
        let named = part.name() == Some("image");
        let wanted = named || file.is_none() && part.file_name().is_some();
        let mut bytes = Vec::new();
        while let Some(chunk) = part.chunk().await.map_err(|e| broken(e.body_text()))? {
            seen += chunk.len() as u64;
            if seen > limit {
                return Err(ApiError::body_too_large(limit).closing());
            }
            if wanted {
                bytes.extend_from_slice(&chunk);
            }
        }
        if named {
            return Ok(bytes.into());
        }
        if wanted {
            file = Some(Bytes::from(bytes));
        }
    }
    file.ok_or_else(|| ApiError::bad_request("missing_image", "the multipart body has no part named \"image\" and no file; add one"))
}

#[derive(Deserialize)]
struct ImageRequest<'a> {
    #[serde(borrow)]
    image: Cow<'a, str>,
}

/// The image's bytes in `{"image": "<base64>"}`. A data URL, line breaks and missing padding are taken as well.
///
/// # Errors
/// 400: not JSON, no `image`, not base64, empty.
pub fn image_in_json(json: &[u8]) -> Result<Vec<u8>, ApiError> {
    let request: ImageRequest<'_> = serde_json::from_slice(json).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => ApiError::bad_request("missing_image", format!("{error}; send {{\"image\": \"<base64>\"}}")),
        _ => ApiError::bad_request("bad_json", format!("the body is not JSON: {error}; send {{\"image\": \"<base64>\"}}")),
    })?;
    let mut text = request.image;
    if text.starts_with("data:") {
        match text.split_once(";base64,") {
            Some((_, data)) => text = Cow::Owned(data.to_owned()),
            None => return Err(ApiError::bad_request("bad_base64", "the data URL of \"image\" is not base64; encode it so")),
        }
    }
    if text.bytes().any(|b| b.is_ascii_whitespace()) {
        text = Cow::Owned(text.chars().filter(|c| !c.is_ascii_whitespace()).collect());
    }
    if text.is_empty() {
        return Err(ApiError::bad_request("empty_image", "\"image\" is empty; put the base64 of an image file there"));
    }
    const BASE64: GeneralPurpose =
        GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent));
    BASE64.decode(text.as_bytes()).map_err(|error| {
        ApiError::bad_request("bad_base64", format!("\"image\" is not base64: {error}; encode the image file with the standard alphabet"))
    })
}
