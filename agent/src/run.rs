//! The agent's life: rounds, the judge, and whoever is told.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use chrono::Utc;
use edgeloop_service::admin::{AdminServer, Beat, Health};
use edgeloop_service::exit::{BAD_INPUT, WithExitCode};
use edgeloop_service::{build, shutdown::Shutdown};
use prometheus::Registry;
use serde_json::json;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::cluster::{self, LeaseKeeper, OwnNode, Seen};
use crate::jitter::Jitter;
use crate::metrics::Metrics;
use crate::probe::Prober;
use crate::settings::Settings;
use crate::sink::{NodeLabel, Pace, Sink, StatusFile, Webhook, drive};
use crate::status::Status;
use crate::verdict::{Judge, Verdict};

/// Rounds follow each other this fast until the first verdict: whoever waits for it should not wait for three intervals.
const FIRST_INTERVAL: Duration = Duration::from_secs(1);
/// For the last words. A cut-off node's go to nobody.
const STOP_PATIENCE: Duration = Duration::from_secs(3);
/// On top of three intervals: a machine that is busy training may be late without being stuck.
const LIVE_SLACK: Duration = Duration::from_secs(30);

/// Runs until `shutdown`. Call inside a tokio runtime.
///
/// # Errors
/// With exit code 2 when the settings cannot work here (no ICMP although insisted on, no cluster although a node is named, admin
/// port taken); else when a part of the agent ends that never should.
pub async fn run(settings: Settings, shutdown: Shutdown) -> anyhow::Result<()> {
    let registry = Registry::new();
    build::register_info(&registry, "agent")?;
    let metrics = Metrics::register(&registry)?;
    let health = Health::new();
    health.set_ready("verdict", Err("no verdict yet".to_owned()));
    let limit = settings.interval().mul_f64(3.0) + settings.plan().longest() * 2 + LIVE_SLACK;
    let beat = health.heartbeat("loop", limit);
    let admin = AdminServer::bind(settings.admin.admin_addr).await.exit_code(BAD_INPUT)?;
    tracing::info!(addr = %admin.local_addr(), version = build::VERSION, "admin port open");
    let prober = Prober::open(&settings.heartbeat_ip, settings.plan(), settings.probe, &settings.surroundings(), &settings.trust());
    let prober = prober.exit_code(BAD_INPUT)?;

    let (sender, receiver) = watch::channel(Status::starting(prober.target(), prober.method(), Utc::now()));
    // Each task runs as long as the agent; one that ends before has failed, and the agent with it.
    let mut tasks = JoinSet::new();
    if let Some(path) = &settings.status_file {
        tasks.spawn(told("status_file", StatusFile::new(path.clone()), receiver.clone(), metrics.clone()));
    }
    if let Some(url) = &settings.webhook_url {
        let webhook = Webhook::new(url.clone(), settings.node_name.clone(), &settings.trust());
        let webhook = webhook.context("WEBHOOK_URL: no client can be made for it; is PROBE_CA_FILE a PEM file?").exit_code(BAD_INPUT)?;
        tasks.spawn(told("webhook", webhook, receiver.clone(), metrics.clone()));
    }
    if let Some(node) = &settings.node_name {
        let (client, namespace) = cluster::client().await.context("NODE_NAME is set").exit_code(BAD_INPUT)?;
        let namespace = settings.names.lease_namespace.clone().unwrap_or(namespace);
        let key = settings.names.node_label_key.clone();
        let (seen_sender, seen) = watch::channel(Seen::default());
        let (again, recovered) = watch::channel(());
        let own = OwnNode::new(client.clone(), node.clone(), key.clone(), seen_sender, recovered.clone());
        tasks.spawn(async {
            own.watch().await;
            "own_node"
        });
        let keeper = LeaseKeeper::new(client.clone(), &namespace, node.clone(), settings.lease_times(), seen.clone(), metrics.clone());
        let keeper = Arc::new(Mutex::new(keeper));
        let sink = NodeLabel::new(client, node.clone(), key, seen, recovered).behind(keeper.clone());
        tasks.spawn(told("node_label", sink, receiver.clone(), metrics.clone()));
        let (beat, shutdown) = (beat.clone(), shutdown.clone());
        tasks.spawn(async move {
            cluster::keep(keeper, beat, limit, again, shutdown).await;
            "lease"
        });
    }
    if settings.status_file.is_none() && settings.node_name.is_none() && settings.webhook_url.is_none() {
        tracing::warn!(
            "neither NODE_NAME nor STATUS_FILE nor WEBHOOK_URL is set: the verdict is told in the log and on the admin port only"
        );
    }
    drop(receiver);
    let server = admin.serve(registry, health.clone(), shutdown.clone());
    let rounds = rounds(&settings, prober, sender, beat, &metrics, &health);
    tokio::select! {
        biased;
        () = shutdown.cancelled() => {}
        result = server => result?,
        () = rounds => {}
        Some(ended) = tasks.join_next() => {
            let name = ended.context("a sink died")?;
            // It ends by itself only when the rounds have.
            if !shutdown.is_cancelled() { anyhow::bail!("sink {name} ended"); }
        }
    }
    // The sender is gone: sinks write what they have and end, and the lease is renewed for the next agent; the watch of our node is all that
    // stays. An API server that is away must not hold up the stop.
    let watches = usize::from(settings.node_name.is_some());
    let _ = tokio::time::timeout(STOP_PATIENCE, async { while tasks.len() > watches && tasks.join_next().await.is_some() {} }).await;
    tracing::info!("stopped");
    Ok(())
}

async fn told(name: &'static str, sink: impl Sink, receiver: watch::Receiver<Status>, metrics: Metrics) -> &'static str {
    drive(sink, receiver, Pace::default(), metrics).await;
    name
}

async fn rounds(settings: &Settings, mut prober: Prober, sender: watch::Sender<Status>, beat: Beat, metrics: &Metrics, health: &Health) {
    let mut judge = Judge::new(settings.thresholds(), settings.hold());
    let start = Instant::now();
    let mut jitter = Jitter::new();
    loop {
        let begin = Instant::now();
        let round = prober.round().await;
        beat.beat();
        let now = Utc::now();
        metrics.round(&round, now.timestamp_millis() as f64 / 1000.0);
        tracing::debug!(reason = %round.reason, rtt_ms = ?round.rtt.map(|rtt| rtt.as_secs_f64() * 1e3), sent = round.sent, answered = round.answered, "round");
        let mut status = sender.borrow().checked(&round, now);
        status.target = prober.target();
        let change = judge.observe(round.reason, start.elapsed());
        metrics.hold(judge.held(start.elapsed()));
        if let Some(change) = change {
            status = status.changed(change.to, change.reason);
            metrics.change(&change);
            health.set_ready("verdict", Ok(()));
            tracing::info!(
                from = %change.from, to = %change.to, reason = %change.reason, gateway = status.target, method = round.method.as_str(),
                rtt_ms = status.rtt_ms, loss = status.loss, "verdict"
            );
        }
        health.set_detail("gateway", json!(status));
        sender.send_replace(status);
        let interval = if judge.verdict() == Verdict::Unknown { settings.interval().min(FIRST_INTERVAL) } else { settings.interval() };
        sleep_until(begin + jitter.around(interval, 0.1)).await;
    }
}
