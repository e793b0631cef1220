use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, ObjectMeta, Patch, PatchParams};
use kube::core::PartialObjectMetaExt;

use super::{LabelKey, Sink, SinkError};
use crate::status::Status;
use crate::verdict::Verdict;

/// Under this name the API server books what is ours: labels and annotations of others stay untouched, and ours of last time that
/// are missing from an apply (the round trip, once there is none) are removed.
const FIELD_MANAGER: &str = "edgeloop-agent";

/// An apply that changes nothing writes nothing on the server, so this costs one small request a node.
const REPEAT: Duration = Duration::from_secs(300);

/// The label of our own node, `online` or `offline`, and since when, why and the round trip as annotations.
///
/// Server-side apply, forced: the key is ours, also after somebody set it by hand. Apply would create a node that is not there;
/// the account must have `patch` on nodes and not `create`, which makes that an error.
#[derive(Clone)]
pub struct NodeLabel {
    nodes: Api<Node>,
    name: String,
    key: LabelKey,
}

impl NodeLabel {
    /// For the node `name`.
    #[must_use]
    pub fn new(client: kube::Client, name: String, key: LabelKey) -> Self {
        NodeLabel { nodes: Api::all(client), name, key }
    }
}

impl Sink for NodeLabel {
    fn name(&self) -> &'static str {
        "node_label"
    }

    fn wants(&self, told: Option<&Status>, new: &Status) -> bool {
        // An agent that has just started knows nothing yet; what its predecessor wrote stands until it does.
        new.status != Verdict::Unknown && told.is_none_or(|told| told.status != new.status)
    }

    fn repeat(&self) -> Option<Duration> {
        Some(REPEAT)
    }

    async fn tell(&mut self, status: &Status) -> Result<(), SinkError> {
        let mut annotations = BTreeMap::from([
            (self.key.annotation("since"), status.since.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)),
            (self.key.annotation("reason"), status.reason.as_str().to_owned()),
        ]);
        annotations.extend(status.rtt_ms.map(|rtt| (self.key.annotation("rtt-ms"), format!("{rtt:.3}"))));
        let labels = BTreeMap::from([(self.key.to_string(), status.status.as_str().to_owned())]);
        let metadata = ObjectMeta { labels: Some(labels), annotations: Some(annotations), ..ObjectMeta::default() };
        let patch = Patch::Apply(metadata.into_request_partial::<Node>());
        let params = PatchParams::apply(FIELD_MANAGER).force();
        match self.nodes.patch_metadata(&self.name, &params, &patch).await {
            Ok(_) => {
                tracing::info!(node = self.name, label = %self.key, value = %status.status, "node labelled");
                Ok(())
            }
            Err(error) => Err(SinkError::Node { node: self.name.clone(), hint: hint(&error), source: Box::new(error) }),
        }
    }
}

fn hint(error: &kube::Error) -> &'static str {
    match error {
        kube::Error::Api(status) if matches!(status.code, 401 | 403) => {
            "the API server refuses; its account needs `patch` on nodes, and NODE_NAME must be this node's name"
        }
        kube::Error::Api(status) if status.code == 404 => "there is no such node; NODE_NAME must be this node's name (spec.nodeName)",
        kube::Error::Api(_) => "the API server refuses",
        _ => "the API server cannot be reached",
    }
}
