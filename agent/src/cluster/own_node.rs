use std::time::Duration;

use futures::TryStreamExt;
use k8s_openapi::api::core::v1::Node as ApiNode;
use kube::api::Api;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, Event};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::{LabelKey, REQUEST_TIMEOUT};
use crate::jitter::{Backoff, Jitter};

/// The API server ends a watch after at most ten minutes by itself, and the client after five without a word.
const WATCH_LIMIT: Duration = Duration::from_secs(900);

/// What of our node we look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Tells a node from another of the same name.
    pub uid: String,
    /// Our label.
    pub label: Option<String>,
    /// When the label's value began, as the annotation beside it has it.
    pub since: Option<String>,
    /// Why.
    pub reason: Option<String>,
}

impl Node {
    /// The part of `node` that is ours.
    #[must_use]
    pub fn of(node: &PartialObjectMeta<ApiNode>, key: &LabelKey) -> Self {
        let metadata = &node.metadata;
        let annotation = |suffix| metadata.annotations.as_ref()?.get(&key.annotation(suffix)).cloned();
        Node {
            uid: metadata.uid.clone().unwrap_or_default(),
            label: metadata.labels.as_ref().and_then(|labels| labels.get(&key.to_string()).cloned()),
            since: annotation("since"),
            reason: annotation("reason"),
        }
    }
}

/// What the watch last said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Seen {
    /// Nothing yet.
    #[default]
    Unknown,
    /// There is no such node.
    Absent,
    /// It is there.
    Present(Node),
}

/// Watches our own node, metadata only, and keeps `seen` up to date: a label that somebody changed, a node created anew.
pub struct OwnNode {
    nodes: Api<PartialObjectMeta<ApiNode>>,
    name: String,
    key: LabelKey,
    seen: watch::Sender<Seen>,
    again: watch::Receiver<()>,
}

impl OwnNode {
    /// Of the node `name`. `again` makes it look afresh: after an outage the stream may hang on a connection that died silently.
    #[must_use]
    pub fn new(client: kube::Client, name: String, key: LabelKey, seen: watch::Sender<Seen>, again: watch::Receiver<()>) -> Self {
        OwnNode { nodes: Api::all(client), name, key, seen, again }
    }

    /// Never ends.
    pub async fn watch(self) {
        let mut again = self.again.clone();
        let mut again = async || {
            // Nobody left to tell us: the stream's own time limit is all that there is.
            if again.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30), Jitter::new());
        loop {
            tokio::select! {
                () = self.stream(&mut backoff) => {
                    let delay = backoff.delay();
                    tokio::select! { () = sleep(delay) => {}, () = again() => {} }
                }
                () = again() => tracing::debug!(node = self.name, "looking at the node afresh"),
            }
        }
    }

    /// One list and the watch after it, until something fails.
    async fn stream(&self, backoff: &mut Backoff) {
        let config = watcher::Config::default().fields(&format!("metadata.name={}", self.name));
        let mut events = std::pin::pin!(watcher::watcher(self.nodes.clone(), config));
        let (mut listed, mut complete) = (None, false);
        loop {
            // On a connection that has died silently a list never comes; a watch has a limit of its own.
            let limit = if complete { WATCH_LIMIT } else { REQUEST_TIMEOUT };
            let Ok(event) = timeout(limit, events.try_next()).await else { return };
            match event {
                Ok(Some(Event::Init)) => (listed, complete) = (None, false),
                Ok(Some(Event::InitApply(node))) => listed = Some(node),
                Ok(Some(Event::InitDone)) => {
                    backoff.reset();
                    complete = true;
                    self.tell(listed.take().as_ref());
                }
                Ok(Some(Event::Apply(node))) => self.tell(Some(&node)),
                Ok(Some(Event::Delete(_))) => self.tell(None),
                Ok(None) => return,
                Err(error) => {
                    tracing::debug!(node = self.name, %error, "the watch of our node broke");
                    return;
                }
            }
        }
    }

    fn tell(&self, node: Option<&PartialObjectMeta<ApiNode>>) {
        let seen = node.map_or(Seen::Absent, |node| Seen::Present(Node::of(node, &self.key)));
        // The kubelet writes all the time; what is not ours is no news.
        self.seen.send_if_modified(|last| {
            let news = *last != seen;
            *last = seen;
            news
        });
    }
}
