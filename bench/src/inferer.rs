//! An `edgeloop-inferer` as a process, and what it costs.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use crate::{client::Client, load::Load};

/// How long a benchmark waits for anything.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it looks: a hundredth of the shortest time that is asked for.
const LOOK: Duration = Duration::from_millis(5);

/// Engines that have not changed for so long stay.
const SETTLED: Duration = Duration::from_secs(4);

/// See the module's head. Dropping it ends the process.
#[derive(Debug)]
pub struct Inferer {
    child: Child,
    /// Where it serves.
    pub serving: SocketAddr,
    /// Its admin port.
    pub admin: SocketAddr,
}

/// The built program beside this one.
///
/// # Errors
/// It is not built.
pub fn program() -> anyhow::Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name("edgeloop-inferer");
    if !path.exists() {
        bail!("{} is not built; run `make build`", path.display());
    }
    Ok(path)
}

impl Inferer {
    /// Starts it on `models` with settings as environment variables, and waits until it listens.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(program: &Path, models: &Path, settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        let mut child = Command::new(program)
            .env("MODEL_DIR", models)
            .env("SERVE_ADDR", "127.0.0.1:0")
            .env("ADMIN_ADDR", "127.0.0.1:0")
            .envs(settings.iter().copied())
            .args(["--log-format", "json"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("{} does not start", program.display()))?;
        let stderr = child.stderr.take().context("its log has a pipe")?;
        let mut lines = BufReader::new(stderr).lines().map_while(Result::ok);
        let mut log = String::new();
        let addresses = lines.find_map(|line| {
            log = format!("{log}{line}\n");
            let line: Value = serde_json::from_str(&line).ok()?;
            Some((line.get("serving")?.as_str()?.parse().ok()?, line.get("admin")?.as_str()?.parse().ok()?))
        });
        let Some((serving, admin)) = addresses else { bail!("it does not say where it listens:\n{log}") };
        // What goes wrong is shown; a full pipe would stop it.
        std::thread::spawn(move || lines.filter(|line| line.contains("\"ERROR\"")).for_each(|line| eprintln!("inferer: {line}")));
        Ok(Self { child, serving, admin })
    }

    /// Waits until it is ready.
    ///
    /// # Errors
    /// It is not within a minute.
    pub fn ready(&self) -> anyhow::Result<()> {
        let mut client = Client::new(self.admin);
        until("it is ready", || client.get("/readyz").is_ok_and(|(status, _)| status == 200))
    }

    /// Waits until `version` is the one in service.
    ///
    /// # Errors
    /// It is not within a minute.
    pub fn serves(&self, version: &str) -> anyhow::Result<()> {
        let mut client = Client::new(self.serving);
        until(&format!("{version} is in service"), || version_in_service(&mut client).as_deref() == Some(version))
    }

    /// Keeps it busy until its engines stay as they are: chosen, in the images' shape, with all instances.
    ///
    /// # Errors
    /// A request fails, or engines go on changing.
    pub fn warm(&self, images: &[Vec<u8>]) -> anyhow::Result<()> {
        let engines = || model(&mut Client::new(self.serving)).map(|model| model["engine"].clone());
        let load =
            Load { address: self.serving, images: images.to_vec(), content_type: "image/jpeg", clients: 4, duration: SETTLED, rate: None };
        for _ in 0..20 {
            let before = engines();
            let failed = load.run()?.failed;
            ensure!(failed == 0, "{failed} requests failed while it was warmed");
            if before == engines() {
                return Ok(());
            }
        }
        bail!("its engines go on changing")
    }

    /// A metric's sum over its labels that contain `label`.
    ///
    /// # Errors
    /// No answer of the admin port.
    pub fn metric(&self, name: &str, label: &str) -> anyhow::Result<f64> {
        let (_, text) = Client::new(self.admin).get("/metrics")?;
        let lines = text.lines().filter(|line| line.starts_with(name) && line.contains(label));
        Ok(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }

    /// Memory in use, MB (10⁶ bytes).
    ///
    /// # Errors
    /// The process has gone.
    pub fn rss_mb(&self) -> anyhow::Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let kb = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse::<f64>().ok());
        Ok(kb.context("no VmRSS")? * 1024.0 / 1e6)
    }

    /// CPU time used so far, without its children's.
    ///
    /// # Errors
    /// The process has gone.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        // Nanoseconds on a CPU are the first figure; a thread's own file counts that thread alone.
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id()))?;
        let mut total = 0;
        for task in tasks {
            let text = fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
            total += text.split(' ').next().and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        }
        Ok(Duration::from_nanos(total))
    }
}

impl Drop for Inferer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The version that a client sees in service.
pub fn version_in_service(client: &mut Client) -> Option<String> {
    Some(model(client)?["version"].as_str()?.to_owned())
}

fn model(client: &mut Client) -> Option<Value> {
    let (_, body) = client.get("/v1/model").ok().filter(|(status, _)| *status == 200)?;
    serde_json::from_str(&body).ok()
}

/// Waits for a condition.
///
/// # Errors
/// It does not hold within a minute.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        if Instant::now() > deadline {
            bail!("waited {PATIENCE:?} in vain until {what}");
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}
