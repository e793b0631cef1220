//! What is said about each request: its id, in and out and in the log; its status, counted.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;

use super::Api;
use super::error::Logged;

/// The header of the id.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest id that is taken from a client: it goes into every line about the request.
const LONGEST: usize = 128;
/// Longest path in the log.
const PATH_SHOWN: usize = 200;
/// Failures that are logged within a second; a server without a model would fill a disk with its clients' tries.
const LINES_A_SECOND: u64 = 10;

/// A request's id: the client's own where it is sound, ours otherwise. In the request's extensions.
#[derive(Debug, Clone)]
pub struct RequestId(pub Arc<str>);

impl RequestId {
    fn of(headers: &HeaderMap) -> Self {
        let sound = |text: &&str| {
            (1..=LONGEST).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:/+=@".contains(&b))
        };
        match headers.get(REQUEST_ID).and_then(|value| value.to_str().ok()).filter(sound) {
            Some(text) => Self(text.into()),
            None => Self::new(),
        }
    }

    /// Another one each time, in this process and, but for a chance of 2⁻⁶⁴, in others.
    fn new() -> Self {
        static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(format!("{:016x}", KEYS.hash_one(NEXT.fetch_add(1, Ordering::Relaxed))).into())
    }
}

/// Around every request: id, count, log, and while draining the end of its connection.
pub(super) async fn around(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let RequestId(id) = RequestId::of(request.headers());
    request.extensions_mut().insert(RequestId(id.clone()));
    // Without the query: nothing of ours is secret there, but somebody else's may be.
    let path: String = request.uri().path().chars().take(PATH_SHOWN).collect();
    let method = request.method().clone();
    let mut response = next.run(request).await;
    let status = response.status();
    if path == "/infer" {
        api.metrics.request(status);
    }
    let logged = response.extensions().get::<Logged>();
    let (error, reason) = (logged.map(|logged| logged.kind), logged.and_then(|logged| logged.detail.as_deref()));
    let ms = crate::infer::ms(began.elapsed());
    if status.is_server_error() && api.log_lines.allow(Instant::now()) {
        tracing::warn!(request_id = %id, %method, path, status = status.as_u16(), error, reason, ms, "a request failed");
    } else {
        tracing::debug!(request_id = %id, %method, path, status = status.as_u16(), error, reason, ms, "request");
    }
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    if api.draining.load(Ordering::Relaxed) {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// A few lines a second. Clones share them.
#[derive(Debug, Clone)]
pub struct LogLines {
    start: Instant,
    /// The second, shifted, and how many lines it had.
    state: Arc<AtomicU64>,
}

impl Default for LogLines {
    fn default() -> Self {
        Self { start: Instant::now(), state: Arc::default() }
    }
}

impl LogLines {
    /// Whether one more line may be written now.
    fn allow(&self, now: Instant) -> bool {
        let second = now.saturating_duration_since(self.start).max(Duration::from_secs(1)).as_secs();
        let next = |state: u64| {
            let lines = if state >> 32 == second { state & 0xffff_ffff } else { 0 };
            (lines < LINES_A_SECOND).then_some(second << 32 | (lines + 1))
        };
        self.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn id(value: &[u8]) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID, HeaderValue::from_bytes(value).unwrap());
        RequestId::of(&headers).0.to_string()
    }

    #[test]
    fn a_sound_id_is_kept_and_any_other_replaced() {
        assert_eq!(id(b"cam-1/2026.11:21_a+b=@"), "cam-1/2026.11:21_a+b=@");
        for unsound in [b"".as_slice(), b"two words", b"a\"b", b"\xffx", &[b'a'; 129]] {
            let made = id(unsound);
            assert!(made.len() == 16 && made.bytes().all(|b| b.is_ascii_hexdigit()), "{made}");
        }
        assert_ne!(RequestId::new().0, RequestId::new().0);
    }

    #[test]
    fn a_flood_of_failures_is_ten_lines_a_second() {
        let lines = LogLines::default();
        let at = |second: u64| lines.start + Duration::from_secs(second);
        assert_eq!((0..1000).filter(|_| lines.allow(at(1))).count(), 10);
        assert_eq!((0..1000).filter(|_| lines.allow(at(2))).count(), 10);
    }
}
