//! `POST /infer`.

use std::time::Instant;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use edgeloop_store::Version;
use futures::future::join_all;
use serde::Serialize;
use tokio::sync::oneshot;
use tokio::time::timeout_at;
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::body;
use super::error::{ApiError, ErrorBody};
use super::options::Options;
use crate::infer::{Answer, ms};
use crate::pipeline::Task;

/// One image's answer, or those of a list.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum Inferred {
    /// To `image`, an image as the body, or a form with one.
    One(Answer),
    /// To `images`.
    Several(Answers),
}

/// What became of a list of images, in their order; one that cannot be decoded does not spoil the others.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Answers {
    /// An answer or an error for each image.
    results: Vec<Outcome>,
    /// The version that answered all of them.
    #[schema(value_type = String, example = "20261121_030000")]
    model: Version,
    /// Where the time went.
    timing_ms: BatchTiming,
}

/// An answer, or why there is none.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum Outcome {
    /// The image's answer.
    Answer(Answer),
    /// What is wrong with the image.
    Error(ErrorBody),
}

/// Where a list's time went, in milliseconds.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BatchTiming {
    /// From the body's arrival to the answer.
    total: f64,
}

/// What a request may want in its query string, or as fields of a form. A JSON body has the same names.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "it only describes: options.rs reads them, so that their errors have our shape")]
struct Wishes {
    /// Detections below this score are left out.
    #[param(minimum = 0, maximum = 1)]
    confidence: Option<f32>,
    /// Of two boxes of one class that overlap by more than this the weaker is left out.
    #[param(minimum = 0, maximum = 1)]
    iou: Option<f32>,
    /// Only these classes: names or indices with commas between.
    classes: Option<String>,
    /// At most so many detections an image.
    #[param(minimum = 1, maximum = 1000)]
    max_detections: Option<u32>,
    /// Milliseconds from the request's arrival in which it is answered, or refused with 408.
    #[param(minimum = 1, maximum = 600000)]
    timeout_ms: Option<u32>,
}

/// An image file: JPEG, PNG, BMP or WebP, whatever its media type says.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
#[allow(dead_code, reason = "it only describes")]
struct ImageFile(Vec<u8>);

/// A form with one image or several, and the same wishes as in a query string.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it only describes")]
struct ImageForm {
    /// The image.
    #[schema(value_type = Option<String>, format = Binary)]
    image: Option<Vec<u8>>,
    /// Several images.
    #[schema(value_type = Option<Vec<String>>)]
    images: Option<Vec<Vec<u8>>>,
}

/// Finds objects in an image, or in each of several. The image comes as base64 in JSON, as the body itself, or in a form.
#[utoipa::path(post, path = "/infer", tag = "infer", security(("token" = []), ()), params(Wishes),
    request_body(content(
        (body::InferRequest<'static> = "application/json"),
        (ImageFile = "image/jpeg"), (ImageFile = "image/png"), (ImageFile = "image/webp"), (ImageFile = "image/bmp"),
        (ImageFile = "application/octet-stream"),
        (ImageForm = "multipart/form-data"),
    )),
    responses(
        (status = 200, description = "What was found", body = Inferred),
        (status = "4XX", description = "400 what was sent makes no sense, 401/403 no right to it, 408 too slow, 413 too large, 415 no image that is read, 422 a damaged image, 429 no place (Retry-After)", body = ErrorBody),
        (status = 500, description = "A fault of the server; its log says more", body = ErrorBody),
        (status = 503, description = "No model serves yet, or it could not be run (Retry-After)", body = ErrorBody),
        (status = 504, description = "Not answered within REQUEST_TIMEOUT", body = ErrorBody),
    ))]
pub(super) async fn infer(State(api): State<Api>, request: Request) -> Result<Json<Inferred>, ApiError> {
    let began = Instant::now();
    let refuse = |request, error| body::refuse(request, api.bounds.bytes, error);
    let busy = || ApiError::busy().retry(api.admission.retry_after());
    if api.admission.is_full() {
        api.metrics.dropped("busy", 1);
        return Err(refuse(request, busy()).await);
    }
    if api.slot.get().is_none() {
        return Err(refuse(request, ApiError::no_model()).await);
    }
    let query = match Options::from_query(request.uri().query()) {
        Ok(query) => query,
        Err(error) => return Err(refuse(request, error).await),
    };
    let mut memory = api.admission.memory();
    let asked = body::read(request, api.bounds, &mut memory).await.inspect_err(|error| {
        if error.status == StatusCode::TOO_MANY_REQUESTS {
            api.metrics.dropped("memory", 1);
        }
    })?;
    let most = api.admission.largest_batch(api.max_batch);
    if asked.images.len() > most {
        return Err(ApiError::batch_too_large(asked.images.len(), most));
    }
    let options = asked.options.or(query);
    let own = options.timeout.filter(|timeout| *timeout < api.request_timeout);
    let deadline = began + own.unwrap_or(api.request_timeout);

    // The model is taken here and not before the body was read: a slow sender must not keep an old one in memory.
    let Some(serving) = api.slot.get() else { return Err(ApiError::no_model()) };
    let rules = options.rules(&api.rules, &serving.metadata)?;
    let images = asked.images.len();
    let Some(_place) = api.admission.enter(images) else {
        api.metrics.dropped("busy", images);
        return Err(busy());
    };
    let arrived = Instant::now();
    let answers = asked.images.into_iter().map(|payload| {
        let (reply, answer) = oneshot::channel();
        let task = Task { payload, serving: serving.clone(), rules: rules.clone(), arrived, deadline, reply };
        let queued = api.pipeline.submit(task);
        async move {
            if !queued {
                return Err(ApiError::busy());
            }
            let late = || ApiError::late(own.is_some());
            match timeout_at(deadline.into(), answer).await {
                Ok(Ok(Err(error))) if error.is_late() => Err(late()),
                Ok(answer) => answer.unwrap_or_else(|_| Err(ApiError::internal().because("a decoding thread ended in the middle"))),
                Err(_) => Err(late()),
            }
        }
    });
    // Collected first: all are queued before the first is waited for.
    let mut answers = join_all(answers.collect::<Vec<_>>()).await;
    for error in answers.iter().filter_map(|answer| answer.as_ref().err()) {
        match error.status {
            _ if error.is_late() => api.metrics.dropped("deadline", 1),
            StatusCode::TOO_MANY_REQUESTS => api.metrics.dropped("busy", 1),
            _ => {}
        }
    }
    if !asked.listed {
        let answer = answers.pop().unwrap_or_else(|| Err(ApiError::internal()))?;
        return Ok(Json(Inferred::One(answer)));
    }
    // What is no image's own fault is the whole request's.
    if let Some(Err(error)) = answers.iter().find(|answer| answer.as_ref().is_err_and(ApiError::is_ours)) {
        return Err(error.clone());
    }
    let outcome = |answer: Result<Answer, ApiError>| answer.map_or_else(|error| Outcome::Error(error.body()), Outcome::Answer);
    let results = answers.into_iter().map(outcome).collect();
    let timing_ms = BatchTiming { total: ms(arrived.elapsed()) };
    Ok(Json(Inferred::Several(Answers { results, model: serving.version().clone(), timing_ms })))
}
