//! `multipart/form-data`: the image as the part `image`, several as parts `images`, wishes as fields of text.

use axum::extract::{FromRequest, Multipart, Request};

use super::{Asked, SILENCE};
use crate::api::admission::Memory;
use crate::api::error::ApiError;
use crate::api::options::Options;
use crate::pipeline::Payload;

/// Longest field of text: a class name, a number.
const LONGEST_FIELD: usize = 4096;
/// Most parts: images of a batch, wishes, and what browsers add.
const MOST_PARTS: usize = 2048;

pub(super) async fn read(request: Request, limit: u64, memory: &mut Memory) -> Result<Asked, ApiError> {
    let broken = |text: String| {
        ApiError::bad_request("bad_multipart", format!("the multipart body is broken: {text}; send the image as the part \"image\""))
            .closing()
    };
    let silent = |_| ApiError::body_timeout(SILENCE);
    let mut parts = Multipart::from_request(request, &()).await.map_err(|e| broken(e.body_text()))?;
    let (mut named, mut first_file, mut listed) = (None, None, Vec::new());
    let (mut options, mut wrong) = (Options::default(), None);
    let mut seen = 0;
    let mut count = 0;
    while let Some(mut part) =
        tokio::time::timeout(SILENCE, parts.next_field()).await.map_err(silent)?.map_err(|e| broken(e.body_text()))?
    {
        count += 1;
        if count > MOST_PARTS {
            return Err(broken(format!("it has more than {MOST_PARTS} parts")));
        }
        let name = part.name().unwrap_or_default().to_owned();
        let is_file = part.file_name().is_some();
        let is_image = match name.as_str() {
            "image" => named.is_none(),
            "images" => true,
            _ => is_file && first_file.is_none(),
        };
        let mut bytes = Vec::new();
        while let Some(chunk) = tokio::time::timeout(SILENCE, part.chunk()).await.map_err(silent)?.map_err(|e| broken(e.body_text()))? {
            seen += chunk.len() as u64;
            if seen > limit {
                return Err(ApiError::body_too_large(limit).closing());
            }
            if !memory.hold(seen) {
                return Err(ApiError::no_memory().closing());
            }
            if is_image || !is_file && bytes.len() + chunk.len() <= LONGEST_FIELD {
                bytes.extend_from_slice(&chunk);
            }
        }
        match name.as_str() {
            "image" if is_image => named = Some(Payload::Image(bytes.into())),
            "images" => listed.push(Payload::Image(bytes.into())),
            _ if is_image => first_file = Some(Payload::Image(bytes.into())),
            // Said when all is read: a client that is still sending would see a reset.
            _ if !is_file => wrong = wrong.or(options.field(&name, &String::from_utf8_lossy(&bytes)).err()),
            _ => {}
        }
    }
    if let Some(wrong) = wrong {
        return Err(wrong);
    }
    let is_list = !listed.is_empty();
    let images = if is_list { listed } else { named.or(first_file).into_iter().collect() };
    if images.is_empty() {
        let message = "the multipart body has no part named \"image\" and no file; add one";
        return Err(ApiError::bad_request("missing_image", message));
    }
    if images.iter().any(Payload::is_empty) {
        return Err(ApiError::empty_body());
    }
    Ok(Asked { images, listed: is_list, options })
}
