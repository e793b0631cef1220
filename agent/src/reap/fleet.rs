use std::num::NonZeroU32;
use std::time::Duration;

use chrono::{SecondsFormat, Utc};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, Event, watcher};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::cluster::{Events, Kind, LEASE_SELECTOR, LabelKey, REQUEST_TIMEOUT, answered, hint, lease_name};
use crate::verdict::{Reason, Verdict};

/// A node without its spec and status: those of a thousand nodes are 20 MB.
pub type MetaNode = PartialObjectMeta<Node>;

/// A page of nodes; with all their annotations some 2 MB.
const NODES_PAGE: u32 = 100;
const LEASES_PAGE: u32 = 500;
/// Requests in flight.
const AT_ONCE: usize = 8;
const SUFFIXES: [&str; 3] = ["since", "reason", "rtt-ms"];

/// What is done to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// Its label becomes `offline`.
    Offline,
    /// Its label, its annotations and its lease are removed.
    Remove,
}

impl Write {
    /// For metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Write::Offline => "offline",
            Write::Remove => "remove",
        }
    }
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Written.
    Done,
    /// There is no such node any more.
    NotThere,
    /// The API server refuses.
    Refused(String),
    /// It does not answer.
    NoAnswer(String),
}

/// How fast is written.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    spacing: Duration,
}

impl Pace {
    /// So many a second.
    #[must_use]
    pub fn of(per_second: NonZeroU32) -> Self {
        Pace { spacing: Duration::from_secs(1) / per_second.get() }
    }
}

/// All nodes and leases, read in pages and written at a pace.
#[derive(Clone)]
pub struct Fleet {
    nodes: Api<MetaNode>,
    leases: Api<Lease>,
    events: Events,
    key: LabelKey,
    manager: String,
    pace: Pace,
}

impl Fleet {
    /// As `component`, which names the field manager and the author of Events.
    #[must_use]
    pub fn new(client: kube::Client, namespace: &str, key: LabelKey, component: &'static str, pace: Pace) -> Self {
        let instance = std::env::var("POD_NAME").unwrap_or_else(|_| format!("edgeloop-{component}"));
        Fleet {
            nodes: Api::all(client.clone()),
            leases: Api::namespaced(client.clone(), namespace),
            events: Events::new(client, component, instance),
            key,
            manager: format!("edgeloop-{component}"),
            pace,
        }
    }

