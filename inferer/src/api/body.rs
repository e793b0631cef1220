//! From a request's body to the images in it and the wishes that came with them.

mod json;
mod multipart;

use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::Request;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use axum::http::{HeaderMap, StatusCode};
use futures::StreamExt;
use tokio::time::{Instant, timeout, timeout_at};

pub use json::{InferRequest, image_in_base64};

use super::admission::Memory;
use super::error::ApiError;
use super::options::Options;
use crate::pipeline::Payload;

/// How a refused body is read on: a client that is still sending would see a reset instead of the answer.
const DRAIN_TIME: Duration = Duration::from_secs(2);
/// As many bytes of it, in units of the body limit.
const DRAIN_LIMITS: u64 = 4;
/// A body of which nothing comes for so long has been given up by its sender.
const SILENCE: Duration = Duration::from_secs(10);

/// What a request's body holds.
#[derive(Debug, PartialEq)]
pub struct Asked {
    /// The images, still encoded; at least one.
    pub images: Vec<Payload>,
    /// Whether they came as a list, and the answer is one too.
    pub listed: bool,
    /// The wishes in the body.
    pub options: Options,
}

impl Asked {
    fn one(image: Payload) -> Self {
        Self { images: vec![image], listed: false, options: Options::default() }
    }
}

/// Bounds of a body.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Bytes.
    pub bytes: u64,
    /// Time from its first byte to its last.
    pub time: Duration,
}

/// Which of the forms a request has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    Image,
    Multipart,
    /// No telling type: JSON when it starts with a brace, an image otherwise. `curl -d` says `x-www-form-urlencoded`.
    Unsaid,
}

/// Reads a request's body whole, within `bounds` and `memory`.
///
/// # Errors
/// 413 on `Content-Length` before a byte is read, or when more comes than was said; 408; 415; 429 when the memory for bodies is
/// used up; 400 for a broken body.
pub async fn read(request: Request, bounds: Bounds, memory: &mut Memory) -> Result<Asked, ApiError> {
    let declared = content_length(request.headers());
    if declared.is_some_and(|length| length > bounds.bytes) {
        return Err(refuse(request, bounds.bytes, ApiError::body_too_large(bounds.bytes)).await);
    }
    let form = match form(request.headers()) {
        Ok(form) => form,
        Err(error) => return Err(refuse(request, bounds.bytes, error).await),
    };
    let deadline = Instant::now() + bounds.time;
    let read = async {
        if form == Form::Multipart {
            return multipart::read(request, bounds.bytes, memory).await;
        }
        let bytes = collect(request.into_body(), declared, bounds.bytes, memory).await?;
        if bytes.is_empty() {
            return Err(ApiError::empty_body());
        }
        let is_json = || bytes.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'{');
        if form == Form::Json || form == Form::Unsaid && is_json() {
            json::read(bytes).await
        } else {
            Ok(Asked::one(Payload::Image(bytes)))
        }
    };
    timeout_at(deadline, read).await.unwrap_or_else(|_| Err(ApiError::body_timeout(bounds.time)))
}

/// Reads a body of a few words whole.
///
/// # Errors
/// As [`read`].
pub async fn small(request: Request, bounds: Bounds) -> Result<Bytes, ApiError> {
    let declared = content_length(request.headers());
    if declared.is_some_and(|length| length > bounds.bytes) {
        return Err(refuse(request, bounds.bytes, ApiError::body_too_large(bounds.bytes)).await);
    }
    let collected = timeout(bounds.time, collect(request.into_body(), declared, bounds.bytes, &mut Memory::free())).await;
    collected.unwrap_or_else(|_| Err(ApiError::body_timeout(bounds.time)))
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
    read_on(&mut request.into_body().into_data_stream(), most, error).await
}

/// `error`, after at most `most` bytes more of a body that is not wanted, and not for long; a longer one ends the connection.
async fn read_on(body: &mut BodyDataStream, most: u64, error: ApiError) -> ApiError {
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
    if timeout_at(Instant::now() + DRAIN_TIME, drain).await.unwrap_or(false) { error } else { error.closing() }
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

/// Reads a body of at most `limit` bytes whole.
///
/// # Errors
/// 413, 429 and 408 as [`read`]; 400 when it ends early.
pub async fn collect(body: Body, declared: Option<u64>, limit: u64, memory: &mut Memory) -> Result<Bytes, ApiError> {
    let mut stream = body.into_data_stream();
    // What was declared was checked against the limit; nothing is reserved on a client's word beyond 1 MB.
    let mut bytes = Vec::with_capacity(declared.unwrap_or(0).min(1 << 20) as usize);
    while let Some(chunk) = timeout(SILENCE, stream.next()).await.map_err(|_| ApiError::body_timeout(SILENCE))? {
        let chunk =
            chunk.map_err(|e| ApiError::bad_request("broken_body", format!("the body ended early: {e}; send it again")).closing())?;
        let length = (bytes.len() + chunk.len()) as u64;
        if length > limit {
            return Err(ApiError::body_too_large(limit).closing());
        }
        if !memory.hold(length) {
            // What it holds is for others; the rest is read so that the sender sees the answer and no reset.
            drop(bytes);
            *memory = Memory::free();
            return Err(read_on(&mut stream, limit, ApiError::no_memory()).await);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.into())
}
