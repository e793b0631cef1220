//! The store behind the serving port: a few turns at a time, away from the threads that move bytes.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use edgeloop_store::{Store, StoreError};
use tokio::sync::Semaphore;

use crate::api::error::ApiError;
use crate::reload::Wake;

/// Listings at once; each reads every metadata file.
const LISTINGS: usize = 2;

/// The way to the store. Clones are the same.
#[derive(Debug, Clone)]
pub struct Models {
    dir: PathBuf,
    wake: Wake,
    listings: Arc<Semaphore>,
    /// One at a time: the pointer has one.
    changes: Arc<Semaphore>,
}

impl Models {
    /// The store in `dir`, which may appear later; `wake` is told when the pointer has moved.
    #[must_use]
    pub fn new(dir: PathBuf, wake: Wake) -> Self {
        Self { dir, wake, listings: Arc::new(Semaphore::new(LISTINGS)), changes: Arc::new(Semaphore::new(1)) }
    }

    /// Looks at the store.
    ///
    /// # Errors
    /// 429 when others are looking; whatever `work` says.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, ApiError> {
        self.run(&self.listings, work).await
    }

    /// Changes the store, and has the reload loop look.
    ///
    /// # Errors
    /// 429 when another change is under way; whatever `work` says.
    pub(super) async fn change<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let wake = self.wake.clone();
        let done = move |store: &Store| {
            let done = work(store);
            wake.look();
            done
        };
        self.run(&self.changes, done).await
    }

    /// The work goes on when its client goes, and keeps its turn until it is done.
    async fn run<T: Send + 'static>(
        &self,
        turns: &Arc<Semaphore>,
        work: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let Ok(turn) = turns.clone().try_acquire_owned() else {
            let message = "others are at the store; try again after Retry-After";
            return Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, "busy", message).retry(Duration::from_secs(1)));
        };
        let dir = self.dir.clone();
        let done = tokio::task::spawn_blocking(move || {
            let done = Store::open(dir).and_then(|store| work(&store));
            drop(turn);
            done
        });
        match done.await {
            Ok(done) => done.map_err(ApiError::from),
            Err(error) => Err(ApiError::internal().because(format!("a call of the store panicked: {error}"))),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let message = error.to_string();
        let (status, kind) = match &error {
            StoreError::BadVersion { .. } => (StatusCode::BAD_REQUEST, "bad_version"),
            StoreError::UnknownVersion { .. } => (StatusCode::NOT_FOUND, "unknown_version"),
            StoreError::GateRejected { version, reason } => {
                let message = format!("the gate rejected version {version}: {reason}; send {{\"force\": true}} to serve it anyway");
                return Self::new(StatusCode::CONFLICT, "gate_rejected", message);
            }
            StoreError::NoPredecessor { .. } => (StatusCode::CONFLICT, "no_predecessor"),
            StoreError::LockHeld { .. } | StoreError::LockLost { .. } => {
                return Self::new(StatusCode::CONFLICT, "store_busy", message).retry(Duration::from_secs(1));
            }
            StoreError::Io { cause, .. } if matches!(cause.kind(), ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied) => {
                let message = format!(
                    "the model folder cannot be written from here ({cause}); use `edgeloop models` where it can, or mount it writable"
                );
                return Self::new(StatusCode::CONFLICT, "store_read_only", message);
            }
            StoreError::Io { cause, .. } if matches!(cause.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
                (StatusCode::INSUFFICIENT_STORAGE, "store_full")
            }
            error if error.is_bad_content() => (StatusCode::CONFLICT, "version_damaged"),
            _ => {
                return Self::new(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", message.clone())
                    .retry(Duration::from_secs(5))
                    .because(message);
            }
        };
        Self::new(status, kind, message)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rstest::rstest;

    fn io(kind: ErrorKind) -> StoreError {
        StoreError::Io { action: "write", path: "/data/models/publish.lock".into(), cause: kind.into() }
    }

    #[rstest]
    #[case(io(ErrorKind::ReadOnlyFilesystem), 409, "store_read_only")]
    #[case(io(ErrorKind::PermissionDenied), 409, "store_read_only")]
    #[case(io(ErrorKind::StorageFull), 507, "store_full")]
    #[case(io(ErrorKind::TimedOut), 503, "store_unavailable")]
    #[case(StoreError::NoFolder { path: "/data/models".into() }, 503, "store_unavailable")]
    #[case("x".parse::<edgeloop_store::Version>().unwrap_err(), 400, "bad_version")]
    fn each_trouble_of_the_store_has_its_status(#[case] error: StoreError, #[case] status: u16, #[case] kind: &str) {
        let error = ApiError::from(error);
        assert_eq!((error.status.as_u16(), error.kind), (status, kind), "{}", error.message);
    }
}
