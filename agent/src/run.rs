//! The agent's life: rounds, the judge, and whoever is told.

use std::time::Duration;

use anyhow::Context;
use chrono::Utc;
use edgeloop_service::admin::{AdminServer, Beat, Health};
use edgeloop_service::exit::{BAD_INPUT, WithExitCode};
use edgeloop_service::{build, shutdown::Shutdown};
use prometheus::Registry;
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::jitter::Jitter;
use crate::metrics::Metrics;
use crate::probe::Prober;
use crate::settings::Settings;
use crate::sink::{NodeLabel, Pace, Sink, StatusFile, drive};
use crate::status::Status;
use crate::verdict::{Judge, Verdict};

/// Rounds follow each other this fast until the first verdict: whoever waits for it should not wait for three intervals.
const FIRST_INTERVAL: Duration = Duration::from_secs(1);
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
    let beat = health.heartbeat("loop", settings.interval().mul_f64(3.0) + settings.plan().longest() + LIVE_SLACK);
    let admin = AdminServer::bind(settings.admin.admin_addr).await.exit_code(BAD_INPUT)?;
    tracing::info!(addr = %admin.local_addr(), version = build::VERSION, "admin port open");
    let prober = Prober::open(settings.heartbeat_ip.clone(), settings.plan(), settings.probe).exit_code(BAD_INPUT)?;

    let (sender, receiver) = watch::channel(Status::starting(prober.target(), prober.method(), Utc::now()));
    // Each task runs as long as the agent; one that ends before has failed, and the agent with it.
    let mut tasks = JoinSet::new();
    if let Some(path) = &settings.status_file {
        tasks.spawn(told("status_file", StatusFile::new(path.clone()), receiver.clone(), metrics.clone()));
    }
    if let Some(node) = &settings.node_name {
        let client = kube_client().await.exit_code(BAD_INPUT)?;
        let sink = NodeLabel::new(client, node.clone(), settings.node_label_key.clone());
        tasks.spawn(told("node_label", sink, receiver.clone(), metrics.clone()));
    }
    if settings.status_file.is_none() && settings.node_name.is_none() {
        tracing::warn!("neither NODE_NAME nor STATUS_FILE is set: the verdict is told in the log and on the admin port only");
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
    // The sender is gone: sinks write what they have and end. An API server that is away must not hold up the stop.
    let _ = tokio::time::timeout(Duration::from_secs(2), async { while tasks.join_next().await.is_some() {} }).await;
    tracing::info!("stopped");
    Ok(())
}

async fn told(name: &'static str, sink: impl Sink, receiver: watch::Receiver<Status>, metrics: Metrics) -> &'static str {
    drive(sink, receiver, Pace::default(), metrics).await;
    name
}

async fn kube_client() -> anyhow::Result<kube::Client> {
    let mut config =
        kube::Config::infer().await.context("NODE_NAME is set, but there is neither a service account nor a kubeconfig here")?;
    // A write takes milliseconds; half-open connections of a cut-off site must not hang for the default of minutes.
    config.connect_timeout = Some(Duration::from_secs(5));
    config.read_timeout = Some(Duration::from_secs(10));
    config.write_timeout = Some(Duration::from_secs(10));
    kube::Client::try_from(config).context("the cluster's settings do not make a client")
}

async fn rounds(settings: &Settings, mut prober: Prober, sender: watch::Sender<Status>, beat: Beat, metrics: &Metrics, health: &Health) {
    let mut judge = Judge::new(settings.thresholds());
    let mut jitter = Jitter::new();
    loop {
        let begin = Instant::now();
        let round = prober.round().await;
        beat.beat();
        let now = Utc::now();
        metrics.round(&round, now.timestamp_millis() as f64 / 1000.0);
        tracing::debug!(reason = %round.reason, rtt_ms = ?round.rtt.map(|rtt| rtt.as_secs_f64() * 1e3), sent = round.sent, answered = round.answered, "round");
        let mut status = sender.borrow().checked(&round, now);
        if let Some(change) = judge.observe(round.reason) {
            status = status.changed(change.to, change.reason);
            metrics.change(&change);
            health.set_ready("verdict", Ok(()));
            tracing::info!(
                from = %change.from, to = %change.to, reason = %change.reason, gateway = %prober.target(), method = prober.method().as_str(),
                rtt_ms = status.rtt_ms, loss = status.loss, "verdict"
            );
        }
        health.set_detail("gateway", json!(status));
        sender.send_replace(status);
        let interval = if judge.verdict() == Verdict::Unknown { settings.interval().min(FIRST_INTERVAL) } else { settings.interval() };
        sleep_until(begin + jitter.around(interval, 0.1)).await;
    }
}
