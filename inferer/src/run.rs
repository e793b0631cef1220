//! Everything wired together, and taken apart in order on SIGTERM.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use edgeloop_service::admin::{AdminArgs, AdminServer, Health};
use edgeloop_service::build;
use edgeloop_service::exit::WithExitCode;
use edgeloop_service::shutdown::Shutdown;
use prometheus::Registry;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::api::admission::{Admission, Traffic};
use crate::api::auth::{Auth, TokenFile};
use crate::api::body::Bounds;
use crate::api::{Api, LogLines, Models, router};
use crate::engines::EngineFactory;
use crate::engines::keeper::Keeper;
use crate::engines::metrics::EngineMetrics;
use crate::folder::Folder;
use crate::folder::results::Results;
use crate::infer::Rules;
use crate::load::{Native, Runtime};
use crate::metrics::Metrics;
use crate::pace::Pace;
use crate::pipeline::Pipeline;
use crate::reload::{Reloader, Wake};
use crate::serve::{Limits, serve};
use crate::settings::{ResultsArgs, Settings};
use crate::slot::Slot;

/// Tokio's workers only move bytes; the work is done on threads of its own.
const RUNTIME_THREADS: usize = 2;
/// How long threads get to finish what they are at when the process ends; a load that is under way may be cut off.
const THREADS_END: Duration = Duration::from_secs(5);

/// What a caller may bring instead of the defaults.
pub struct Parts {
    /// Makes engines.
    pub runtime: Arc<dyn Runtime>,
    /// What is started to try a new model: this very program.
    pub program: PathBuf,
    /// Where the images folder's lines go.
    pub out: Box<dyn Write + Send>,
    /// Told once both ports are open: serving, admin.
    pub bound: Option<oneshot::Sender<(SocketAddr, SocketAddr)>>,
}

impl Default for Parts {
    fn default() -> Self {
        // Not the path that it was started by: that file may have been replaced since, by another version.
        Self { runtime: Arc::new(Native), program: "/proc/self/exe".into(), out: Box::new(std::io::stdout()), bound: None }
    }
}

