//! The built program as a process of its own: for what must not happen in the process that tests it.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::*;

pub struct Program {
    child: Child,
    pub serving: SocketAddr,
    pub admin: SocketAddr,
    log: Arc<Mutex<String>>,
}

impl Program {
    pub fn start(models: &Path, more: &[&str]) -> Self {
        let command = Command::new(env!("CARGO_BIN_EXE_edgeloop-inferer"));
        Self::start_with(command, models, more)
    }

    /// `command` ends in the program's name: a wrapper may stand before it.
    pub fn start_with(mut command: Command, models: &Path, more: &[&str]) -> Self {
        let fixed = [
            ("--serve-addr", "127.0.0.1:0"),
            ("--admin-addr", "127.0.0.1:0"),
            ("--log-format", "json"),
            ("--images-dir", "/nonexistent"),
            ("--threads", "1"),
            ("--instances", "1"),
            ("--shapes", "square"),
            // No folder that root could make.
            ("--cache-dir", "/dev/null/cache"),
            ("--device", "cpu"),
            ("--drain-delay", "0"),
        ];
        let fixed = fixed.into_iter().filter(|(flag, _)| !more.contains(flag)).flat_map(|(flag, value)| [flag, value]);
        let mut child =
            command.args(fixed).arg("--model-dir").arg(models).args(more).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let log = Arc::new(Mutex::new(String::new()));
        let kept = log.clone();
        let keep = move |line: &str| *kept.lock().unwrap() += &format!("{line}\n");
        let up = lines.find_map(|line| {
            let line = line.unwrap();
            keep(&line);
            let line: Value = serde_json::from_str(&line).unwrap();
            Some((line.get("serving")?.as_str()?.parse().unwrap(), line.get("admin")?.as_str()?.parse().unwrap()))
        });
        // Nobody may be stopped by a full pipe.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| keep(&line)));
        let (serving, admin) = up.expect("it says where it listens");
        Self { child, serving, admin, log }
    }

    /// Starts and waits until a model serves.
    pub fn ready(models: &Path, more: &[&str]) -> Self {
        let program = Self::start(models, more);
        wait_for("readiness", || (program.status(program.admin, "/readyz") == Some(200)).then_some(()));
        program
    }

    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.pid()).unwrap(), signal).unwrap();
    }

    pub fn status(&self, address: SocketAddr, path: &str) -> Option<u16> {
        Some(agent().get(format!("http://{address}{path}")).call().ok()?.status().as_u16())
    }

    /// `/readyz`'s details.
    pub fn details(&self) -> Value {
        let mut response = agent().get(format!("http://{}/readyz", self.admin)).call().unwrap();
        let body: Value = serde_json::from_str(&response.body_mut().read_to_string().unwrap()).unwrap();
        body["details"].clone()
    }

    /// The version in service.
    pub fn version(&self) -> Option<String> {
        Some(self.details()["model"]["version"].as_str()?.to_owned())
    }

    /// How the last try to load `version` ended, once it has ended.
    pub fn tried(&self, version: &str) -> Option<Value> {
        Some(self.details()["last_reload"].clone()).filter(|last| last["version"] == version)
    }

    /// Kilobytes of a line of `/proc/PID/status`.
    pub fn memory_kb(&self, line: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let value = status.lines().find_map(|l| l.strip_prefix(line)).unwrap_or_else(|| panic!("{line} is not in {status}"));
        value.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap()
    }

    pub fn memory_mb(&self) -> u64 {
        self.memory_kb("VmRSS") / 1024
    }

    pub fn peak_memory_mb(&self) -> u64 {
        self.memory_kb("VmHWM") / 1024
    }

    /// Seconds of CPU so far.
    pub fn cpu_seconds(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("it runs");
        let fields: Vec<f64> = stat.rsplit(')').next().unwrap().split_whitespace().skip(11).take(2).map(|f| f.parse().unwrap()).collect();
        // Clock ticks are hundredths of a second on every Linux that we build for.
        fields.iter().sum::<f64>() / 100.0
    }

    /// Its children that are not on their way out.
    pub fn children(&self) -> BTreeSet<i32> {
        let ids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
        ids.filter(|id| parent(*id) == Some(self.pid())).collect()
    }

    pub fn exit_code(&mut self) -> i32 {
        wait_for("the end of the process", || self.child.try_wait().unwrap()).code().expect("an exit code, not a signal")
    }

    /// Whether it still runs.
    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Kills it as a power cut would.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// The parent of a process that lives: neither gone nor a zombie.
fn parent(id: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    (fields.next()? != "Z").then(|| fields.next()?.parse().ok())?
}

/// Whether a process lives.
pub fn lives(id: i32) -> bool {
    parent(id).is_some()
}

/// A shell around the program in a mount namespace of its own, where `folder` is mounted read-only; `None` where the system
/// allows no such thing.
pub fn read_only(folder: &Path) -> Option<Command> {
    let script = "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\" && exec \"$@\"";
    let unshare = |tail: &[&OsStr]| {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--map-root-user", "sh", "-c", script]).arg(folder).args(tail);
        command
    };
    let allowed = unshare(&[OsStr::new("true")]).output().is_ok_and(|output| output.status.success());
    allowed.then(|| unshare(&[OsStr::new(env!("CARGO_BIN_EXE_edgeloop-inferer"))]))
}

impl Drop for Program {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log ---\n{}", self.log());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
