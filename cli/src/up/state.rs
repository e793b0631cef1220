use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, Utc};
use edgeloop_service::exit;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::schedule::Schedule;

const STATE_FILE: &str = "up.json";
const LOCK_FILE: &str = "up.lock";
pub(super) const GATEWAY_FILE: &str = "agent.json";

/// `up.json` in the state folder: what `edgeloop status` and scripts read. Replaced whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UpState {
    /// Of this file; readers ignore fields that they do not know.
    pub schema: u32,
    /// The process of `edgeloop up`.
    pub pid: u32,
    /// When it started.
    pub started_at: DateTime<Utc>,
    /// When it stopped in order; null while it runs (and after a crash).
    pub stopped_at: Option<DateTime<Utc>>,
    /// Where this file is.
    pub state_dir: PathBuf,
    /// The store.
    pub model_dir: PathBuf,
    /// What is learnt from.
    pub images_dir: PathBuf,
    /// Where POST /infer is answered.
    pub serve_addr: String,
    /// The inferer's admin port.
    pub admin_addr: String,
    /// The agent's admin port.
    pub agent_admin_addr: String,
    /// As it was written.
    pub schedule: String,
    /// The next time that a training is due.
    pub next_run: Option<DateTime<Utc>>,
    /// One is due already and waits for the gateway.
    pub training_due: bool,
    /// Agent, inferer and, while it runs, trainer.
    pub children: Vec<ChildView>,
    #[serde(skip)]
    written: Option<Vec<u8>>,
}

/// One child in [`UpState`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildView {
    /// `agent`, `inferer`, `trainer`.
    pub name: String,
    /// Its process, while it runs.
    pub pid: Option<u32>,
    /// How it is.
    pub state: ChildState,
    /// Since when.
    pub since: DateTime<Utc>,
    /// How often it had to be started again.
    pub restarts: u32,
}

/// How a child is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChildState {
    /// It runs.
    Running,
    /// It ended and waits for its next start.
    Restarting,
}

impl UpState {
    pub(super) fn new(
        state_dir: PathBuf,
        model_dir: PathBuf,
        images_dir: PathBuf,
        schedule: &Schedule,
        serve_addr: String,
        admin_addr: String,
        agent_admin_addr: String,
    ) -> Self {
        UpState {
            schema: 1,
            pid: std::process::id(),
            started_at: Utc::now(),
            stopped_at: None,
            state_dir,
            model_dir,
            images_dir,
            serve_addr,
            admin_addr,
            agent_admin_addr,
            schedule: schedule.to_string(),
            next_run: None,
            training_due: false,
            children: Vec::new(),
            written: None,
        }
    }

    /// What the last `up` in `state_dir` wrote; `None` when there was none, or its file cannot be read.
    #[must_use]
    pub fn read(state_dir: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(state_dir.join(STATE_FILE)).ok()?).ok()
    }

    /// Writes it if it has changed. The loop goes on without: a full disk is no reason to stop serving.
    pub(super) fn write(&mut self) {
        let Ok(text) = serde_json::to_vec_pretty(self) else { return };
        if self.written.as_ref() == Some(&text) {
            return;
        }
        match replace(&self.state_dir.join(STATE_FILE), &text) {
            Ok(()) => self.written = Some(text),
            Err(error) if self.written.as_ref().is_none_or(|text| !text.is_empty()) => {
                tracing::warn!(%error, dir = %self.state_dir.display(), "cannot write {STATE_FILE}; `edgeloop status` will be out of date");
                // Said once a spell.
                self.written = Some(Vec::new());
            }
            Err(_) => {}
        }
    }
}

fn replace(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let temporary = path.with_extension("json.tmp");
    let mut file = File::create(&temporary)?;
    file.write_all(text)?;
    file.write_all(b"\n")?;
    std::fs::rename(temporary, path)
}

