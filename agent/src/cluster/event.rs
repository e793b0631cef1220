use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, PostParams};
use tokio::time::timeout;

/// Events of things without a namespace live here; `kubectl describe node` looks for them.
const NAMESPACE: &str = "default";
const PATIENCE: Duration = Duration::from_secs(5);

/// How `kubectl` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// All is well.
    Normal,
    /// Somebody may want to look.
    Warning,
}

/// Writes Events about nodes. Best effort: one that cannot be written is said in the log and forgotten.
#[derive(Clone)]
pub struct Events {
    events: Api<Event>,
    controller: &'static str,
    instance: String,
}

impl Events {
    /// In the name of `controller`; `instance` says which one of them.
    #[must_use]
    pub fn new(client: kube::Client, controller: &'static str, instance: String) -> Self {
        Events { events: Api::namespaced(client, NAMESPACE), controller, instance }
    }

    /// Writes one about the node; whether it is there now.
    pub async fn tell(&self, node: &str, uid: Option<&str>, kind: Kind, reason: &str, note: String) -> bool {
        let now = Timestamp::now();
        let event = Event {
            metadata: ObjectMeta {
                name: Some(format!("{node}.{:x}", now.as_nanosecond())),
                namespace: Some(NAMESPACE.to_owned()),
                ..ObjectMeta::default()
            },
            event_time: Some(MicroTime(now)),
            type_: Some(if kind == Kind::Normal { "Normal" } else { "Warning" }.to_owned()),
            reason: Some(reason.to_owned()),
            action: Some("SetNetworkStatus".to_owned()),
            note: Some(note),
            regarding: Some(ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Node".to_owned()),
                name: Some(node.to_owned()),
                uid: uid.map(str::to_owned),
                ..ObjectReference::default()
            }),
            reporting_controller: Some(format!("edgeloop.dev/{}", self.controller)),
            // The API server wants one, of at most 128 characters.
            reporting_instance: Some(self.instance.chars().take(128).collect()),
            ..Event::default()
        };
        match timeout(PATIENCE, self.events.create(&PostParams::default(), &event)).await {
            Ok(Ok(_)) => true,
            Ok(Err(error)) => {
                tracing::warn!(node, reason, %error, "the Event could not be written; the account needs `create` on events.k8s.io in `default`");
                false
            }
            Err(_) => {
                tracing::warn!(node, reason, "the Event could not be written in time");
                false
            }
        }
    }
}
