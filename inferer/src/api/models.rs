//! Which versions there are, and which one should serve: the store through the serving port.
//!
//! Reading wants the scope `infer`, moving the pointer `admin`. What is moved is the shared pointer, for every inferer that
//! reads this store; a mount that is read-only here says so and stays as it is.

mod store;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use chrono::{DateTime, Utc};
use edgeloop_store::{GateDecision, Pointer, Version};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use store::Models;

use super::Api;
use super::auth::Caller;
use super::body::{self, Bounds};
use super::error::{ApiError, ErrorBody};
use super::model::Summary;
use super::trace::RequestId;

/// Longest body of a promotion: a reason.
const BODY: Bounds = Bounds { bytes: 64 << 10, time: std::time::Duration::from_secs(10) };
/// Longest reason, in characters: it goes into the pointer and the history.
const LONGEST_REASON: usize = 500;

/// All versions of the store.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ModelList {
    /// The version that answers here.
    #[schema(value_type = Option<String>)]
    serving: Option<Version>,
    /// The version that the store's pointer names.
    #[schema(value_type = Option<String>)]
    promoted: Option<Version>,
    /// Newest first: published ones, then candidates that the gate rejected.
    models: Vec<ModelEntry>,
}

/// A version of the store.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ModelEntry {
    #[serde(flatten)]
    summary: Summary,
    /// Whether it answers here.
    serving: bool,
    /// Whether the store's pointer names it.
    promoted: bool,
    /// What the gate decided.
    #[schema(value_type = String, example = "promoted")]
    gate: GateDecision,
    /// Why.
    gate_reason: String,
}

/// Why, and whether the gate's verdict counts. May be left out.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Move {
    /// Why, for the record.
    #[schema(max_length = 500)]
    reason: Option<String>,
    /// Serve it although the gate rejected it.
    force: bool,
}

/// Where the pointer is now.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Moved {
    /// The promoted version. Every inferer of the store loads and checks it before it serves it.
    #[schema(value_type = String)]
    promoted: Version,
    /// Counts the moves of the pointer.
    promotion: u64,
    /// When it moved.
    #[schema(value_type = String, format = DateTime)]
    at: DateTime<Utc>,
    /// Who moved it: the name beside the token.
    by: String,
    /// Why.
    reason: String,
}

impl From<Pointer> for Moved {
    fn from(pointer: Pointer) -> Self {
        let promoted = pointer.version().clone();
        Self { promoted, promotion: pointer.promotion, at: pointer.promoted_at, by: pointer.promoted_by, reason: pointer.reason }
    }
}

/// Every version in the store, with the gate's verdict.
#[utoipa::path(get, path = "/v1/models", tag = "models", security(("token" = []), ()), responses(
    (status = 200, description = "The versions", body = ModelList),
    (status = "4XX", description = "No right to it, or too many ask at once", body = ErrorBody),
    (status = 503, description = "The store cannot be read", body = ErrorBody),
))]
pub(super) async fn models(State(api): State<Api>) -> Result<Json<ModelList>, ApiError> {
    let serving = api.slot.get().map(|serving| serving.version().clone());
    let (survey, promoted) = api
        .models
        .read(|store| {
            // A pointer that cannot be read is the reload loop's to complain about.
            let promoted = store.pointer().ok().flatten().map(|pointer| pointer.version().clone());
            Ok((store.survey()?, promoted))
        })
        .await?;
    let newest_first = survey.versions.into_iter().rev().chain(survey.candidates.into_iter().rev());
    let models = newest_first
        .map(|metadata| ModelEntry {
            summary: (&metadata).into(),
            serving: serving.as_ref() == Some(&metadata.version),
            promoted: promoted.as_ref() == Some(&metadata.version),
            gate: metadata.gate.decision,
            gate_reason: metadata.gate.reason,
        })
        .collect();
    Ok(Json(ModelList { serving, promoted, models }))
}

/// Makes a version the one that serves. All its files are read and compared with its metadata first.
#[utoipa::path(post, path = "/v1/models/{version}/promote", tag = "admin", security(("token" = [])),
    params(("version" = String, Path, description = "A version", example = "20261121_030000")),
    request_body(content = Option<Move>, content_type = "application/json"),
    responses(
        (status = 200, description = "The pointer names it now", body = Moved),
        (status = "4XX", description = "No right to it, no such version, the gate rejected it, it is damaged, the store is read-only or busy", body = ErrorBody),
        (status = 503, description = "The store cannot be read or written", body = ErrorBody),
    ))]
pub(super) async fn promote(
    State(api): State<Api>,
    version: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Json<Moved>, ApiError> {
    let asker = Asker::of(&request);
    let (reason, force) = asked(request).await?;
    let Path(version) = version.map_err(|rejection| ApiError::bad_request("bad_version", rejection.body_text()))?;
    let version: Version = version.parse()?;
    let by = asker.name.clone();
    let pointer = api.models.change(move |store| store.promote(&version, &by, &reason, force)).await?;
    tracing::info!(by = asker.name, request_id = asker.id, promoted = %pointer.version(), forced = force, "promoted over HTTP");
    Ok(Json(pointer.into()))
}

/// Goes back to the version that was promoted before.
#[utoipa::path(post, path = "/v1/rollback", tag = "admin", security(("token" = [])),
    request_body(content = Option<Move>, content_type = "application/json"),
    responses(
        (status = 200, description = "The pointer names the version before", body = Moved),
        (status = "4XX", description = "No right to it, nothing to go back to, the store is read-only or busy", body = ErrorBody),
        (status = 503, description = "The store cannot be read or written", body = ErrorBody),
    ))]
pub(super) async fn rollback(State(api): State<Api>, request: Request) -> Result<Json<Moved>, ApiError> {
    let asker = Asker::of(&request);
    let ((reason, _), by) = (asked(request).await?, asker.name.clone());
    let pointer = api.models.change(move |store| store.rollback(&by, &reason)).await?;
    tracing::info!(by = asker.name, request_id = asker.id, promoted = %pointer.version(), "rolled back over HTTP");
    Ok(Json(pointer.into()))
}

/// Who asks, for the record and the log.
struct Asker {
    name: String,
    id: String,
}

impl Asker {
    fn of(request: &Request) -> Self {
        let extensions = request.extensions();
        let name = extensions.get::<Caller>().map_or_else(|| "http".to_owned(), |Caller(name)| name.to_string());
        Self { name, id: extensions.get::<RequestId>().map(|RequestId(id)| id.to_string()).unwrap_or_default() }
    }
}

/// The reason and whether the gate's verdict is overruled. No body is as good as an empty object.
async fn asked(request: Request) -> Result<(String, bool), ApiError> {
    let bytes: Bytes = body::small(request, BODY).await?;
    let asked = if bytes.is_empty() { None } else { serde_json::from_slice::<Option<Move>>(&bytes).map_err(bad_json)? };
    let Move { reason, force } = asked.unwrap_or_default();
    let reason = reason.map(|text| text.trim().chars().take(LONGEST_REASON).collect::<String>()).filter(|text| !text.is_empty());
    Ok((reason.unwrap_or_else(|| "over HTTP".to_owned()), force))
}

fn bad_json(error: serde_json::Error) -> ApiError {
    ApiError::bad_request("bad_json", format!("the body is not understood: {error}; send {{\"reason\": \"…\", \"force\": false}} or none"))
}
