//! `/openapi.json`, made of the routes when the server starts, and `/docs`, a page to try them.
//!
//! The page is one file with its style and script in it; it fetches nothing but this server, and its policy forbids more.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use edgeloop_service::build;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, License, OpenApi, OpenApiBuilder};

const PAGE: &str = include_str!("docs.html");
/// Nothing from elsewhere: no script, no font, no picture but those made on the page.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src blob: data:; connect-src 'self'; \
                      frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// The document without its routes.
pub(super) fn head() -> OpenApi {
    let token = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("A token of AUTH_TOKENS_FILE. Without such a file everybody may infer, and nobody may use what is tagged admin."))
        .build();
    let info = InfoBuilder::new()
        .title("edgeloop inferer")
        .version(build::VERSION)
        .description(Some("Detections by the newest good model. Errors everywhere: {\"error\": \"<type>\", \"message\": \"<what to do>\"}. Every answer carries X-Request-Id, the client's own where it sent one."))
        .license(Some(License::new("Apache-2.0")))
        .build();
    OpenApiBuilder::new()
        .info(info)
        .components(Some(ComponentsBuilder::new().security_scheme("token", SecurityScheme::Http(token)).build()))
        .build()
}

/// The two routes of the documentation. They hold nothing of anybody's and want no token.
pub(super) fn routes<S: Clone + Send + Sync + 'static>(document: &OpenApi) -> Router<S> {
    let json = Bytes::from(document.to_json().expect("a document of plain data is JSON"));
    let page = || async {
        ([(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CONTENT_SECURITY_POLICY, POLICY)], PAGE).into_response()
    };
    Router::new()
        .route("/openapi.json", get(move || std::future::ready(([(header::CONTENT_TYPE, "application/json")], json.clone()))))
        .route("/docs", get(page))
}

/// Which method each path takes.
pub(super) fn methods(document: &OpenApi) -> Arc<[(String, &'static str)]> {
    let method = |item: &utoipa::openapi::PathItem| if item.post.is_some() { "POST" } else { "GET" };
    document.paths.paths.iter().map(|(path, item)| (path.clone(), method(item))).collect()
}

/// Whether a request's path is one of a template's, `{…}` standing for one step.
pub(super) fn fits(template: &str, path: &str) -> bool {
    let (mut steps, mut found) = (template.split('/'), path.split('/'));
    loop {
        match (steps.next(), found.next()) {
            (None, None) => return true,
            (Some(step), Some(_)) if step.starts_with('{') => {}
            (Some(step), Some(found)) if step == found => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_stands_for_one_step() {
        assert!(fits("/v1/models/{version}/promote", "/v1/models/x/promote"));
        assert!(!fits("/v1/models/{version}/promote", "/v1/models/promote") && !fits("/infer", "/infer/") && !fits("/infer", "/"));
    }

    #[test]
    fn the_page_fetches_nothing_from_elsewhere() {
        for elsewhere in ["http://", "https://", "src=\"//", "@import", "url("] {
            assert!(!PAGE.contains(elsewhere), "{elsewhere}");
        }
    }
}
