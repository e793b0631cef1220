//! A node's agent: a process in a network namespace with two links.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::cluster::{Cluster, PATIENCE, agent_binary, wait};

/// Seconds between two rounds, and what a round waits: ten times faster than as installed.
pub const INTERVAL: f64 = 1.0;
pub const TIMEOUT: f64 = 0.5;
pub const DOWN_THRESHOLD: u32 = 3;
pub const LEASE: f64 = 6.0;

/// `down threshold × (interval × 1.1 + timeout) + 1 s`.
pub fn cut_limit() -> Duration {
    Duration::from_secs_f64(f64::from(DOWN_THRESHOLD) * (INTERVAL * 1.1 + TIMEOUT) + 1.0)
}

/// What the reaper has for a node that is silent.
pub fn reap_limit() -> Duration {
    Duration::from_secs_f64(LEASE + 5.0)
}

/// A child process whose log is kept, and printed when the test fails.
pub struct Process {
    name: String,
    child: Child,
    lines: Arc<Mutex<Vec<Value>>>,
}

impl Process {
    pub fn start(name: &str, mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (stderr, sink) = (BufReader::new(child.stderr.take().unwrap()), lines.clone());
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                sink.lock().unwrap().push(serde_json::from_str(&line).unwrap_or(Value::String(line)));
            }
        });
        Process { name: name.to_owned(), child, lines }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The first line so far that says `message`.
    fn said(&self, message: &str) -> Option<Value> {
        let lines = self.lines.lock().unwrap();
        lines.iter().find(|line| line["message"].as_str().is_some_and(|text| text.contains(message))).cloned()
    }

    /// The same, waited for.
    pub fn log(&self, message: &str) -> Value {
        wait(&format!("{} says: {message}", self.name), PATIENCE, || self.said(message))
    }

    /// A metric on its admin port, by its name and labels as they are written there.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let addr = self.log("admin port open")["addr"].as_str().unwrap().to_owned();
        let mut stream = TcpStream::connect(addr).ok()?;
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
        text.lines().find_map(value)
    }

    /// SIGTERM and its end.
    pub fn stop(&mut self) -> ExitStatus {
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        wait(&format!("{} ends", self.name), PATIENCE, || self.child.try_wait().unwrap())
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- {}", self.name);
            for line in self.lines.lock().unwrap().iter() {
                eprintln!("{line}");
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A Node, the namespace that stands for it, and the agent in there.
pub struct EdgeBox {
    pub name: String,
    netns: String,
    number: u8,
    server: String,
    agent: Option<Process>,
}

static NUMBERS: AtomicU8 = AtomicU8::new(1);

impl EdgeBox {
    /// Node, namespace and links; no agent yet.
    pub fn new(cluster: &Cluster) -> Self {
        let name = cluster.fresh_name();
        cluster.make_node(&name);
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        // Names of links have at most 15 characters.
        let netns = format!("el{}-{number}", std::process::id() % 100_000);
        run("ip", &format!("netns add {netns}"));
        let mut edge = EdgeBox { name, netns, number, server: String::new(), agent: None };
        edge.ip("link set lo up");
        for (link, net) in [("g", net(64)), ("a", net(128))] {
            let (host, inside) = (edge.link(link), format!("{link}0"));
            run("ip", &format!("link add {host} type veth peer name {inside} netns {}", edge.netns));
            run("ip", &format!("addr add {net}.{number}.1/24 dev {host}"));
            run("ip", &format!("link set {host} up"));
            edge.ip(&format!("addr add {net}.{number}.2/24 dev {inside}"));
            edge.ip(&format!("link set {inside} up"));
        }
        edge.server = cluster.relay(&format!("{}.{number}.1", net(128))).addr.to_string();
        edge
    }

    /// With an agent that runs.
    pub fn started(cluster: &Cluster) -> Self {
        let mut edge = EdgeBox::new(cluster);
        edge.start(cluster);
        edge
    }

    fn link(&self, kind: &str) -> String {
        format!("{}{kind}", self.netns)
    }

    fn ip(&self, args: &str) {
        run("ip", &format!("-n {} {args}", self.netns));
    }

    pub fn start(&mut self, cluster: &Cluster) {
        self.start_with(cluster, &[]);
    }

    /// With other settings.
    pub fn start_with(&mut self, cluster: &Cluster, settings: &[(&str, &str)]) {
        let config = cluster.kubeconfig_of(&self.name, &cluster.token(&self.name), &self.server);
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.netns]).arg(agent_binary()).env("KUBECONFIG", config).env("NODE_NAME", &self.name);
        command.env("HEARTBEAT_IP", format!("{}.{}.1", net(64), self.number)).env("CHECK_INTERVAL_SECONDS", INTERVAL.to_string());
        command.env("PROBE_TIMEOUT_SECONDS", TIMEOUT.to_string()).env("DOWN_THRESHOLD", DOWN_THRESHOLD.to_string());
        command.env("LEASE_SECONDS", LEASE.to_string()).env("HOLD_SECONDS", "2").env("LOG_FORMAT", "json");
        command.env("ADMIN_ADDR", format!("{}.{}.2:0", net(128), self.number));
        command.envs(settings.iter().copied());
        self.agent = Some(Process::start(&self.name, command));
    }

    pub fn agent(&mut self) -> &mut Process {
        self.agent.as_mut().unwrap()
    }

    /// The plug of one cable, `g`ateway or `a`pi, or of both.
    pub fn cut(&self, links: &str) {
        self.set(links, "down");
    }

    pub fn plug(&self, links: &str) {
        self.set(links, "up");
    }

    fn set(&self, links: &str, state: &str) {
        for link in links.chars() {
            run("ip", &format!("link set {} {state}", self.link(&link.to_string())));
        }
    }

    /// Waits until the label is there at all.
    pub fn online(&self, cluster: &Cluster) {
        cluster.label_within(&self.name, "online", Instant::now(), PATIENCE);
    }
}

impl Drop for EdgeBox {
    fn drop(&mut self) {
        // The process first: it lives in there.
        self.agent = None;
        for link in ["g", "a"] {
            let _ = Command::new("ip").args(["link", "del", &self.link(link)]).status();
        }
        let _ = Command::new("ip").args(["netns", "del", &self.netns]).status();
    }
}

/// The first two bytes of a link's addresses: two test runs at a time must not share them.
fn net(first: u32) -> String {
    format!("10.{}", first + std::process::id() % 64)
}

fn run(program: &str, args: &str) {
    let status = Command::new(program).args(args.split_whitespace()).status().unwrap();
    assert!(status.success(), "{program} {args}");
}

/// Resident memory of a process, now and at most (MiB).
pub fn memory_mib(pid: u32) -> (f64, f64) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
    };
    (field("VmRSS:"), field("VmHWM:"))
}

/// Processor time that it has used, by the scheduler's own count: ticks of 10 ms are too coarse for an agent.
pub fn cpu_seconds(pid: u32) -> f64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let nanos = tasks.map(|task| {
        let text = std::fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap();
        text.split_whitespace().next().unwrap().parse::<f64>().unwrap()
    });
    nanos.sum::<f64>() / 1e9
}
