//! The admin port of every daemon: `/livez`, `/readyz`, `/metrics`.

mod health;

use std::net::SocketAddr;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use clap::Args;
use prometheus::{Registry, TextEncoder};
use tokio::net::TcpListener;

pub use health::{Beat, Health};

use crate::shutdown::Shutdown;

/// Where the admin port listens; flatten into a daemon's arguments.
#[derive(Args, Clone, Debug)]
pub struct AdminArgs {
    /// Address of `/livez`, `/readyz` and `/metrics`; port 0 takes any free one.
    #[arg(long, env = "ADMIN_ADDR", default_value = "0.0.0.0:8081")]
    pub admin_addr: SocketAddr,
}

/// The admin port could not be opened, or broke.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The address is taken or not ours.
    #[error("admin port: cannot listen on {addr}; choose another with --admin-addr or ADMIN_ADDR")]
    Bind {
        /// What was asked for.
        addr: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// The listener failed while serving.
    #[error("admin port: serving failed")]
    Serve(#[source] std::io::Error),
}

/// A bound admin port. Bound first, served later, so that a taken port is an error at start.
#[derive(Debug)]
pub struct AdminServer {
    listener: TcpListener,
    addr: SocketAddr,
}

impl AdminServer {
    /// Opens the port.
    ///
    /// # Errors
    /// [`AdminError::Bind`] when the address is taken.
    pub async fn bind(addr: SocketAddr) -> Result<Self, AdminError> {
        let bind = async {
            let listener = TcpListener::bind(addr).await?;
            let addr = listener.local_addr()?;
            Ok(AdminServer { listener, addr })
        };
        bind.await.map_err(|source| AdminError::Bind { addr, source })
    }

    /// The address it really has (port 0 resolved).
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Answers until `shutdown`. A daemon that drains passes a token that it triggers after the drain: probes and metrics are
    /// wanted until the end.
    ///
    /// # Errors
    /// [`AdminError::Serve`] when the listener fails.
    pub async fn serve(self, registry: Registry, health: Health, shutdown: Shutdown) -> Result<(), AdminError> {
        axum::serve(self.listener, router(registry, health))
            .with_graceful_shutdown(shutdown.cancelled_owned())
            .await
            .map_err(AdminError::Serve)
    }
}

/// The three routes, for tests without a socket.
pub fn router(registry: Registry, health: Health) -> Router {
    Router::new()
        .route("/livez", get(|State(health): State<Health>| async move { report(health.live_report()) }))
        .route("/readyz", get(|State(health): State<Health>| async move { report(health.ready_report()) }))
        .with_state(health)
        .route("/metrics", get(|State(registry): State<Registry>| async move { metrics(&registry) }).with_state(registry))
}

fn report((ok, body): (bool, serde_json::Value)) -> Response {
    let status = if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(body)).into_response()
}

fn metrics(registry: &Registry) -> Response {
    match TextEncoder::new().encode_to_string(&registry.gather()) {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response(),
        Err(error) => {
            let body = serde_json::json!({"error": "metrics", "message": format!("metrics cannot be written as text: {error}")});
            (StatusCode::INTERNAL_SERVER_ERROR, Json(body)).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use axum::body::Body;
    use axum::http::Request;
    use serde_json::{Value, json};
    use std::time::Duration;
    use tower::ServiceExt;

    async fn ask(health: &Health, path: &str) -> (StatusCode, Value) {
        let response = router(Registry::new(), health.clone()).oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn readyz_says_which_check_fails_and_why() {
        let health = Health::new();
        health.set_ready("model", Err("no model yet".into()));
        health.set_ready("port", Ok(()));
        health.set_detail("version", json!("20261121_030000"));
        let (status, body) = ask(&health, "/readyz").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(
            body,
            json!({
                "ready": false,
                "checks": {"model": {"ok": false, "detail": "no model yet"}, "port": {"ok": true, "detail": null}},
                "details": {"version": "20261121_030000"},
            })
        );
    }

    #[tokio::test]
    async fn readyz_recovers() {
        let health = Health::new();
        health.set_ready("model", Err("no model yet".into()));
        health.set_ready("model", Ok(()));
        assert_eq!(ask(&health, "/readyz").await.0, StatusCode::OK);
    }

    #[tokio::test]
    async fn livez_fails_when_a_heartbeat_is_too_old_and_recovers_with_the_next() {
        let health = Health::new();
        let beat = health.heartbeat("loop", Duration::ZERO);
        while beat.age().is_zero() {
            tokio::task::yield_now().await;
        }
        let (status, body) = ask(&health, "/livez").await;
        assert_eq!((status, &body["live"], &body["checks"]["loop"]["ok"]), (StatusCode::SERVICE_UNAVAILABLE, &json!(false), &json!(false)));
        let patient = health.heartbeat("loop", Duration::from_secs(3600));
        patient.beat();
        assert_eq!(ask(&health, "/livez").await.0, StatusCode::OK);
    }

    #[tokio::test]
    async fn a_beat_that_was_dropped_counts_as_a_dead_loop() {
        let health = Health::new();
        drop(health.heartbeat("loop", Duration::from_secs(3600)));
        assert_eq!(ask(&health, "/livez").await.0, StatusCode::SERVICE_UNAVAILABLE);
    }

    #[tokio::test]
    async fn metrics_are_text() {
        let registry = Registry::new();
        crate::build::register_info(&registry, "agent").unwrap();
        let response = router(registry, Health::new()).oneshot(Request::get("/metrics").body(Body::empty()).unwrap()).await.unwrap();
        let text = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        let expected = format!("edgeloop_build_info{{component=\"agent\",version=\"{}\"}} 1", crate::build::VERSION);
        assert!(String::from_utf8(text.to_vec()).unwrap().contains(&expected));
    }

    #[tokio::test]
    async fn a_taken_port_is_an_error_that_names_it() {
        let first = AdminServer::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let error = AdminServer::bind(first.local_addr()).await.unwrap_err();
        assert!(error.to_string().contains(&first.local_addr().to_string()));
    }
}
