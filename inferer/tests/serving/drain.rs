//! The built program and its signals.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use edgeloop_store::Store;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::*;

pub struct Program {
    child: Child,
    pub serving: SocketAddr,
    pub admin: SocketAddr,
    log: Arc<Mutex<String>>,
}

impl Program {
    fn start(models: &Path, delay: &str) -> Self {
        Self::start_with(models, delay, &[])
    }

    pub fn start_with(models: &Path, delay: &str, more: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_edgeloop-inferer"))
            .args(["--serve-addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0", "--log-format", "json"])
            .args(if more.contains(&"--images-dir") { [].as_slice() } else { &["--images-dir", "/nonexistent"] })
            .args(["--drain-delay", delay, "--model-dir"])
            .arg(models)
            .args(more)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut logs = BufReader::new(child.stderr.take().unwrap()).lines();
        let log = Arc::new(Mutex::new(String::new()));
        let keep = |line: &str| *log.lock().unwrap() += &format!("{line}\n");
        let up = logs.find_map(|line| {
            let line = line.unwrap();
            keep(&line);
            let line: serde_json::Value = serde_json::from_str(&line).unwrap();
            Some((line.get("serving")?.as_str()?.parse().unwrap(), line.get("admin")?.as_str()?.parse().unwrap()))
        });
        // Nobody may be stopped by a full pipe.
        let kept = log.clone();
        std::thread::spawn(move || logs.map_while(Result::ok).for_each(|line| *kept.lock().unwrap() += &format!("{line}\n")));
        let (serving, admin) = up.expect("it says where it listens");
        Self { child, serving, admin, log }
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub fn memory_mb(&self) -> u64 {
        self.memory("VmRSS:")
    }

    pub fn peak_memory_mb(&self) -> u64 {
        self.memory("VmHWM:")
    }

    /// Seconds of CPU so far.
    pub fn cpu_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("it runs");
        let fields: Vec<f64> = stat.rsplit(')').next().unwrap().split_whitespace().skip(11).take(2).map(|f| f.parse().unwrap()).collect();
        // Clock ticks are hundredths of a second on every Linux that we build for.
        fields.iter().sum::<f64>() / 100.0
    }

    fn memory(&self, what: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix(what)).unwrap();
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap() / 1024
    }

    fn terminate(&self) {
        kill_process(Pid::from_raw(self.child.id() as i32).unwrap(), Signal::TERM).unwrap();
    }

    pub fn status(&self, address: SocketAddr, path: &str) -> Option<u16> {
        Some(agent().get(format!("http://{address}{path}")).call().ok()?.status().as_u16())
    }

    fn exit_code(&mut self) -> i32 {
        wait_for("the end of the process", || self.child.try_wait().unwrap()).code().expect("an exit code, not a signal")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn without_a_model_it_waits_and_sigterm_ends_it_with_0() {
    let dir = tempfile::tempdir().unwrap();
    let mut program = Program::start(&dir.path().join("not/there/yet"), "0");
    assert_eq!(program.status(program.admin, "/livez"), Some(200));
    assert_eq!(program.status(program.admin, "/readyz"), Some(503));
    program.terminate();
    assert_eq!(program.exit_code(), 0);
}

#[test]
fn a_taken_port_is_bad_settings() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_edgeloop-inferer"))
        .args(["--serve-addr", &address, "--admin-addr", "127.0.0.1:0"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("SERVE_ADDR"));
}

#[test]
fn on_sigterm_it_is_unready_closes_connections_answers_what_is_in_flight_and_exits_0() {
    let dir = tempfile::tempdir().unwrap();
    publish(&Store::create(dir.path()).unwrap(), 0.5);
    let mut program = Program::start(dir.path(), "3");
    wait_for("readiness", || (program.status(program.admin, "/readyz") == Some(200)).then_some(()));
    let photo = jpeg(&quarter(64, 64, 0));
    let head = format!("POST /infer HTTP/1.1\r\nhost: x\r\ncontent-type: image/jpeg\r\ncontent-length: {}\r\n\r\n", photo.len());
    let mut slow = TcpStream::connect(program.serving).unwrap();
    slow.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    slow.write_all(head.as_bytes()).unwrap();
    slow.write_all(&photo[..10]).unwrap();
    program.terminate();
    wait_for("unreadiness", || (program.status(program.admin, "/readyz") == Some(503)).then_some(()));
    let response = agent().post(format!("http://{}/infer", program.serving)).header("content-type", "image/jpeg").send(&photo[..]).unwrap();
    assert_eq!((response.status().as_u16(), &response.headers()["connection"]), (200, &"close".parse().unwrap()));
    wait_for("a closed port", || TcpStream::connect(program.serving).is_err().then_some(()));
    slow.write_all(&photo[10..]).unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"detections\""), "{answer}");
    assert_eq!(program.exit_code(), 0);
}
