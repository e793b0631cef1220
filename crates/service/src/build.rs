//! Which build is running: for logs, metrics, user agents and model metadata.

use prometheus::{IntGaugeVec, Opts, Registry};

/// The version of the workspace: all binaries carry the same one.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// `edgeloop-<component>/<version>`, for HTTP user agents and field managers.
#[must_use]
pub fn user_agent(component: &str) -> String {
    format!("edgeloop-{component}/{VERSION}")
}

/// Registers `edgeloop_build_info{component, version} 1`.
///
/// # Errors
/// When the registry already holds a metric of that name.
pub fn register_info(registry: &Registry, component: &str) -> prometheus::Result<()> {
    let info = IntGaugeVec::new(Opts::new("edgeloop_build_info", "Which build runs: always 1."), &["component", "version"])?;
    info.with_label_values(&[component, VERSION]).set(1);
    registry.register(Box::new(info))
}
