//! `{"image": "<base64>"}` and `{"images": ["<base64>", …]}`.

use std::borrow::Cow;

use axum::body::Bytes;
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use serde_json::error::Category;
use utoipa::ToSchema;

use super::Asked;
use crate::api::error::ApiError;
use crate::api::options::{BAD_OPTION, Class, List, Options, said, share, timeout};
use crate::pipeline::Payload;

/// Larger bodies are parsed away from the threads that move bytes: at 1 GB/s a megabyte is a millisecond.
const PARSE_HERE: usize = 1 << 20;

/// One image or several, base64, and what is wanted of them.
#[derive(Deserialize, ToSchema)]
pub struct InferRequest<'a> {
    /// An image file (JPEG, PNG, BMP, WebP) in base64; a data URL is taken as well. Other URLs are never fetched.
    #[serde(borrow, default)]
    #[schema(value_type = Option<String>, format = "byte")]
    image: Option<Text<'a>>,
    /// Several of them, in place of `image`.
    #[serde(borrow, default)]
    #[schema(value_type = Option<Vec<String>>, min_items = 1, max_items = 1024)]
    images: Option<List<Text<'a>>>,
    /// Detections below this score are left out, whatever their class. Without it the model's own thresholds count, then the
    /// server's.
    #[serde(default, deserialize_with = "said")]
    #[schema(minimum = 0, maximum = 1)]
    confidence: Option<f64>,
    /// Of two boxes of one class that overlap by more than this the weaker is left out.
    #[serde(default, deserialize_with = "said")]
    #[schema(minimum = 0, maximum = 1)]
    iou: Option<f64>,
    /// Only these classes, by name or by index.
    #[serde(default, deserialize_with = "said")]
    #[schema(value_type = Option<Vec<ClassSchema>>, min_items = 1, max_items = 1024)]
    classes: Option<List<Class>>,
    /// At most so many detections an image.
    #[serde(default, deserialize_with = "said")]
    #[schema(minimum = 1, maximum = 1000)]
    max_detections: Option<u64>,
    /// Milliseconds from the request's arrival in which it is answered, or refused with 504.
    #[serde(default, deserialize_with = "said")]
    #[schema(minimum = 1, maximum = 600000)]
    timeout_ms: Option<f64>,
}

/// A class by its name or its index.
#[derive(ToSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "it only describes")]
enum ClassSchema {
    /// Its name.
    Name(String),
    /// Its index.
    Index(u32),
}

/// Borrowed from the body where it holds no escapes: `Option<Cow<str>>` alone would copy it.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

pub(super) async fn read(body: Bytes) -> Result<Asked, ApiError> {
    if body.len() <= PARSE_HERE {
        return parse(&body);
    }
    tokio::task::spawn_blocking(move || parse(&body)).await.unwrap_or_else(|_| Err(ApiError::internal()))
}

fn parse(body: &Bytes) -> Result<Asked, ApiError> {
    const FORM: &str = "send {\"image\": \"<base64>\"} or {\"images\": [\"<base64>\", …]}";
    // A list would be taken for the fields in their order.
    let is_object = body.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'{');
    let request: InferRequest<'_> = serde_json::from_slice(body).map_err(|error| {
        let text = error.to_string();
        match (error.classify(), text.strip_prefix(BAD_OPTION)) {
            (Category::Data, Some(option)) => ApiError::bad_request("bad_option", option),
            (Category::Data, None) => ApiError::bad_request("missing_image", format!("{text}; {FORM}")),
            _ => ApiError::bad_request("bad_json", format!("the body is not JSON: {text}; {FORM}")),
        }
    })?;
    if !is_object {
        return Err(ApiError::bad_request("missing_image", format!("the body is a list; {FORM}")));
    }
    let InferRequest { image, images, confidence, iou, classes, max_detections, timeout_ms } = request;
    let payload = |Text(text): Text<'_>| {
        Payload::Base64(match text {
            Cow::Borrowed(text) => body.slice_ref(text.as_bytes()),
            Cow::Owned(text) => text.into_bytes().into(),
        })
    };
    let (images, listed) = match (image, images) {
        (Some(image), None) => (vec![payload(image)], false),
        (None, Some(List(images))) if !images.is_empty() => (images.into_iter().map(payload).collect(), true),
        (None, Some(_)) => return Err(ApiError::bad_request("missing_image", format!("\"images\" is empty; {FORM}"))),
        (None, None) => return Err(ApiError::bad_request("missing_image", format!("the body has no image; {FORM}"))),
        (Some(_), Some(_)) => {
            return Err(ApiError::bad_request("missing_image", format!("the body has \"image\" and \"images\"; {FORM}, not both")));
        }
    };
    let options = Options {
        confidence: confidence.map(|value| share("confidence", value)).transpose()?,
        iou: iou.map(|value| share("iou", value)).transpose()?,
        classes: classes.map(|List(classes)| classes),
        max_detections,
        timeout: timeout_ms.map(timeout).transpose()?,
    };
    Ok(Asked { images, listed, options })
}