/// Held by a running `up`: one a state folder, and the proof that it runs. The kernel lets it go with the process.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// # Errors
    /// With exit code 75 when another `up` has it.
    pub(super) fn take(state_dir: &Path) -> anyhow::Result<Self> {
        let path = state_dir.join(LOCK_FILE);
        let open = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = open.with_context(|| format!("cannot open {}", path.display()))?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let owner = UpState::read(state_dir).map_or(String::new(), |state| format!(" (process {})", state.pid));
            let error = anyhow::anyhow!("another `edgeloop up`{owner} has {}; stop it, or choose another --state-dir", state_dir.display());
            return Err(exit::with_code(exit::TEMPORARY, error));
        }
        Ok(Lock { _file: file })
    }

    /// Whether an `up` runs in `state_dir` now.
    #[must_use]
    pub fn is_held(state_dir: &Path) -> bool {
        // A shared lock, let go at once: two `status` at a time do not see each other as `up`.
        File::open(state_dir.join(LOCK_FILE)).is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockShared).is_err())
    }
}

/// The agent's status file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gateway {
    /// `online`, `offline` or `unknown`.
    pub status: String,
    /// Since when.
    pub since: DateTime<Utc>,
    /// Why.
    pub reason: String,
    /// Round trip of the last round.
    pub rtt_ms: Option<f64>,
    /// `icmp` or `tcp`.
    pub method: String,
    /// Who is asked.
    pub target: String,
    /// When it was last asked.
    pub checked_at: DateTime<Utc>,
}

impl Gateway {
    /// What the agent last wrote in `state_dir`.
    #[must_use]
    pub fn read(state_dir: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(state_dir.join(GATEWAY_FILE)).ok()?).ok()
    }

    /// Whether it is not older than `patience`. A clock that was set back makes it come from the future: that is fresh.
    #[must_use]
    pub fn is_fresh(&self, now: DateTime<Utc>, patience: Duration) -> bool {
        now.signed_duration_since(self.checked_at).to_std().map_or(true, |age| age <= patience)
    }

    /// Whether the gateway is reachable.
    #[must_use]
    pub fn is_online(&self) -> bool {
        self.status == "online"
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_state_folder_belongs_to_one_up() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!Lock::is_held(dir.path()));
        let lock = Lock::take(dir.path()).unwrap();
        assert!(Lock::is_held(dir.path()));
        assert_eq!(exit::code_of(&Lock::take(dir.path()).unwrap_err()), exit::TEMPORARY);
        drop(lock);
        assert!(!Lock::is_held(dir.path()));
    }

    #[test]
    fn state_is_read_back_and_written_only_when_it_changes() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let schedule = "@hourly".parse().unwrap();
        let addr = || "127.0.0.1:1".to_owned();
        let mut state = UpState::new(path(""), path("m"), path("i"), &schedule, addr(), addr(), addr());
        state.write();
        let mut back = UpState::read(dir.path()).unwrap();
        back.written = state.written.clone();
        assert_eq!(back, state);
        std::fs::remove_file(path(STATE_FILE)).unwrap();
        state.write();
        assert!(!path(STATE_FILE).exists());
        state.training_due = true;
        state.write();
        assert!(UpState::read(dir.path()).unwrap().training_due);
    }

    #[test]
    fn an_old_verdict_is_not_fresh() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let checked_at = at("2026-11-21T03:00:00Z");
        let (status, reason, method) = ("online".to_owned(), String::new(), "icmp".to_owned());
        let gateway = Gateway { status, since: checked_at, reason, rtt_ms: None, method, target: String::new(), checked_at };
        let patience = Duration::from_secs(75);
        assert!(gateway.is_fresh(at("2026-11-21T03:01:15Z"), patience));
        assert!(!gateway.is_fresh(at("2026-11-21T03:01:16Z"), patience));
        assert!(gateway.is_fresh(at("2026-11-21T02:00:00Z"), patience));
    }
}