    /// The value of our label.
    #[must_use]
    pub fn label<'a>(&self, node: &'a MetaNode) -> Option<&'a str> {
        node.metadata.labels.as_ref()?.get(&self.key.to_string()).map(String::as_str)
    }

    /// Nodes that have our label.
    #[must_use]
    pub fn watch_nodes(&self) -> BoxStream<'static, watcher::Result<Event<MetaNode>>> {
        watcher(self.nodes.clone(), watcher::Config::default().labels(&self.key.to_string()).page_size(NODES_PAGE)).boxed()
    }

    /// Leases of ours.
    #[must_use]
    pub fn watch_leases(&self) -> BoxStream<'static, watcher::Result<Event<Lease>>> {
        watcher(self.leases.clone(), watcher::Config::default().labels(LEASE_SELECTOR).page_size(LEASES_PAGE)).boxed()
    }

    /// Those leases, from the API server itself; those that are not there are left out.
    ///
    /// # Errors
    /// When one cannot be read.
    pub async fn leases_of(&self, nodes: &[String]) -> Result<Vec<Lease>, String> {
        let names: Vec<String> = nodes.iter().map(|node| lease_name(node)).collect();
        let reads = names.iter().map(|name| async move { limited(self.leases.get_opt(name)).await });
        let leases: Vec<Option<Lease>> = stream::iter(reads).buffered(AT_ONCE).try_collect().await?;
        Ok(leases.into_iter().flatten().collect())
    }

    /// All leases of ours, from the API server itself.
    ///
    /// # Errors
    /// When a page cannot be read.
    pub async fn all_leases(&self) -> Result<Vec<Lease>, String> {
        let mut leases = Vec::new();
        let mut params = ListParams::default().labels(LEASE_SELECTOR).limit(LEASES_PAGE);
        loop {
            let page = limited(self.leases.list(&params)).await?;
            leases.extend(page.items);
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => return Ok(leases),
            }
        }
    }

    /// Nodes that have anything of ours, label or annotation.
    ///
    /// # Errors
    /// When a page cannot be read.
    pub async fn nodes_of_ours(&self) -> Result<Vec<String>, String> {
        let mut names = Vec::new();
        let mut params = ListParams::default().limit(NODES_PAGE);
        loop {
            let page = limited(self.nodes.list(&params)).await?;
            names.extend(page.items.iter().filter(|node| self.is_ours(node)).filter_map(|node| node.metadata.name.clone()));
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => return Ok(names),
            }
        }
    }

    fn is_ours(&self, node: &MetaNode) -> bool {
        let annotation =
            |suffix: &&str| node.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(&self.key.annotation(suffix)));
        self.label(node).is_some() || SUFFIXES.iter().any(annotation)
    }

    /// Writes to each node (name, UID, silence), at the pace; stops at the first that gets no answer.
    pub async fn write(&self, nodes: Vec<(String, Option<String>, Duration)>, write: Write) -> Vec<(String, Outcome)> {
        let mut outcomes = Vec::new();
        let spaced = stream::iter(nodes).then(|node| async {
            sleep(self.pace.spacing).await;
            node
        });
        let writes = spaced.map(|(name, uid, silence)| async move {
            let outcome = self.write_one(&name, uid.as_deref(), silence, write).await;
            (name, outcome)
        });
        let mut writes = std::pin::pin!(writes.buffer_unordered(AT_ONCE));
        while let Some((name, outcome)) = writes.next().await {
            let lost = matches!(outcome, Outcome::NoAnswer(_));
            outcomes.push((name, outcome));
            if lost {
                break;
            }
        }
        outcomes
    }

    async fn write_one(&self, name: &str, uid: Option<&str>, silence: Duration, write: Write) -> Outcome {
        let patch = match write {
            Write::Offline => self.offline(uid),
            Write::Remove => self.removal(uid),
        };
        let params = PatchParams { field_manager: Some(self.manager.clone()), ..PatchParams::default() };
        let patched = match timeout(REQUEST_TIMEOUT, self.nodes.patch(name, &params, &Patch::Merge(&patch))).await {
            Ok(Ok(_)) => Outcome::Done,
            // The UID is a condition: another node of that name answers with a conflict.
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => Outcome::NotThere,
            Ok(Err(error)) if answered(&error) => Outcome::Refused(format!("{}: {error}", hint(&error))),
            Ok(Err(error)) => Outcome::NoAnswer(error.to_string()),
            Err(_) => Outcome::NoAnswer("no answer in time".to_owned()),
        };
        match (write, &patched) {
            (Write::Offline, Outcome::Done) => {
                let seconds = silence.as_secs();
                tracing::info!(node = name, silent_s = seconds, "node turned offline: its agent does not renew its lease");
                let note = format!("the agent has not renewed its lease for {seconds} s: lease_expired (offline)");
                self.events.tell(name, uid, Kind::Warning, "NetworkOffline", note).await;
                patched
            }
            (Write::Remove, Outcome::Done | Outcome::NotThere) => {
                tracing::info!(node = name, "label and annotations removed");
                self.delete_lease(name).await
            }
            _ => patched,
        }
    }

    async fn delete_lease(&self, node: &str) -> Outcome {
        match timeout(REQUEST_TIMEOUT, self.leases.delete(&lease_name(node), &DeleteParams::default())).await {
            Ok(Ok(_)) => Outcome::Done,
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => Outcome::Done,
            Ok(Err(error)) if answered(&error) => Outcome::Refused(format!("{}: {error}", hint(&error))),
            Ok(Err(error)) => Outcome::NoAnswer(error.to_string()),
            Err(_) => Outcome::NoAnswer("no answer in time".to_owned()),
        }
    }

    fn offline(&self, uid: Option<&str>) -> Value {
        let now = Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true);
        let annotations = json!({
            self.key.annotation("since"): now,
            self.key.annotation("reason"): Reason::LeaseExpired.as_str(),
            self.key.annotation("rtt-ms"): null,
        });
        with_uid(json!({"labels": {self.key.to_string(): Verdict::Offline.as_str()}, "annotations": annotations}), uid)
    }

    fn removal(&self, uid: Option<&str>) -> Value {
        let annotations: serde_json::Map<String, Value> =
            SUFFIXES.iter().map(|suffix| (self.key.annotation(suffix), Value::Null)).collect();
        with_uid(json!({"labels": {self.key.to_string(): null}, "annotations": annotations}), uid)
    }
}

fn with_uid(mut metadata: Value, uid: Option<&str>) -> Value {
    if let Some(uid) = uid {
        metadata["uid"] = json!(uid);
    }
    json!({"metadata": metadata})
}

async fn limited<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, String> {
    match timeout(REQUEST_TIMEOUT, request).await {
        Ok(result) => result.map_err(|error| format!("{}: {error}", hint(&error))),
        Err(_) => Err("no answer in time".to_owned()),
    }
}
