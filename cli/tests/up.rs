//! `edgeloop up` and `status` as processes, with small scripts in place of agent, inferer and trainer: what is started when, what
//! is handed on, how it ends.
#![allow(clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

/// Runs until SIGTERM, and writes what happens into `$LOG`.
const DAEMON: &str = r#"trap 'echo "NAME stopped" >> "$LOG"; exit 0' TERM
echo "NAME started" >> "$LOG"
while :; do sleep 0.05; done
"#;

/// An agent that has the verdict of the file `gateway` beside its status file.
const AGENT: &str = r#"trap 'echo "agent stopped" >> "$LOG"; exit 0' TERM
echo "agent started" >> "$LOG"
while :; do
  now=$(date -u +%Y-%m-%dT%H:%M:%SZ)
  verdict=$(cat "$(dirname "$STATUS_FILE")/gateway" 2>/dev/null || echo unknown)
  printf '{"status":"%s","since":"%s","reason":"r","rtt_ms":0.5,"loss":0,"method":"icmp","target":"%s","checked_at":"%s"}' \
    "$verdict" "$now" "$HEARTBEAT_IP" "$now" > "$STATUS_FILE.tmp" && mv "$STATUS_FILE.tmp" "$STATUS_FILE"
  sleep 0.05
done
"#;

const TRAINER: &str = r#"trap 'echo "trainer checkpoint" >> "$LOG"; exit 143' TERM
echo "trainer started nice $(nice) share $SHARE_CORES threads $THREADS images $IMAGES_DIR" >> "$LOG"
echo '{"epoch": 1}'
while [ ! -e "$(dirname "$LOG")/trained" ]; do sleep 0.05; done
echo "trainer done" >> "$LOG"
"#;

/// A folder with `edgeloop` and scripts named like its siblings.
struct Box {
    dir: tempfile::TempDir,
}

