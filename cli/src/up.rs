//! `edgeloop up`: the whole loop on one box, with no cluster. Agent and inferer as children, the trainer on its schedule while the
//! gateway is reachable.

mod daemon;
mod state;
mod training;

use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus};
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::Context;
use chrono::{Local, Utc};
use clap::Args;
use edgeloop_service::exit::{BAD_INPUT, WithExitCode};
use edgeloop_service::logs::{LogArgs, LogFormat};
use edgeloop_service::shutdown;
use edgeloop_store::Store;

use crate::children::{Child, Spec, find};
use crate::schedule::Schedule;

pub use state::{ChildState, ChildView, Gateway, Lock, UpState};

use daemon::Daemon;
use training::Training;

/// The longest that a signal or a due training waits to be noticed.
const TICK: Duration = Duration::from_millis(200);
/// The trainer ends its batch and writes a checkpoint.
const TRAINER_GRACE: Duration = Duration::from_secs(120);
/// The inferer answers what it has accepted.
const INFERER_GRACE: Duration = Duration::from_secs(45);
const AGENT_GRACE: Duration = Duration::from_secs(10);

/// Runs the loop on this box until SIGTERM or Ctrl-C.
///
/// Starts the agent (is the gateway reachable?), the inferer (POST /infer) and, on the schedule and only while the gateway is
/// reachable, the trainer. What they need besides the flags here they take from the environment, under the names of their own
/// --help: EPOCHS=50 BATCH_SIZE=8 edgeloop up.
#[derive(Args, Debug)]
#[command(after_help = "\
Put labelled images into ./data/images (YOLO txt, data.yaml or COCO) and:

  edgeloop up --train-now                 train as soon as the gateway answers, then on the schedule
  edgeloop up --schedule '30 2 * * *'     every night at half past two
  edgeloop status                         what it does, from another terminal

Offline when a training is due: it starts as soon as the gateway is reachable again.")]
pub struct UpArgs {
    /// Where the loop keeps its files: models/, images/ and its state.
    #[arg(long, env = "STATE_DIR", default_value = "./data", value_name = "DIR")]
    pub state_dir: PathBuf,
    /// The store of models [default: STATE_DIR/models]
    #[arg(long, env = "MODEL_DIR", value_name = "DIR")]
    pub model_dir: Option<PathBuf>,
    /// Images and labels to learn from [default: STATE_DIR/images]
    #[arg(long, env = "IMAGES_DIR", value_name = "DIR")]
    pub images_dir: Option<PathBuf>,
    /// When to train: five cron fields as in Kubernetes, in this box's time zone.
    #[arg(long, env = "TRAIN_SCHEDULE", default_value = "0 */3 * * *", value_name = "CRON")]
    pub schedule: Schedule,
    /// Train now too, as soon as the gateway is reachable.
    #[arg(long)]
    pub train_now: bool,
    /// The gateway that must be reachable for a training.
    #[arg(long, env = "HEARTBEAT_IP", default_value = "192.168.1.1", value_name = "IP")]
    pub heartbeat_ip: String,
    /// Seconds between two looks at the gateway.
    #[arg(long, env = "CHECK_INTERVAL_SECONDS", default_value_t = 15.0, value_name = "SECONDS")]
    pub check_interval_seconds: f64,
    /// Where POST /infer is answered.
    #[arg(long, env = "SERVE_ADDR", default_value = "0.0.0.0:8080", value_name = "ADDR")]
    pub serve_addr: String,
    /// The inferer's admin port: /livez, /readyz, /metrics.
    #[arg(long, env = "ADMIN_ADDR", default_value = "0.0.0.0:8081", value_name = "ADDR")]
    pub admin_addr: String,
    /// The agent's admin port.
    #[arg(long, env = "AGENT_ADMIN_ADDR", default_value = "127.0.0.1:8082", value_name = "ADDR")]
    pub agent_admin_addr: String,
}

