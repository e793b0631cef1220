//! The whole agent as a process, against loopback and against a gateway that comes and goes in a network namespace of its own.
//! The latter need root; without it they say so and end.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const AGENT: &str = env!("CARGO_BIN_EXE_edgeloop-agent");
const PATIENCE: Duration = Duration::from_secs(60);

struct Agent {
    process: Child,
    logs: mpsc::Receiver<Value>,
    dir: tempfile::TempDir,
}

impl Agent {
    /// `command` must end up executing the agent.
    fn start(mut command: Command, target: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["NODE_NAME", "PROBE", "LOG_LEVEL"] {
            command.env_remove(name);
        }
        command.env("HEARTBEAT_IP", target).env("STATUS_FILE", dir.path().join("agent.json")).env("ADMIN_ADDR", "127.0.0.1:0");
        command.env("CHECK_INTERVAL_SECONDS", "0.05").env("PROBE_TIMEOUT_SECONDS", "0.5").env("LOG_FORMAT", "json");
        let mut process = command.stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(process.stderr.take().unwrap());
        let (sender, logs) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let line = serde_json::from_str(&line).unwrap_or(Value::String(line));
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Agent { process, logs, dir }
    }

    fn log(&self, message: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let line = self.logs.recv_timeout(deadline.saturating_duration_since(Instant::now())).expect(message);
            if line["message"].as_str().is_some_and(|text| text.contains(message)) {
                return line;
            }
        }
    }

    fn status_path(&self) -> PathBuf {
        self.dir.path().join("agent.json")
    }

    /// The status file once it says `verdict`. Read all the time: it must never be half written.
    fn wait_for(&self, verdict: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Ok(text) = std::fs::read(self.status_path()) {
                let status: Value = serde_json::from_slice(&text).expect("a whole file");
                if status["status"] == verdict {
                    return status;
                }
            }
            assert!(Instant::now() < deadline, "never {verdict}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn stop(&mut self) -> ExitStatus {
        kill_process(Pid::from_child(&self.process), Signal::TERM).unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "SIGTERM is ignored");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Runs `ip …` in the agent's network namespace.
    fn ip(&self, args: &str) {
        let pid = self.process.id().to_string();
        let done = Command::new("nsenter").args(["-t", &pid, "-n", "ip"]).args(args.split(' ')).status().unwrap();
        assert!(done.success(), "ip {args}");
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A shell in a fresh network namespace that runs `setup` and becomes the agent.
fn in_namespace(setup: &str) -> Option<Command> {
    let root = Command::new("unshare").args(["-n", "ip", "link", "set", "lo", "up"]).status().is_ok_and(|status| status.success());
    if !root {
        eprintln!("skipped: making a network namespace needs root, unshare and ip");
        return None;
    }
    let mut command = Command::new("unshare");
    command.args(["-n", "sh", "-c", &format!("set -e; {setup}; exec {AGENT}")]);
    Some(command)
}

fn http_get(addr: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(addr).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn loopback_is_online_and_the_admin_port_says_so() {
    let mut agent = Agent::start(Command::new(AGENT), "127.0.0.1");
    let addr = agent.log("admin port open")["addr"].as_str().unwrap().to_owned();
    let status = agent.wait_for("online");
    assert_eq!(status["target"], "127.0.0.1");
    assert!(status["rtt_ms"].as_f64().unwrap() >= 0.0 && status["since"].is_string() && status["checked_at"].is_string(), "{status}");
    assert!(http_get(&addr, "/livez").starts_with("HTTP/1.1 200"));
    let ready = http_get(&addr, "/readyz");
    assert!(ready.starts_with("HTTP/1.1 200") && ready.contains(r#""status":"online""#), "{ready}");
    let metrics = http_get(&addr, "/metrics");
    assert!(metrics.contains("edgeloop_agent_online 1") && metrics.contains("edgeloop_agent_rtt_seconds_count"), "{metrics}");
    assert!(agent.stop().success());
}

#[test]
fn before_the_first_verdict_it_is_live_and_not_ready() {
    let mut command = Command::new(AGENT);
    // As many rounds as it takes until the test is over.
    command.env("UP_THRESHOLD", "1000000").env("DOWN_THRESHOLD", "1000000");
    let agent = Agent::start(command, "127.0.0.1");
    let addr = agent.log("admin port open")["addr"].as_str().unwrap().to_owned();
    agent.wait_for("unknown");
    assert!(http_get(&addr, "/livez").starts_with("HTTP/1.1 200"));
    let ready = http_get(&addr, "/readyz");
    assert!(ready.starts_with("HTTP/1.1 503") && ready.contains("no verdict yet"), "{ready}");
}

#[test]
fn without_any_network_it_is_offline_for_want_of_a_route() {
    let Some(command) = in_namespace(":") else { return };
    let mut agent = Agent::start(command, "10.9.9.9");
    let status = agent.wait_for("offline");
    assert_eq!((&status["reason"], &status["rtt_ms"], &status["loss"]), (&"no_route".into(), &Value::Null, &1.0.into()));
    assert!(agent.stop().success());
}

/// Packets to 10.9.9.9 leave through `lo` and come back to nobody, until the address is given to `lo`.
const SILENT: &str = "ip link set lo up; ip addr add 10.9.9.1/32 dev lo; ip route add 10.9.9.9/32 dev lo";

#[test]
fn a_gateway_that_comes_and_goes_is_followed() {
    let Some(mut command) = in_namespace(SILENT) else { return };
    command.env("HOLD_SECONDS", "0");
    let mut agent = Agent::start(command, "10.9.9.9");
    assert_eq!(agent.wait_for("offline")["reason"], "no_reply");
    agent.ip("addr add 10.9.9.9/32 dev lo");
    assert_eq!(agent.wait_for("online")["reason"], "gateway_replied");
    agent.ip("addr del 10.9.9.9/32 dev lo");
    assert_eq!(agent.wait_for("offline")["reason"], "no_reply");
    assert!(agent.stop().success());
}

#[test]
fn auto_follows_the_hosts_default_route() {
    let Some(mut command) = in_namespace("ip link set lo up; ip addr add 10.9.9.1/24 dev lo") else { return };
    // In there /proc/1 is the namespace of whoever started us; the agent's own is what it is to look at.
    command.env_remove("KUBERNETES_SERVICE_HOST").env("HOLD_SECONDS", "0");
    let mut agent = Agent::start(command, "auto");
    assert_eq!(agent.wait_for("offline")["reason"], "no_route");
    agent.ip("route add default via 10.9.9.1 dev lo");
    let status = agent.wait_for("online");
    assert_eq!(status["target"], "auto=10.9.9.1");
    assert!(agent.stop().success());
}

#[test]
fn auto_in_a_pods_own_network_is_a_wrong_setting() {
    for (host_ip, says) in [(None, "HOST_IP"), (Some("192.0.2.7"), "hostNetwork")] {
        // An agent that is not refused would run for ever.
        let mut command = Command::new("timeout");
        command.args(["60", AGENT]);
        command.args(["--heartbeat-ip", "auto", "--admin-addr", "127.0.0.1:0"]).env_remove("NODE_NAME").env_remove("HOST_PROC");
        command.env("KUBERNETES_SERVICE_HOST", "10.96.0.1").env_remove("HOST_IP");
        command.envs(host_ip.map(|ip| ("HOST_IP", ip)));
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains(says), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn any_of_several_targets_will_do_and_the_webhook_hears_of_it() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (sender, posts) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut text = vec![0; 8192];
            let mut length = 0;
            // Head and body may come apart.
            while !text[..length].ends_with(b"}") {
                length += stream.read(&mut text[length..]).unwrap();
            }
            let _ = sender.send(String::from_utf8_lossy(&text[..length]).into_owned());
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
        }
    });
    let mut command = Command::new(AGENT);
    command.env("WEBHOOK_URL", url);
    // 192.0.2.0/24 is for documentation: nobody answers there.
    let mut agent = Agent::start(command, "192.0.2.1,127.0.0.1");
    assert_eq!(agent.wait_for("online")["target"], "192.0.2.1,127.0.0.1");
    let post = posts.recv_timeout(PATIENCE).unwrap();
    assert!(post.starts_with("POST /hook HTTP/1.1"), "{post}");
    let body: Value = serde_json::from_str(post.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!((&body["status"], &body["previous"]), (&"online".into(), &"unknown".into()));
    assert!(agent.stop().success());
}

#[test]
fn a_datagram_socket_is_preferred_where_the_sysctl_allows_it() {
    let setup = "ip link set lo up; echo '0 2147483647' > /proc/sys/net/ipv4/ping_group_range";
    let Some(command) = in_namespace(setup) else { return };
    let agent = Agent::start(command, "127.0.0.1");
    assert_eq!(agent.log("probing with ICMP")["socket"], "datagram");
    assert_eq!(agent.wait_for("online")["method"], "icmp");
}

#[test]
fn ipv6_works_too() {
    let Some(command) = in_namespace("ip link set lo up; ip addr show dev lo | grep -q ::1 || exec sleep 0") else { return };
    let mut agent = Agent::start(command, "::1");
    if agent.logs.recv_timeout(PATIENCE).is_err() {
        eprintln!("skipped: no IPv6 here");
        let _ = agent.process.wait();
        return;
    }
    assert_eq!(agent.wait_for("online")["target"], "::1");
}

#[test]
fn where_icmp_is_forbidden_tcp_is_used_and_said() {
    // Root loses the right with its bounding set; the namespace's ping_group_range is empty by default.
    let Some(_) = in_namespace(":") else { return };
    let mut command = Command::new("unshare");
    let script = format!("ip link set lo up; exec setpriv --bounding-set -net_raw {AGENT}");
    command.args(["-n", "sh", "-c", &script]);
    let mut agent = Agent::start(command, "127.0.0.1");
    assert_eq!(agent.log("ICMP is forbidden here")["level"], "WARN");
    let status = agent.wait_for("online");
    // Nothing listens in there: the refusals are the answers.
    assert_eq!((&status["method"], &status["reason"]), (&"tcp".into(), &"gateway_refused".into()));
    assert!(agent.stop().success());
}

#[test]
fn insisting_on_icmp_where_it_is_forbidden_is_a_wrong_setting() {
    let Some(_) = in_namespace(":") else { return };
    let output = Command::new("unshare")
        .args(["-n", "setpriv", "--bounding-set", "-net_raw", AGENT, "--probe", "icmp", "--admin-addr", "127.0.0.1:0"])
        .env_remove("NODE_NAME")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("ping_group_range"));
}

#[test]
fn a_node_name_without_a_cluster_is_a_wrong_setting() {
    let output = Command::new(AGENT)
        .args(["--node-name", "edge-7", "--heartbeat-ip", "127.0.0.1", "--admin-addr", "127.0.0.1:0"])
        .env_remove("KUBERNETES_SERVICE_HOST")
        .env("KUBECONFIG", "/nonexistent")
        .env("HOME", "/nonexistent")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stderr).contains("neither a service account nor a kubeconfig"));
}
