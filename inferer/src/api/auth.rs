//! Who may do what: bearer tokens from a file.
//!
//! Without a file everybody may infer and nobody may change what serves. With one, every route but the documentation wants a
//! token with its scope. The file is looked at every second and read again when it has changed; one that has gone or makes no
//! sense changes nothing. Tokens are compared as SHA-256 digests, all of them, in constant time, and are written nowhere.

mod file;
mod tokens;

use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

pub use file::{AuthError, TokenFile};
pub use tokens::{Scope, Tokens};

use super::Api;
use super::body;
use super::error::ApiError;

/// The tokens in force. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Auth {
    /// `None`: no file is set.
    tokens: Option<Arc<ArcSwap<Tokens>>>,
}

/// Who asks: the name beside the token. In a request's extensions where a token was wanted.
#[derive(Debug, Clone)]
pub struct Caller(pub Arc<str>);

/// Why somebody may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    /// Nobody may: there is no file.
    Closed,
    /// No token came.
    Missing,
    /// A token came that is not in the file.
    Unknown,
    /// The token is for something else.
    Scope,
}

impl Auth {
    fn check(&self, headers: &HeaderMap, scope: Scope) -> Result<Option<Caller>, Refusal> {
        let Some(tokens) = &self.tokens else {
            return if scope == Scope::Admin { Err(Refusal::Closed) } else { Ok(None) };
        };
        let value = headers.get(header::AUTHORIZATION).ok_or(Refusal::Missing)?;
        let (scheme, token) = value.as_bytes().split_at_checked(7).ok_or(Refusal::Missing)?;
        if !scheme.eq_ignore_ascii_case(b"bearer ") {
            return Err(Refusal::Missing);
        }
        let tokens = tokens.load();
        let token = tokens.find(token.trim_ascii()).ok_or(Refusal::Unknown)?;
        if token.allows(scope) { Ok(Some(Caller(token.name().clone()))) } else { Err(Refusal::Scope) }
    }
}

impl Refusal {
    fn reason(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Missing => "missing",
            Self::Unknown => "unknown",
            Self::Scope => "scope",
        }
    }

    fn error(self, scope: Scope) -> ApiError {
        let (status, kind, message) = match self {
            Self::Closed => (
                StatusCode::FORBIDDEN,
                "admin_closed",
                "nobody may do this over HTTP while AUTH_TOKENS_FILE is not set; set it, or use `edgeloop models`".to_owned(),
            ),
            Self::Missing => {
                (StatusCode::UNAUTHORIZED, "token_missing", format!("send \"Authorization: Bearer <token>\" with the scope {scope}"))
            }
            Self::Unknown => (StatusCode::UNAUTHORIZED, "token_unknown", "the token is not, or no longer, in AUTH_TOKENS_FILE".to_owned()),
            Self::Scope => (StatusCode::FORBIDDEN, "scope_missing", format!("the token has not the scope {scope}")),
        };
        ApiError::new(status, kind, message)
    }
}

/// What stands before routes that want a scope.
#[derive(Clone)]
pub(super) struct Guard {
    pub(super) api: Api,
    pub(super) scope: Scope,
}

/// Lets a request pass whose token has the scope.
pub(super) async fn guard(State(guard): State<Guard>, mut request: Request, next: Next) -> Response {
    match guard.api.auth.check(request.headers(), guard.scope) {
        Ok(caller) => {
            if let Some(caller) = caller {
                request.extensions_mut().insert(caller);
            }
            next.run(request).await
        }
        Err(refusal) => {
            guard.api.metrics.refused(refusal.reason());
            body::refuse(request, guard.api.bounds.bytes, refusal.error(guard.scope)).await.into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rstest::rstest;

    fn auth() -> Auth {
        let tokens = Tokens::parse("cam infer camera-token-0001\nops infer,admin operator-token-01\n").unwrap();
        Auth { tokens: Some(Arc::new(ArcSwap::from_pointee(tokens))) }
    }

    fn check(auth: &Auth, value: Option<&str>, scope: Scope) -> Result<Option<String>, Refusal> {
        let mut headers = HeaderMap::new();
        if let Some(value) = value {
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
        }
        auth.check(&headers, scope).map(|caller| caller.map(|Caller(name)| name.to_string()))
    }

    #[rstest]
    #[case(Some("Bearer camera-token-0001"), Scope::Infer, Ok(Some("cam")))]
    #[case(Some("bearer  camera-token-0001"), Scope::Infer, Ok(Some("cam")))]
    #[case(Some("Bearer camera-token-0001"), Scope::Admin, Err(Refusal::Scope))]
    #[case(Some("Bearer operator-token-01"), Scope::Admin, Ok(Some("ops")))]
    #[case(Some("Bearer camera-token-0002"), Scope::Infer, Err(Refusal::Unknown))]
    #[case(Some("Bearer camera-token-000"), Scope::Infer, Err(Refusal::Unknown))]
    #[case(Some("Bearer "), Scope::Infer, Err(Refusal::Unknown))]
    #[case(Some("Basic Y2FtZXJhLXRva2VuLTAwMDE="), Scope::Infer, Err(Refusal::Missing))]
    #[case(Some("x"), Scope::Infer, Err(Refusal::Missing))]
    #[case(None, Scope::Infer, Err(Refusal::Missing))]
    fn a_token_opens_what_its_scopes_say(
        #[case] value: Option<&str>,
        #[case] scope: Scope,
        #[case] expected: Result<Option<&str>, Refusal>,
    ) {
        assert_eq!(check(&auth(), value, scope), expected.map(|name| name.map(str::to_owned)));
    }

    #[test]
    fn without_a_file_everybody_may_infer_and_nobody_may_administer() {
        let open = Auth::default();
        assert_eq!(check(&open, None, Scope::Infer), Ok(None));
        assert_eq!(check(&open, Some("Bearer anything-at-all-00"), Scope::Admin), Err(Refusal::Closed));
    }
}