/// A child has ended: its name and how.
type Ended = (&'static str, ExitStatus);

/// Runs until a signal; `log` is handed on to the children.
///
/// # Errors
/// With exit code 2 when a folder cannot be made or a component is missing, 75 when another `up` has the state folder, 1 when the
/// agent or the inferer keeps crashing.
pub fn run(args: UpArgs, log: &LogArgs) -> anyhow::Result<ExitCode> {
    let stop = shutdown::flag();
    let mut up = Up::prepare(args, log)?;
    let result = up.supervise(|| stop.load(Ordering::SeqCst));
    up.stop();
    result.map(|()| ExitCode::SUCCESS)
}

struct Up {
    state: UpState,
    _lock: Lock,
    events: mpsc::Receiver<Ended>,
    agent: Daemon,
    inferer: Daemon,
    training: Training,
    gateway_patience: Duration,
}

impl Up {
    fn prepare(args: UpArgs, log: &LogArgs) -> anyhow::Result<Self> {
        let UpArgs {
            state_dir,
            model_dir,
            images_dir,
            schedule,
            train_now,
            heartbeat_ip,
            check_interval_seconds,
            serve_addr,
            admin_addr,
            agent_admin_addr,
        } = args;
        let interval = Duration::try_from_secs_f64(check_interval_seconds).context("--check-interval-seconds").exit_code(BAD_INPUT)?;
        // Children get absolute paths: what `status` reads later does not depend on where it is called.
        let folder = |path: PathBuf| -> anyhow::Result<PathBuf> {
            std::fs::create_dir_all(&path).with_context(|| format!("cannot make the folder {}", path.display())).exit_code(BAD_INPUT)?;
            Ok(path.canonicalize()?)
        };
        let state_dir = folder(state_dir)?;
        let model_dir = folder(model_dir.unwrap_or_else(|| state_dir.join("models")))?;
        let images_dir = folder(images_dir.unwrap_or_else(|| state_dir.join("images")))?;
        let lock = Lock::take(&state_dir)?;
        // Said now rather than when the first training is due.
        for name in ["edgeloop-agent", "edgeloop-inferer", "edgeloop-trainer"] {
            find(name).exit_code(BAD_INPUT)?;
        }

        let text = match log.log_format {
            LogFormat::Text => true,
            LogFormat::Json => false,
            LogFormat::Auto => std::io::IsTerminal::is_terminal(&std::io::stderr()),
        };
        let level = log.log_level.clone();
        let (models, images) = (model_dir.clone(), images_dir.clone());
        let component = move |name: &str| -> anyhow::Result<Spec> {
            let spec = Spec::component(name).exit_code(BAD_INPUT)?;
            // Their stderr is a pipe to us; whether a person reads it only we know.
            let spec = spec.env("LOG_LEVEL", &level).env("LOG_FORMAT", if text { "text" } else { "json" });
            Ok(spec.env("MODEL_DIR", &models).env("IMAGES_DIR", &images))
        };
        let spec_of = component.clone();
        let (status_file, agent_admin) = (state_dir.join(state::GATEWAY_FILE), agent_admin_addr.clone());
        let agent = move || {
            let spec = spec_of("agent")?.env("HEARTBEAT_IP", &heartbeat_ip).env("STATUS_FILE", &status_file);
            let spec = spec.env("CHECK_INTERVAL_SECONDS", check_interval_seconds.to_string()).env("ADMIN_ADDR", &agent_admin);
            // On a box without a cluster a left-over NODE_NAME must not make the agent look for one.
            Ok(spec.without_env("NODE_NAME"))
        };
        let spec_of = component.clone();
        let (serve, admin) = (serve_addr.clone(), admin_addr.clone());
        let inferer = move || Ok(spec_of("inferer")?.env("SERVE_ADDR", &serve).env("ADMIN_ADDR", &admin));
        let trainer = move || {
            // Serving goes on meanwhile: one core fewer, and niced.
            let spec = component("trainer")?.nice(4).env("SHARE_CORES", "true");
            let threads = edgeloop_service::limits::available_cpus().saturating_sub(1).max(1);
            Ok(if std::env::var_os("THREADS").is_some() { spec } else { spec.env("THREADS", threads.to_string()) })
        };
        // A verdict of a run before this one says nothing.
        let _ = std::fs::remove_file(state_dir.join(state::GATEWAY_FILE));
        let (sender, events) = mpsc::channel();
        let state = UpState::new(state_dir, model_dir, images_dir, &schedule, serve_addr, admin_addr, agent_admin_addr);
        Ok(Up {
            state,
            _lock: lock,
            events,
            agent: Daemon::new("agent", Box::new(agent), sender.clone()),
            inferer: Daemon::new("inferer", Box::new(inferer), sender.clone()),
            training: Training::new(schedule, Box::new(trainer), sender, train_now),
            gateway_patience: 3 * interval + Duration::from_secs(30),
        })
    }

    fn supervise(&mut self, stop: impl Fn() -> bool) -> anyhow::Result<()> {
        tracing::info!(
            images = %self.state.images_dir.display(), models = %self.state.model_dir.display(), schedule = %self.state.schedule,
            serve = %self.state.serve_addr, "up"
        );
        while !stop() {
            self.agent.keep_up()?;
            self.inferer.keep_up()?;
            let gateway = self.gateway();
            self.training.tick(Local::now(), gateway)?;
            self.write_state();
            match self.events.recv_timeout(TICK) {
                Ok(("agent", status)) => self.agent.ended(status)?,
                Ok(("inferer", status)) => self.inferer.ended(status)?,
                Ok((_, status)) => {
                    let outcome = Store::open(&self.state.model_dir).and_then(|store| store.training_status()).ok().flatten();
                    self.training.ended(status, outcome.and_then(|status| status.last_outcome));
                }
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// What the agent says, if it is running and has said it recently.
    fn gateway(&self) -> Option<Gateway> {
        let gateway = Gateway::read(&self.state.state_dir)?;
        (self.agent.is_running() && gateway.is_fresh(Utc::now(), self.gateway_patience)).then_some(gateway)
    }

    fn write_state(&mut self) {
        self.state.next_run = self.training.next_run().map(|time| time.with_timezone(&Utc));
        self.state.training_due = self.training.is_due();
        self.state.children = [self.agent.view(), self.inferer.view()].into_iter().chain(self.training.view()).collect();
        self.state.write();
    }

    /// The trainer first: it has the most to lose; the inferer serves until it has its checkpoint.
    fn stop(&mut self) {
        tracing::info!("stopping: trainer, inferer, agent");
        let parts = [(self.training.take(), TRAINER_GRACE), (self.inferer.take(), INFERER_GRACE), (self.agent.take(), AGENT_GRACE)];
        for (child, grace) in parts {
            if let Some(child) = child {
                end(&child, grace);
            }
        }
        (self.state.children, self.state.next_run) = (Vec::new(), None);
        self.state.stopped_at = Some(Utc::now());
        self.state.write();
    }
}

fn end(child: &Child, grace: Duration) {
    match child.terminate(grace) {
        Ok(stopped) if stopped.killed => {
            tracing::warn!(child = child.name(), grace_s = grace.as_secs(), "did not stop in time and was killed");
        }
        Ok(stopped) => tracing::info!(child = child.name(), status = %stopped.status, "stopped"),
        Err(error) => tracing::error!(child = child.name(), %error, "cannot be stopped"),
    }
}
