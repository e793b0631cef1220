//! What agent, reaper and uninstall share of Kubernetes: the client, the names of things, Events.

mod event;
mod label;
mod lease;
mod own_node;

use std::time::Duration;

use anyhow::Context;

pub use event::{Events, Kind};
pub use label::{BadLabelKey, LabelKey};
pub use lease::{LEASE_SELECTOR, LeaseKeeper, LeaseTimes, keep, lease_name, node_of_lease};
pub use own_node::{Node, OwnNode, Seen};

/// Under this name the API server books what is the agent's: labels and annotations of others stay untouched, and ours of last time that
/// are missing from an apply (the round trip, once there is none) are removed.
pub const FIELD_MANAGER: &str = "edgeloop-agent";

/// The manager of a node's label: one for each key. What a manager leaves out of its apply is removed, so that two releases with a key each
/// would take away each other's label under one name.
#[must_use]
pub fn label_manager(key: &LabelKey) -> String {
    // 128 characters are allowed; a key has up to 317, and differs at its end.
    let key = key.to_string();
    let tail = key.get(key.len().saturating_sub(100)..).unwrap_or(&key);
    format!("{FIELD_MANAGER}/{tail}")
}

/// A request takes milliseconds; half-open connections of a cut-off site must not hang for minutes.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// A client from the service account or the kubeconfig, and its namespace.
///
/// # Errors
/// When there is neither.
pub async fn client() -> anyhow::Result<(kube::Client, String)> {
    let mut config = kube::Config::infer().await.context("there is neither a service account nor a kubeconfig here")?;
    config.connect_timeout = Some(Duration::from_secs(5));
    config.write_timeout = Some(REQUEST_TIMEOUT);
    // Watches are silent for minutes; requests have a limit of their own around them.
    config.read_timeout = None;
    // Our own pauses are chosen for a fleet: a retry in here would not know of them.
    config.default_retry = false;
    let namespace = config.default_namespace.clone();
    Ok((kube::Client::try_from(config).context("the cluster's settings do not make a client")?, namespace))
}

/// What to look at when the API server did not do as asked.
#[must_use]
pub fn hint(error: &kube::Error) -> &'static str {
    match error {
        kube::Error::Api(status) if matches!(status.code, 401 | 403) => {
            "the API server refuses; look at the account's rights and, of an agent, at NODE_NAME: it must be this node's name"
        }
        kube::Error::Api(status) if status.code == 404 => "it is not there; NODE_NAME must be this node's name (spec.nodeName)",
        kube::Error::Api(_) => "the API server refuses",
        _ => "the API server cannot be reached",
    }
}

/// Whether the API server answered, if only with a refusal.
#[must_use]
pub fn answered(error: &kube::Error) -> bool {
    // An overloaded or starting server answers with these, as a proxy in front of none does.
    matches!(error, kube::Error::Api(status) if status.code < 500 && status.code != 429)
}