/// Runs with signals as the end.
///
/// # Errors
/// A port cannot be opened, or a thread cannot be started.
pub fn block_on(settings: Settings) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(RUNTIME_THREADS)
        .enable_all()
        .build()
        .context("tokio's runtime cannot be started")?;
    runtime.block_on(async {
        let shutdown = Shutdown::on_signals().context("signal handlers cannot be installed")?;
        run(settings, shutdown, Parts::default()).await
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Serves until `shutdown`, then drains.
///
/// # Errors
/// A port cannot be opened, or a thread cannot be started.
pub async fn run(settings: Settings, shutdown: Shutdown, parts: Parts) -> anyhow::Result<()> {
    let rules = Rules { limits: settings.decode_limits(), nms: settings.nms(), floors: None };
    let worker_threads = settings.worker_threads();
    settings
        .engines
        .check(edgeloop_engine::cpu())
        .map_err(anyhow::Error::msg)
        .context("DEVICE and PRECISION do not go together")
        .exit_code(2)?;
    let Settings {
        images_dir,
        model_dir,
        inference_interval,
        check_model_interval,
        engines,
        inference_all,
        inference_folder,
        serve_addr,
        admin: AdminArgs { admin_addr },
        max_body_bytes,
        queue,
        max_connections,
        body_timeout,
        http,
        results: ResultsArgs { results_dir, results_file_bytes, results_files },
        drain_delay,
        drain_timeout,
        reload,
        confidence: _,
        iou: _,
        max_detections: _,
        max_pixels: _,
        decode_threads: _,
        logs: _,
    } = settings;
    let Parts { runtime, program, out, bound } = parts;

    let (auth, token_file) = match &http.auth_tokens_file {
        Some(path) => TokenFile::open(path).map(|(auth, file)| (auth, Some(file))).exit_code(2)?,
        None => (Auth::default(), None),
    };
    let listener = TcpListener::bind(serve_addr)
        .await
        .with_context(|| format!("cannot listen on {serve_addr}; choose another address with --serve-addr or SERVE_ADDR"))
        .exit_code(2)?;
    let admin = AdminServer::bind(admin_addr).await.exit_code(2)?;
    let addresses = (listener.local_addr()?, admin.local_addr());

    let registry = Registry::new();
    build::register_info(&registry, "inferer")?;
    let metrics = Metrics::register(&registry)?;
    let (health, slot, traffic) = (Health::new(), Slot::new(), Traffic::default());
    health.set_ready("model", Err("starting".into()));
    health.set_ready("serving", Ok(()));

    // The loops get a token of their own, triggered after the drain: the model must serve to the end.
    let (loops, admin_end) = (Shutdown::new(), Shutdown::new());
    let (reload_wake, reload_looks) = Wake::new();
    let (folder_wake, folder_looks) = Wake::new();
    let (device, precision) = (engines.device, engines.precision);
    let factory = Arc::new(
        EngineFactory::new(runtime, engines, EngineMetrics::register(&registry)?).with_trials(reload.trials(program, loops.clone())),
    );
    let plan = factory.plan();
    let pace = Pace::default();
    let (pipeline, workers) = Pipeline::start(worker_threads, queue as usize, &pace, metrics.clone(), reload_wake.clone())?;
    let reloader = Reloader {
        model_dir: model_dir.clone(),
        interval: check_model_interval,
        notices: reload.model_notices,
        rule: reload.rule(),
        factory: factory.clone(),
        slot: slot.clone(),
        health: health.clone(),
        metrics: metrics.clone(),
        shutdown: loops.clone(),
        wake: reload_wake.clone(),
        looks: reload_looks,
    };
    let keeper = Keeper { slot: slot.clone(), factory, metrics: metrics.clone(), health: health.clone(), shutdown: loops.clone() };
    let mut threads = vec![spawn("reload", move || reloader.run())?, spawn("engines", move || keeper.run())?];
    if inference_folder {
        let folder = Folder {
            dir: images_dir.clone(),
            interval: inference_interval,
            all: inference_all,
            rules: rules.clone(),
            slot: slot.clone(),
            traffic: traffic.clone(),
            lane: pace.lane(),
            metrics: metrics.clone(),
            health: health.clone(),
            reload: reload_wake.clone(),
            // The folder stops first: nobody waits for its lines.
            shutdown: shutdown.clone(),
            wake: folder_wake.clone(),
            looks: folder_looks,
            out,
            results: results_dir.map(|dir| Results::new(dir, results_file_bytes, results_files as usize, metrics.clone())),
        };
        threads.push(spawn("folder", move || folder.run())?);
    }
    threads.extend(workers);

    let admin = tokio::spawn(admin.serve(registry, health.clone(), admin_end.clone()));
    let ticker = tokio::spawn(tick(metrics.clone()));
    if let Some(file) = token_file {
        tokio::spawn(file.watch(loops.clone()));
    }
    let draining = Arc::new(AtomicBool::new(false));
    let api = Api {
        slot,
        pipeline,
        admission: Admission::new(queue as usize, plan.instances, http.memory(max_body_bytes), traffic, pace.clone(), metrics.clone()),
        auth,
        models: Models::new(model_dir.clone(), reload_wake.clone()),
        pace,
        metrics,
        rules: Arc::new(rules),
        bounds: Bounds { bytes: max_body_bytes, time: body_timeout },
        max_batch: http.max_batch as usize,
        request_timeout: http.request_timeout,
        since: Instant::now(),
        log_lines: LogLines::default(),
        draining: draining.clone(),
    };
    let clients = Limits { connections: max_connections as usize, head: http.head_timeout, write: http.write_timeout };
    let stop = Shutdown::new();
    let server = tokio::spawn(serve(listener, router(api), clients, stop.clone(), drain_timeout));
    tracing::info!(
        serving = %addresses.0, admin = %addresses.1, model_dir = %model_dir.display(), images_dir = %images_dir.display(), %device,
        %precision, instances = plan.instances, threads = plan.threads, decode_threads = worker_threads, "edgeloop-inferer {} is up", build::VERSION
    );
    if let Some(bound) = bound {
        let _ = bound.send(addresses);
    }

    let broken = tokio::select! {
        () = shutdown.cancelled() => None,
        // A thread that is gone does not come back: a supervisor starts a whole process.
        name = first_to_end(&threads) => Some(name),
    };
    health.set_ready("serving", Err("stopping".into()));
    draining.store(true, Ordering::Relaxed);
    folder_wake.look();
    if broken.is_none() {
        sleep(drain_delay).await;
    }
    stop.trigger();
    let cut_off = server.await.context("the serving task panicked")?;
    if cut_off > 0 {
        tracing::warn!(requests = cut_off, "requests in flight were cut off: they outlasted DRAIN_TIMEOUT");
    }
    loops.trigger();
    shutdown.trigger();
    reload_wake.look();
    let named = broken.clone();
    let left = tokio::task::spawn_blocking(move || join(threads)).await.unwrap_or_default();
    if !left.is_empty() {
        tracing::warn!(?left, "threads are still at work; the process ends without them");
    }
    ticker.abort();
    admin_end.trigger();
    admin.await.context("the admin task panicked")??;
    match named {
        None => {
            tracing::info!("stopped");
            Ok(())
        }
        Some(name) => anyhow::bail!("the thread {name:?} ended by itself; the log says why"),
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.into()).spawn(body)
}

async fn tick(metrics: Metrics) {
    let mut seconds = interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        seconds.tick().await;
        metrics.tick(Instant::now());
    }
}

/// The name of the first thread that has ended.
async fn first_to_end(threads: &[JoinHandle<()>]) -> String {
    let mut looks = interval(Duration::from_millis(500));
    loop {
        looks.tick().await;
        if let Some(thread) = threads.iter().find(|t| t.is_finished()) {
            return thread.thread().name().unwrap_or("?").to_owned();
        }
    }
}

/// Waits for the threads, not for ever; names those that are still at work.
fn join(threads: Vec<JoinHandle<()>>) -> Vec<String> {
    let until = Instant::now() + THREADS_END;
    while threads.iter().any(|t| !t.is_finished()) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
    threads.iter().filter(|t| !t.is_finished()).map(|t| t.thread().name().unwrap_or("?").to_owned()).collect()
}