impl Box {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        install(Path::new(env!("CARGO_BIN_EXE_edgeloop")), &dir.path().join("edgeloop"));
        let this = Box { dir };
        this.component("agent", AGENT);
        this.component("inferer", &DAEMON.replace("NAME", "inferer"));
        this.component("trainer", TRAINER);
        std::fs::create_dir(this.state()).unwrap();
        this
    }

    fn component(&self, name: &str, script: &str) {
        let source = self.dir.path().join(format!("{name}.sh"));
        std::fs::write(&source, format!("#!/bin/sh\n{script}")).unwrap();
        std::fs::set_permissions(&source, std::fs::Permissions::from_mode(0o755)).unwrap();
        install(&source, &self.dir.path().join(format!("edgeloop-{name}")));
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn gateway(&self, verdict: &str) {
        std::fs::write(self.state().join("gateway"), verdict).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.dir.path().join("edgeloop"));
        for name in ["MODEL_DIR", "IMAGES_DIR", "TRAIN_SCHEDULE", "THREADS", "STATE_DIR", "SERVE_ADDR", "ADMIN_ADDR"] {
            command.env_remove(name);
        }
        // Port 1 answers nobody: `status` asks whoever serves there.
        command.args(args).arg("--state-dir").arg(self.state()).env("LOG", self.log_path()).env("SERVE_ADDR", "127.0.0.1:1");
        command
    }

    fn up(&self, args: &[&str]) -> Up {
        let mut command = self.command(&["up"]);
        command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
        Up(command.spawn().unwrap())
    }

    fn status(&self) -> Value {
        let output = self.command(&["status", "--json"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn wait_for(&self, line: &str) {
        eventually(&format!("`{line}` in the log"), || self.log().lines().any(|l| l.starts_with(line)));
    }

    fn count(&self, line: &str) -> usize {
        self.log().lines().filter(|l| l.starts_with(line)).count()
    }
}

/// Copies a program in a process of its own. Had this one the copy open for writing while another test forks, that child would
/// hold it open too, and starting it would fail: text file busy.
fn install(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-p").args([from, to]).status().unwrap().success());
}

struct Up(Child);

impl Up {
    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "`up` does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn stderr(&mut self) -> String {
        std::io::read_to_string(self.0.stderr.take().unwrap()).unwrap()
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn is_gone(pid: &Value) -> bool {
    !Path::new("/proc").join(pid.to_string()).exists()
}

#[test]
fn the_trainer_runs_only_while_online_niced_and_one_at_a_time() {
    let this = Box::new();
    this.gateway("offline");
    let mut up = this.up(&["--train-now"]);
    this.wait_for("agent started");
    eventually("status says that a training waits", || this.status()["up"]["training_due"] == true);
    assert_eq!(this.count("trainer"), 0);
    this.gateway("online");
    this.wait_for("trainer started");
    let line = this.log().lines().find(|line| line.starts_with("trainer started")).unwrap().to_owned();
    let nice = (rustix::process::nice(0).unwrap() + 4).min(19);
    assert!(line.contains(&format!("nice {nice} share true threads ")), "{line}");
    assert!(line.ends_with(&format!("images {}", this.state().canonicalize().unwrap().join("images").display())), "{line}");
    std::fs::write(this.dir.path().join("trained"), "").unwrap();
    this.wait_for("trainer done");
    eventually("the trainer is no child any more", || this.status()["up"]["children"].as_array().unwrap().len() == 2);
    up.signal(Signal::TERM);
    assert!(up.wait().success());
    assert_eq!(this.count("trainer started"), 1);
}

#[test]
fn sigterm_stops_trainer_then_inferer_then_agent() {
    let this = Box::new();
    this.gateway("online");
    let mut up = this.up(&["--train-now"]);
    this.wait_for("inferer started");
    this.wait_for("trainer started");
    up.signal(Signal::TERM);
    assert!(up.wait().success());
    let log = this.log();
    let order: Vec<&str> = log.lines().filter(|line| line.ends_with("stopped") || line.ends_with("checkpoint")).collect();
    assert_eq!(order, ["trainer checkpoint", "inferer stopped", "agent stopped"]);
    let status = this.status();
    assert_eq!((&status["running"], status["up"]["stopped_at"].is_string()), (&Value::Bool(false), true));
}

#[test]
fn output_of_children_comes_behind_their_name_each_on_its_stream() {
    let this = Box::new();
    this.component("inferer", "echo a result; echo a word >&2; exec sleep 1000");
    this.gateway("online");
    let mut up = this.up(&["--train-now"]);
    this.wait_for("trainer started");
    eventually("the inferer runs", || this.status()["up"]["children"][1]["state"] == "running");
    up.signal(Signal::INT);
    assert!(up.wait().success());
    let stdout = std::io::read_to_string(up.0.stdout.take().unwrap()).unwrap();
    assert!(stdout.lines().any(|line| line == "inferer | a result"), "{stdout}");
    assert!(stdout.lines().any(|line| line == r#"trainer | {"epoch": 1}"#), "{stdout}");
    let stderr = up.stderr();
    assert!(stderr.lines().any(|line| line == "inferer | a word"), "{stderr}");
}

#[test]
fn a_crashed_component_is_started_again() {
    let this = Box::new();
    let mut up = this.up(&[]);
    eventually("both run", || this.status()["up"]["children"].as_array().is_some_and(|all| all.iter().all(|c| c["pid"].is_u64())));
    let pid = this.status()["up"]["children"][1]["pid"].as_i64().unwrap();
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL).unwrap();
    eventually("it runs again", || {
        let status = this.status();
        let child = &status["up"]["children"][1];
        child["restarts"] == 1 && child["state"] == "running" && child["pid"] != pid
    });
    up.signal(Signal::TERM);
    assert!(up.wait().success());
    assert_eq!(this.count("inferer started"), 2);
}

#[test]
fn wrong_settings_of_a_component_end_the_loop_at_once_and_stop_the_rest() {
    let this = Box::new();
    this.component("inferer", "echo 'error: port taken' >&2; exit 2");
    let mut up = this.up(&[]);
    assert_eq!(up.wait().code(), Some(2));
    let stderr = up.stderr();
    assert!(stderr.contains("inferer | error: port taken") && stderr.contains("the inferer refuses its settings"), "{stderr}");
    assert_eq!(this.count("agent started"), this.count("agent stopped"));
}

#[test]
fn a_missing_component_is_said_before_anything_starts() {
    let this = Box::new();
    std::fs::remove_file(this.dir.path().join("edgeloop-trainer")).unwrap();
    let mut up = Up(this.command(&["up"]).env("PATH", "/nonexistent").stderr(Stdio::piped()).spawn().unwrap());
    assert_eq!(up.wait().code(), Some(2));
    assert!(up.stderr().contains("edgeloop-trainer"));
    assert_eq!(this.log(), "");
}

#[test]
fn a_second_up_in_the_same_folder_is_refused() {
    let this = Box::new();
    let _first = this.up(&[]);
    eventually("the first runs", || this.status()["running"] == true);
    let mut second = this.up(&[]);
    assert_eq!(second.wait().code(), Some(75));
    assert!(second.stderr().contains("another `edgeloop up`"));
}

#[test]
fn children_do_not_outlive_an_up_that_is_killed() {
    let this = Box::new();
    let mut up = this.up(&[]);
    eventually("both run", || this.status()["up"]["children"].as_array().is_some_and(|all| all.iter().all(|c| c["pid"].is_u64())));
    let children = this.status()["up"]["children"].clone();
    up.signal(Signal::KILL);
    let _ = up.wait();
    eventually("no child is left", || children.as_array().unwrap().iter().all(|child| is_gone(&child["pid"])));
    let status = this.status();
    assert_eq!((&status["running"], &status["up"]["stopped_at"]), (&Value::Bool(false), &Value::Null));
}

#[test]
fn status_works_where_nothing_ever_ran() {
    let this = Box::new();
    let status = this.status();
    assert_eq!((&status["running"], &status["up"], &status["serving"]), (&Value::Bool(false), &Value::Null, &Value::Null));
    let text = this.command(&["status"]).output().unwrap();
    assert!(String::from_utf8(text.stdout).unwrap().contains("`edgeloop up` starts it"));
}

#[test]
fn a_bad_schedule_is_refused_with_its_reason() {
    let this = Box::new();
    let mut up = this.up(&["--schedule", "0 0 * * 7"]);
    assert_eq!(up.wait().code(), Some(2));
    assert!(up.stderr().contains("day of week"));
}