/// The image file in a base64 text. A data URL, line breaks and missing padding are taken as well.
///
/// # Errors
/// 400: empty, or not base64.
pub fn image_in_base64(text: &[u8]) -> Result<Vec<u8>, ApiError> {
    let mut text = Cow::Borrowed(text);
    if text.starts_with(b"data:") {
        const MARK: &[u8] = b";base64,";
        // A media type is short: the mark is near the start or nowhere.
        match text.windows(MARK.len()).take(200).position(|window| window == MARK) {
            Some(at) => text = Cow::Owned(text[at + MARK.len()..].to_vec()),
            None => return Err(ApiError::bad_request("bad_base64", "the data URL of \"image\" is not base64; encode it so")),
        }
    }
    if text.starts_with(b"http://") || text.starts_with(b"https://") {
        return Err(ApiError::bad_request("bad_base64", "\"image\" is a URL, and no URL is ever fetched; send the image file in base64"));
    }
    if text.iter().any(u8::is_ascii_whitespace) {
        text = Cow::Owned(text.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect());
    }
    if text.is_empty() {
        return Err(ApiError::bad_request("empty_image", "\"image\" is empty; put the base64 of an image file there"));
    }
    const BASE64: GeneralPurpose =
        GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent));
    BASE64.decode(&text).map_err(|error| {
        ApiError::bad_request("bad_base64", format!("\"image\" is not base64: {error}; encode the image file with the standard alphabet"))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rstest::rstest;

    fn parsed(text: &str) -> Result<Asked, ApiError> {
        parse(&Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn one_image_or_a_list_with_wishes() {
        let body = Bytes::from_static(br#"{"image": "YWJj", "confidence": 0.5, "classes": ["bolt", 3], "timeout_ms": 250, "more": [{}]}"#);
        let asked = parse(&body).unwrap();
        assert!(!asked.listed);
        let [Payload::Base64(text)] = asked.images.as_slice() else { panic!("{asked:?}") };
        assert_eq!(text.as_ptr(), body[11..].as_ptr(), "it was copied");
        assert_eq!(asked.options.classes, Some(vec![Class::Name("bolt".into()), Class::Index(3)]));
        assert_eq!((asked.options.confidence, asked.options.timeout), (Some(0.5), Some(std::time::Duration::from_millis(250))));
        let list = parsed(r#"{"images": ["YWJj", "YQ\u003d="], "max_detections": 7}"#).unwrap();
        assert!(list.listed && list.options.max_detections == Some(7));
        assert_eq!(list.images, [Payload::Base64("YWJj".into()), Payload::Base64("YQ==".into())]);
    }

    #[rstest]
    #[case("{}", "missing_image")]
    #[case(r#"{"images": []}"#, "missing_image")]
    #[case(r#"{"image": "a", "images": ["a"]}"#, "missing_image")]
    #[case(r#"{"image": null}"#, "missing_image")]
    #[case(r#"["a", null, 0.5, null, null, null, null]"#, "missing_image")]
    #[case(r#"{"image": "a", "confidence": "high"}"#, "bad_option")]
    #[case(r#"{"image": "a", "confidence": 1.5}"#, "bad_option")]
    #[case(r#"{"image": "a", "classes": "bolt"}"#, "bad_option")]
    #[case(r#"{"image": "a", "classes": [1.5]}"#, "bad_option")]
    #[case(r#"{"image": "a", "max_detections": -1}"#, "bad_option")]
    #[case(r#"{"image": "a", "timeout_ms": 0}"#, "bad_option")]
    #[case(r#"{"image": "a""#, "bad_json")]
    fn what_is_wrong_is_named(#[case] text: &str, #[case] kind: &str) {
        assert_eq!(parsed(text).unwrap_err().kind, kind, "{text}");
    }

    #[test]
    fn a_list_of_millions_is_not_built() {
        let text = format!(r#"{{"image": "a", "classes": [{}1]}}"#, "1,".repeat(2000));
        assert_eq!(parsed(&text).unwrap_err().kind, "bad_option");
        let text = format!(r#"{{"images": [{}""]}}"#, "\"\",".repeat(2000));
        assert_eq!(parsed(&text).unwrap_err().kind, "missing_image");
    }
}
