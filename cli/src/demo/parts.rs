//! The processes of the demo: agent and inferer for its whole length, a trainer for each training.

use std::{
    fs::{self, File},
    io::Write,
    net::TcpListener,
    path::{Path, PathBuf},
    sync::Mutex,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::children::{Child, Spec};

/// How long a part may take to come up, or to go.
const PATIENCE: Duration = Duration::from_secs(20);

/// Running agent and inferer, and where things are.
#[derive(Debug)]
pub struct Parts {
    run: PathBuf,
    logs: PathBuf,
    serve_url: String,
    admin_url: String,
    agent: Child,
    inferer: Child,
}

impl Parts {
    /// Starts agent and inferer on free loopback ports, with their logs under `logs`.
    ///
    /// # Errors
    /// A binary that is missing beside `edgeloop`, or a folder that cannot be made.
    pub fn start(run: &Path, logs: &Path) -> Result<Self> {
        for dir in [logs, &run.join("models"), &run.join("incoming")] {
            fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
        }
        let (serve, admin, agent_admin) = free_ports()?;
        let agent = Spec::component("agent")?
            .env("HEARTBEAT_IP", "127.0.0.1")
            .env("CHECK_INTERVAL_SECONDS", "1")
            .env("STATUS_FILE", run.join("agent_status.json"))
            .env("ADMIN_ADDR", format!("127.0.0.1:{agent_admin}"));
        let inferer = Spec::component("inferer")?
            .env("MODEL_DIR", run.join("models"))
            .env("IMAGES_DIR", run.join("incoming"))
            .env("SERVE_ADDR", format!("127.0.0.1:{serve}"))
            .env("ADMIN_ADDR", format!("127.0.0.1:{admin}"));
        Ok(Self {
            run: run.to_owned(),
            logs: logs.to_owned(),
            serve_url: format!("http://127.0.0.1:{serve}"),
            admin_url: format!("http://127.0.0.1:{admin}"),
            agent: spawn(agent, &logs.join("agent.log"))?,
            inferer: spawn(inferer, &logs.join("inferer.log"))?,
        })
    }

    /// `http://host:port` of `POST /infer`.
    pub fn serve_url(&self) -> &str {
        &self.serve_url
    }

    /// The store's folder.
    pub fn models_dir(&self) -> PathBuf {
        self.run.join("models")
    }

    /// Waits for the agent's verdict `online`; returns it in words.
    ///
    /// # Errors
    /// The agent died, or says something else for too long.
    pub fn wait_online(&self) -> Result<String> {
        #[derive(Deserialize)]
        struct Status {
            status: String,
            method: Option<String>,
            rtt_ms: Option<f64>,
        }
        let path = self.run.join("agent_status.json");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<Status>(&bytes).ok());
            if let Some(Status { status, method, rtt_ms }) = &status
                && status == "online"
            {
                return Ok(format!(
                    "gateway 127.0.0.1 is reachable by {} in {:.2} ms: online",
                    method.as_deref().unwrap_or("?"),
                    rtt_ms.unwrap_or(f64::NAN)
                ));
            }
            self.check_alive()?;
            if Instant::now() > deadline {
                bail!("the agent does not find 127.0.0.1 reachable; see {}", self.logs.join("agent.log").display());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the inferer lives; without a model it must not be ready yet.
    ///
    /// # Errors
    /// It died, does not answer, or claims to be ready with an empty store.
    pub fn wait_for_server(&self) -> Result<()> {
        let http: ureq::Agent =
            ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(2))).http_status_as_error(false).build().into();
        let deadline = Instant::now() + PATIENCE;
        loop {
            if http.get(format!("{}/livez", self.admin_url)).call().is_ok_and(|r| r.status() == 200) {
                let ready = http.get(format!("{}/readyz", self.admin_url)).call()?.status();
                if ready != 503 {
                    bail!("/readyz answers {ready} although no model is published yet");
                }
                return Ok(());
            }
            self.check_alive()?;
            if Instant::now() > deadline {
                bail!("the inferer does not come up; see {}", self.logs.join("inferer.log").display());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A trainer on `images`, its output to a log.
    ///
    /// # Errors
    /// The binary is missing or does not start.
    pub fn spawn_trainer(&self, name: &str, images: &Path, settings: &[(&str, String)]) -> Result<(Child, PathBuf)> {
        let log = self.logs.join(format!("{name}.log"));
        let mut trainer = Spec::component("trainer")?.env("IMAGES_DIR", images).env("MODEL_DIR", self.models_dir());
        for (key, value) in settings {
            trainer = trainer.env(key, value);
        }
        Ok((spawn(trainer, &log)?, log))
    }

    /// # Errors
    /// Agent or inferer is gone.
    pub fn check_alive(&self) -> Result<()> {
        for child in [&self.agent, &self.inferer] {
            if let Some(status) = child.status() {
                bail!("{} ended with {status}; its log is in {}", child.name(), self.logs.display());
            }
        }
        Ok(())
    }

    /// SIGTERM to both, and the wait for a clean end.
    ///
    /// # Errors
    /// One of them did not end with 0 in time.
    pub fn stop(self) -> Result<()> {
        for child in [&self.inferer, &self.agent] {
            let stopped = child.terminate(PATIENCE)?;
            if stopped.killed || !stopped.status.success() {
                bail!("on SIGTERM {} ended with {} instead of 0; its log is in {}", child.name(), stopped.status, self.logs.display());
            }
        }
        Ok(())
    }
}

fn spawn(spec: Spec, log: &Path) -> Result<Child> {
    let file = Mutex::new(File::create(log).with_context(|| format!("creating {}", log.display()))?);
    let spec = spec.on_line(move |_, line| {
        let mut file = file.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        // A full disk must not end the part whose log this is; the demo's own files will say so.
        let _ = writeln!(file, "{line}");
    });
    Ok(Child::spawn(spec)?)
}

/// Three free ports. They are let go before the children bind them: a race in theory, and an error that says so.
fn free_ports() -> Result<(u16, u16, u16)> {
    let bind = || TcpListener::bind("127.0.0.1:0").context("no free loopback port");
    let (a, b, c) = (bind()?, bind()?, bind()?);
    Ok((a.local_addr()?.port(), b.local_addr()?.port(), c.local_addr()?.port()))
}
