//! `edgeloop status`: what the loop on this box does. Reads files and asks the inferer; also useful when nothing runs.

mod render;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use chrono::Utc;
use clap::Args;
use edgeloop_store::{Pointer, Store, TrainingStatus};
use serde::Serialize;
use serde_json::Value;

use crate::up::{Gateway, Lock, UpState};

/// The inferer is on this machine; whoever does not answer within this is not serving.
const ASK: Duration = Duration::from_secs(2);

/// Shows what the loop on this box does: the gateway, the last training, the model in service, the next run.
#[derive(Args, Debug)]
#[command(after_help = "\
  edgeloop status                          for people
  edgeloop status --json | jq .gateway     for scripts

Ends with 0 also when nothing runs; `running` in the JSON says which.")]
pub struct StatusArgs {
    /// The state folder of `edgeloop up`.
    #[arg(long, env = "STATE_DIR", default_value = "./data", value_name = "DIR")]
    pub state_dir: PathBuf,
    /// The store of models [default: the one that `up` used, else STATE_DIR/models]
    #[arg(long, env = "MODEL_DIR", value_name = "DIR")]
    pub model_dir: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// All that is known.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Whether `edgeloop up` runs in this state folder.
    pub running: bool,
    /// What it (or the last one) wrote.
    pub up: Option<UpState>,
    /// The agent's last word; of an agent that no longer runs when `running` is false.
    pub gateway: Option<Gateway>,
    /// The trainer's last word.
    pub training: Option<TrainingStatus>,
    /// The promoted model.
    pub promoted: Option<Promoted>,
    /// The model in service, as the inferer tells it; null when it does not answer or has none.
    pub serving: Option<Value>,
    /// What could not be read.
    pub problems: Vec<String>,
}

/// The pointer, in short.
#[derive(Debug, Serialize)]
pub struct Promoted {
    /// The version.
    pub version: String,
    /// When it was promoted.
    pub at: chrono::DateTime<Utc>,
    /// By whom.
    pub by: String,
    /// Why.
    pub reason: String,
    /// mAP at IoU 0.5 on its val split.
    #[serde(rename = "mAP50")]
    pub map50: f64,
    /// mAP over IoU 0.50 to 0.95.
    #[serde(rename = "mAP50-95")]
    pub map50_95: f64,
}

impl From<Pointer> for Promoted {
    fn from(pointer: Pointer) -> Self {
        let Pointer { metadata, promoted_at, promoted_by, reason, .. } = pointer;
        let (map50, map50_95) = (metadata.metrics.map50, metadata.metrics.map50_95);
        Promoted { version: metadata.version.to_string(), at: promoted_at, by: promoted_by, reason, map50, map50_95 }
    }
}

/// Prints the report.
///
/// # Errors
/// When standard output is gone.
pub fn run(args: StatusArgs) -> anyhow::Result<ExitCode> {
    let report = collect(&args.state_dir, args.model_dir.as_deref());
    let text = if args.json { serde_json::to_string_pretty(&report)? + "\n" } else { render::text(&report, Utc::now()) };
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// What is known about the loop in `state_dir`.
pub(crate) fn collect(state_dir: &Path, model_dir: Option<&Path>) -> Report {
    let running = Lock::is_held(state_dir);
    let up = UpState::read(state_dir);
    let mut report = Report { running, gateway: Gateway::read(state_dir), ..Report::default() };
    let models = model_dir.map(Path::to_owned).or(up.as_ref().map(|up| up.model_dir.clone())).unwrap_or(state_dir.join("models"));
    read_store(&models, &mut report);
    if running {
        report.serving = up.as_ref().and_then(|up| serving(&up.admin_addr));
    }
    report.up = up;
    report
}

fn read_store(models: &Path, report: &mut Report) {
    if !models.is_dir() {
        return;
    }
    let store = match Store::open(models) {
        Ok(store) => store,
        Err(error) => return report.problems.push(error.to_string()),
    };
    match store.pointer() {
        Ok(pointer) => report.promoted = pointer.map(Promoted::from),
        Err(error) => report.problems.push(error.to_string()),
    }
    match store.training_status() {
        Ok(training) => report.training = training,
        Err(error) => report.problems.push(error.to_string()),
    }
}

/// From the admin port, which asks for no token.
fn serving(addr: &str) -> Option<Value> {
    // «All addresses» is where one listens, not whom one asks.
    let addr = addr.replacen("0.0.0.0:", "127.0.0.1:", 1).replacen("[::]:", "[::1]:", 1);
    let agent: ureq::Agent = ureq::Agent::config_builder().timeout_global(Some(ASK)).build().into();
    // 503 without a model in service is an answer too; then there is no such detail.
    let mut answer = agent.get(format!("http://{addr}/readyz")).config().http_status_as_error(false).build().call().ok()?;
    let mut report: Value = answer.body_mut().read_json().ok()?;
    Some(report["details"]["model"].take()).filter(|model| !model.is_null())
}
