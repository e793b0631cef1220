//! The reaper: turns nodes offline that cannot say so themselves.
//!
//! A node that is cut off from the API server, or dead, keeps the label that it had. Its agent's Lease then stands still, and this, one
//! Deployment with one replica, sees it. Two watches (nodes: metadata of those with the label; leases) feed a pure judge once a second.
//! Before a node is turned offline its Lease is read from the API server itself; before many are, all of them are, after a pause.

mod fleet;
mod judge;
mod metrics;
mod settings;
mod source;

use std::time::Duration;

use edgeloop_service::admin::{AdminServer, Health};
use edgeloop_service::exit::{BAD_INPUT, WithExitCode};
use edgeloop_service::{build, shutdown::Shutdown};
use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt;
use kube::runtime::watcher::{self, Event};
use prometheus::Registry;
use tokio::time::{Instant, MissedTickBehavior, interval};

pub use fleet::{Fleet, MetaNode, Outcome, Pace, Write};
pub use judge::{Due, Judge, Label, Patience};
pub use settings::ReapSettings;

use crate::cluster::{self, node_of_lease};
use crate::verdict::Verdict;
use metrics::Metrics;
use source::Source;

/// The judge is asked this often.
const TICK: Duration = Duration::from_secs(1);
/// Between the two looks at a mass change.
const SECOND_LOOK: Duration = Duration::from_secs(2);
/// For so long that look stands for the rest of the mass, whose leases run out one after the other; each is still read before it is turned offline.
const VOUCHED: Duration = Duration::from_secs(60);
/// A turn that comes so late means that we were stopped ourselves (a laptop's lid, a paused VM): nobody's silence counts.
const PAUSE: Duration = Duration::from_secs(15);
/// Without a turn of the loop.
const LIVE_LIMIT: Duration = Duration::from_secs(120);

/// Runs until `shutdown`.
///
/// # Errors
/// With exit code 2 when there is no cluster or the admin port is taken.
pub async fn run(settings: ReapSettings, shutdown: Shutdown) -> anyhow::Result<()> {
    let registry = Registry::new();
    build::register_info(&registry, "reaper")?;
    let metrics = Metrics::register(&registry)?;
    let health = Health::new();
    health.set_ready("contact", Err("the leases have not been listed yet".to_owned()));
    let beat = health.heartbeat("loop", LIVE_LIMIT);
    let admin = AdminServer::bind(settings.admin.admin_addr).await.exit_code(BAD_INPUT)?;
    tracing::info!(addr = %admin.local_addr(), version = build::VERSION, "admin port open");
    let (client, namespace) = cluster::client().await.exit_code(BAD_INPUT)?;
    let namespace = settings.names.lease_namespace.clone().unwrap_or(namespace);
    let fleet = Fleet::new(client, &namespace, settings.names.node_label_key.clone(), "reaper", Pace::of(settings.writes_per_second));
    tracing::info!(namespace, label = %settings.names.node_label_key, "watching nodes and leases");
    let mut reaper = Reaper::new(fleet, settings.patience(), metrics, health.clone());
    let server = admin.serve(registry, health, shutdown.clone());
    let reaping = async {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // What the watches have goes first: a renewal that waits in the queue must not be judged as missing.
            tokio::select! {
                biased;
                event = reaper.nodes.next() => reaper.on_node(event),
                event = reaper.leases.next() => reaper.on_lease(event),
                _ = tick.tick() => {
                    beat.beat();
                    reaper.turn().await;
                    reaper.turned = Instant::now();
                }
            }
        }
    };
    tokio::select! {
        biased;
        () = shutdown.cancelled() => {}
        result = server => result?,
        () = reaping => {}
    }
    tracing::info!("stopped");
    Ok(())
}

struct Reaper {
    fleet: Fleet,
    judge: Judge,
    nodes: Source<MetaNode>,
    leases: Source<Lease>,
    start: Instant,
    /// When the last turn ended.
    turned: Instant,
    /// When the second look is due, and at whom.
    second: Option<(Instant, Vec<String>)>,
    /// When a second look last said the same.
    vouched: Option<Instant>,
    metrics: Metrics,
    health: Health,
}

