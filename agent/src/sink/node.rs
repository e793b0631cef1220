use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat};
use k8s_openapi::api::core::v1::Node as ApiNode;
use kube::api::{Api, ObjectMeta, Patch, PatchParams};
use kube::core::{PartialObjectMeta, PartialObjectMetaExt};
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use super::{Sink, SinkError};
use crate::cluster::{Events, Kind, LabelKey, LeaseKeeper, Node, Seen, hint, label_manager, lease_name};
use crate::status::Status;
use crate::verdict::Verdict;

/// An apply that changes nothing writes nothing on the server, so this costs two small requests a node.
const REPEAT: Duration = Duration::from_secs(300);
/// Where somebody undoes the label again and again, each Event would say the same: one within this time will do.
const UNDONE_EVENT: Duration = Duration::from_secs(60);

/// The label of our own node, `online` or `offline`, and since when, why and the round trip as annotations; an Event at each change.
///
/// Server-side apply, forced: the key is ours, also after somebody set it by hand. Apply would create a node that is not there;
/// the account must have `patch` on nodes and not `create`, which makes that an error.
pub struct NodeLabel {
    nodes: Api<PartialObjectMeta<ApiNode>>,
    name: String,
    key: LabelKey,
    events: Events,
    lease: Option<Arc<Mutex<LeaseKeeper>>>,
    seen: watch::Receiver<Seen>,
    recovered: watch::Receiver<()>,
    written: Option<Written>,
    told_undone: ToldUndone,
    failed: bool,
}

/// What the node was left with.
#[derive(Debug, PartialEq, Eq)]
struct Written {
    uid: String,
    label: &'static str,
}

/// When an Event has said last that somebody undid the label.
struct ToldUndone(Option<Instant>);

impl ToldUndone {
    /// Whether it is time to say so again.
    fn again(&mut self, now: Instant) -> bool {
        let due = self.0.is_none_or(|told| now - told >= UNDONE_EVENT);
        if due {
            self.0 = Some(now);
        }
        due
    }
}

impl NodeLabel {
    /// For the node `name`; `seen` is what the watch of it says, `recovered` rings when the API server is back.
    #[must_use]
    pub fn new(client: kube::Client, name: String, key: LabelKey, seen: watch::Receiver<Seen>, recovered: watch::Receiver<()>) -> Self {
        let events = Events::new(client.clone(), "agent", name.clone());
        NodeLabel {
            nodes: Api::all(client),
            name,
            key,
            events,
            lease: None,
            seen,
            recovered,
            written: None,
            told_undone: ToldUndone(None),
            failed: false,
        }
    }

    /// Writes nothing unless this Lease stands: a reaper that sees it stand still would undo the label at once.
    #[must_use]
    pub fn behind(self, lease: Arc<Mutex<LeaseKeeper>>) -> Self {
        NodeLabel { lease: Some(lease), ..self }
    }

    async fn write(&mut self, status: &Status) -> Result<(), SinkError> {
        let failed = |source| SinkError::Node { node: self.name.clone(), hint: hint(&source), source: Box::new(source) };
        // What comes after this is news, what came before is not: we look ourselves.
        self.seen.mark_unchanged();
        self.recovered.mark_unchanged();
        if let Some(lease) = &self.lease {
            let lease_failed = |source| SinkError::Lease { lease: lease_name(&self.name), hint: hint(&source), source: Box::new(source) };
            lease.lock().await.ensure().await.map_err(lease_failed)?;
        }
        let before = Node::of(&self.nodes.get(&self.name).await.map_err(failed)?, &self.key);
        let label = status.status.as_str();
        let changed = before.label.as_deref() != Some(label);
        let mut since = status.since.to_rfc3339_opts(SecondsFormat::Secs, true);
        let mut reason = status.reason.as_str().to_owned();
        // An agent that has just started finds what its predecessor found: nothing began with it.
        if let (false, Some(earlier), Some(why)) = (changed, before.since, before.reason)
            && DateTime::parse_from_rfc3339(&earlier).is_ok_and(|earlier| earlier < status.since)
        {
            (since, reason) = (earlier, why);
        }
        let mut annotations = BTreeMap::from([(self.key.annotation("since"), since), (self.key.annotation("reason"), reason)]);
        annotations.extend(status.rtt_ms.map(|rtt| (self.key.annotation("rtt-ms"), format!("{rtt:.3}"))));
        let labels = BTreeMap::from([(self.key.to_string(), label.to_owned())]);
        let metadata = ObjectMeta { labels: Some(labels), annotations: Some(annotations), ..ObjectMeta::default() };
        let patch = Patch::Apply(metadata.into_request_partial::<ApiNode>());
        let after = self.nodes.patch(&self.name, &PatchParams::apply(&label_manager(&self.key)).force(), &patch).await.map_err(failed)?;
        let uid = after.metadata.uid.unwrap_or_default();
        if changed {
            tracing::info!(node = self.name, label = %self.key, from = before.label, to = label, "node labelled");
        }
        if changed && self.worth_an_event(&uid, label) {
            let (kind, event) = match status.status {
                Verdict::Online => (Kind::Normal, "NetworkOnline"),
                _ => (Kind::Warning, "NetworkOffline"),
            };
            let was = before.label.as_deref().unwrap_or("without the label");
            let note = format!("gateway {}: {} ({label}, was {was})", status.target, status.reason);
            self.events.tell(&self.name, Some(&uid), kind, event, note).await;
        }
        self.written = Some(Written { uid, label });
        Ok(())
    }

    /// Whether a change of the label to this is news: our own verdict is; what is put right only now and then.
    fn worth_an_event(&mut self, uid: &str, label: &'static str) -> bool {
        let put_right = self.written.as_ref().is_some_and(|written| (written.uid.as_str(), written.label) == (uid, label));
        !put_right || self.told_undone.again(Instant::now())
    }

    /// Whether the node is as we left it.
    fn stands(&self) -> bool {
        match (&*self.seen.borrow(), &self.written) {
            (Seen::Present(node), Some(written)) => node.uid == written.uid && node.label.as_deref() == Some(written.label),
            // Nothing was written yet, or there is nothing to write to.
            (Seen::Present(_), None) => false,
            (Seen::Absent | Seen::Unknown, _) => true,
        }
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

    async fn undone(&mut self) {
        loop {
            tokio::select! {
                changed = self.seen.changed() => match changed {
                    Ok(()) if !self.stands() => return,
                    Ok(()) => {}
                    // Nobody watches: the repetition is all that there is.
                    Err(_) => std::future::pending().await,
                },
                Ok(()) = self.recovered.changed(), if self.failed => return,
                else => std::future::pending().await,
            }
        }
    }

    async fn tell(&mut self, status: &Status) -> Result<(), SinkError> {
        // Also where the time limit around this drops it half-way.
        self.failed = true;
        let result = self.write(status).await;
        self.failed = result.is_err();
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_undone_all_the_time_is_told_once_a_minute() {
        let mut told = ToldUndone(None);
        let begin = Instant::now();
        let events = (0..600).filter(|second| told.again(begin + Duration::from_secs(*second))).count();
        assert_eq!(events, 10);
    }
}