impl Reaper {
    fn new(fleet: Fleet, patience: Patience, metrics: Metrics, health: Health) -> Self {
        let (of_nodes, of_leases) = (fleet.clone(), fleet.clone());
        Reaper {
            fleet,
            judge: Judge::new(patience),
            nodes: Source::new(move || of_nodes.watch_nodes()),
            leases: Source::new(move || of_leases.watch_leases()),
            start: Instant::now(),
            turned: Instant::now(),
            second: None,
            vouched: None,
            metrics,
            health,
        }
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn on_node(&mut self, event: watcher::Result<Event<MetaNode>>) {
        let now = self.now();
        match event {
            Ok(Event::Init) => self.judge.nodes_begin(),
            Ok(Event::InitApply(node) | Event::Apply(node)) => {
                let online = self.fleet.label(&node) == Some(Verdict::Online.as_str());
                self.judge.node(&node.name_any(), node.metadata.uid.as_deref(), if online { Label::Online } else { Label::Other }, now);
            }
            Ok(Event::InitDone) => {
                self.nodes.came();
                self.judge.nodes_end();
            }
            // Its label was taken away, which the selector shows as a deletion, or it is gone.
            Ok(Event::Delete(node)) => self.judge.node_gone(&node.name_any()),
            Err(error) => {
                tracing::debug!(%error, "the watch of the nodes broke");
                self.nodes.restart();
            }
        }
    }

    fn on_lease(&mut self, event: watcher::Result<Event<Lease>>) {
        let now = self.now();
        match event {
            Ok(Event::Init) => self.judge.leases_begin(),
            Ok(Event::InitApply(lease) | Event::Apply(lease)) => {
                self.saw(&lease, now);
            }
            Ok(Event::InitDone) => {
                self.leases.came();
                if !self.judge.in_contact() {
                    tracing::info!("in contact: every lease has its whole length from now on");
                }
                self.judge.leases_end(now);
                self.health.set_ready("contact", Ok(()));
            }
            Ok(Event::Delete(lease)) => {
                if let Some(node) = node_of_lease(&lease.name_any()) {
                    self.judge.lease_gone(node);
                }
            }
            Err(error) => self.lose_contact(&error.to_string()),
        }
    }

    /// Whether it has moved.
    fn saw(&mut self, lease: &Lease, now: Duration) -> bool {
        let name = lease.name_any();
        let Some(node) = node_of_lease(&name) else { return false };
        let length = lease.spec.as_ref().and_then(|spec| u64::try_from(spec.lease_duration_seconds?).ok()).map(Duration::from_secs);
        self.judge.lease(node, lease.metadata.resource_version.as_deref().unwrap_or_default(), length, now)
    }

    fn lose_contact(&mut self, why: &str) {
        if self.judge.in_contact() {
            tracing::warn!(why, "contact with the API server is lost: nobody is judged until it is back, nor for one lease after that");
            self.metrics.outage();
            self.health.set_ready("contact", Err("the API server does not answer".to_owned()));
        }
        self.judge.lost();
        (self.second, self.vouched) = (None, None);
        self.leases.restart();
        // It may hang on the same dead connection.
        self.nodes.restart();
    }

    /// Once a second.
    async fn turn(&mut self) {
        let now = self.now();
        self.metrics.counts(self.judge.counts(), self.judge.in_contact());
        if self.turned.elapsed() > PAUSE && self.judge.in_contact() {
            self.lose_contact("we were stopped ourselves");
            return;
        }
        let due = self.judge.due(now);
        let confirmed = match self.second.take() {
            Some((at, first)) if Instant::now() < at => {
                self.second = Some((at, first));
                return;
            }
            Some((_, first)) => self.look_again(first).await,
            None if self.judge.is_mass(due.offline.len(), now) && self.vouched.is_none_or(|at| at.elapsed() > VOUCHED) => {
                tracing::warn!(nodes = due.offline.len(), "many nodes seem to be gone at once: looking a second time");
                self.second = Some((Instant::now() + SECOND_LOOK, due.offline));
                return;
            }
            None => self.look_at(&due.offline).await,
        };
        let Some(confirmed) = confirmed else { return };
        if !confirmed.is_empty() {
            self.write(confirmed, Write::Offline).await;
        }
        if !due.forget.is_empty()
            && let Some(confirmed) = self.look_at(&due.forget).await
        {
            self.write(confirmed, Write::Remove).await;
        }
    }

    /// Reads each one's lease from the API server; those that stand still indeed. `None` when we have been looking at a picture.
    async fn look_at(&mut self, names: &[String]) -> Option<Vec<String>> {
        if names.is_empty() {
            return Some(Vec::new());
        }
        let leases = match self.fleet.leases_of(names).await {
            Ok(leases) => leases,
            Err(error) => {
                self.lose_contact(&error);
                return None;
            }
        };
        self.compare(&leases, names)
    }

    /// The same for a mass: all leases in one list.
    async fn look_again(&mut self, first: Vec<String>) -> Option<Vec<String>> {
        let leases = match self.fleet.all_leases().await {
            Ok(leases) => leases,
            Err(error) => {
                self.lose_contact(&error);
                return None;
            }
        };
        let confirmed = self.compare(&leases, &first);
        self.metrics.second_look(confirmed.is_some());
        if let Some(confirmed) = &confirmed {
            tracing::warn!(nodes = confirmed.len(), "the second look says the same");
            self.vouched = Some(Instant::now());
        }
        confirmed
    }

    fn compare(&mut self, leases: &[Lease], names: &[String]) -> Option<Vec<String>> {
        let now = self.now();
        // The watch should have told us: it hangs, and what else it has not told us nobody knows.
        let moved = leases.iter().filter(|lease| self.saw(lease, now)).count();
        let still = self.judge.due(now);
        let confirmed: Vec<String> =
            names.iter().filter(|name| still.offline.contains(name) || still.forget.contains(name)).cloned().collect();
        if moved > 0 && confirmed.len() < names.len() {
            self.lose_contact("leases have moved that the watch did not show");
            return None;
        }
        Some(confirmed)
    }

    async fn write(&mut self, names: Vec<String>, write: Write) {
        let now = self.now();
        let nodes = names.into_iter().map(|name| {
            let (uid, silence) = (self.judge.uid(&name), self.judge.silence(&name, now));
            (name, uid, silence)
        });
        let outcomes = self.fleet.write(nodes.collect(), write).await;
        let now = self.now();
        let mut lost = None;
        for (name, outcome) in outcomes {
            self.metrics.write(write, &outcome);
            match outcome {
                Outcome::Done if write == Write::Offline => self.judge.turned_offline(&name, now),
                Outcome::Done => {
                    self.judge.node_gone(&name);
                    self.judge.lease_gone(&name);
                }
                // Another node has its name now, or none: the watch will tell.
                Outcome::NotThere => self.judge.node_gone(&name),
                Outcome::Refused(error) => tracing::warn!(node = name, error, "the node could not be written; trying again"),
                Outcome::NoAnswer(error) => lost = Some(error),
            }
        }
        if let Some(error) = lost {
            self.lose_contact(&error);
        }
    }
}
