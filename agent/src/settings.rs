//! The agent's settings: flags with environment twins.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use edgeloop_service::{admin::AdminArgs, logs::LogArgs};

use crate::cluster::{LabelKey, LeaseTimes};
use crate::probe::{Choice, Plan, Surroundings, Target, Trust};
pub use crate::reap::ReapSettings;
pub use crate::uninstall::UninstallSettings;
use crate::verdict::{HoldPlan, Thresholds};

/// Asks whether the gateway is reachable from this node, and says so: as a node label, in a status file, or both.
///
/// The verdict is `online` or `offline`; it changes only after several rounds in a row that agree. With --node-name it is written
/// to that Kubernetes node as a label (and annotations: since, reason, round trip); with --status-file to a JSON file.
#[derive(Clone, Debug, Parser)]
#[command(name = "edgeloop-agent", version, about, max_term_width = 120)]
pub struct Cli {
    /// What to do instead.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The agent's own settings.
    #[command(flatten)]
    pub agent: Settings,
}

/// What else this program does.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Turns nodes offline whose agent has stopped renewing its lease. One of these a cluster.
    Reap(ReapSettings),
    /// Removes the label, its annotations and the leases from all nodes, once no agent writes any more.
    Uninstall(UninstallSettings),
}

/// The agent's settings.
#[derive(Args, Clone, Debug)]
pub struct Settings {
    /// Who is asked, several with commas between (any answer counts): IPv4 or IPv6 addresses (`fe80::1%eth0` where it is link-local),
    /// http:// or https:// URLs, `auto` for the host's default gateway. Names are resolved in URLs only.
    #[arg(long, env = "HEARTBEAT_IP", default_value = "192.168.1.1", value_delimiter = ',')]
    pub heartbeat_ip: Vec<Target>,
    /// The host's /proc where it is mounted into this container: `auto` reads the host's routes there.
    #[arg(long, env = "HOST_PROC")]
    pub host_proc: Option<PathBuf>,
    /// The node's own address (downward API, `status.hostIP`): how `auto` sees whether a pod shares the host's network.
    #[arg(long, env = "HOST_IP")]
    pub host_ip: Option<IpAddr>,
    /// Seconds between two rounds (±10 %, so that a fleet does not ask in step); until the first verdict at most one.
    #[arg(long, env = "CHECK_INTERVAL_SECONDS", default_value_t = 15.0, value_parser = seconds)]
    pub check_interval_seconds: f64,
    /// How addresses are asked: `auto` is ICMP, and TCP where ICMP is forbidden.
    #[arg(long, env = "PROBE", value_enum, default_value_t = Choice::Auto)]
    pub probe: Choice,
    /// Requests a round; any answer counts.
    #[arg(long, env = "PROBE_REQUESTS", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=20))]
    pub probe_requests: u16,
    /// Seconds that a request waits for its answer.
    #[arg(long, env = "PROBE_TIMEOUT_SECONDS", default_value_t = 1.0, value_parser = seconds)]
    pub probe_timeout_seconds: f64,
    /// Ports that TCP tries in turn; a refused connection counts as an answer, so a closed port does.
    #[arg(long, env = "PROBE_TCP_PORTS", value_delimiter = ',', default_value = "53,80,443", value_parser = clap::value_parser!(u16).range(1..))]
    pub probe_tcp_ports: Vec<u16>,
    /// PEM file of certificates to trust for https:// targets and the webhook, instead of the system's.
    #[arg(long, env = "PROBE_CA_FILE")]
    pub probe_ca_file: Option<PathBuf>,
    /// Trust any certificate of https:// targets and the webhook.
    #[arg(long, env = "PROBE_INSECURE", num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub probe_insecure: bool,
    /// Good rounds in a row until `online`.
    #[arg(long, env = "UP_THRESHOLD", default_value = "2")]
    pub up_threshold: NonZeroU32,
    /// Bad rounds in a row until `offline`.
    #[arg(long, env = "DOWN_THRESHOLD", default_value = "3")]
    pub down_threshold: NonZeroU32,
    /// Seconds that a verdict is held after it flipped, doubled by each flip that follows soon; neither the first verdict nor the first
    /// flip waits. 0 holds nothing.
    #[arg(long, env = "HOLD_SECONDS", default_value_t = 30.0, value_parser = seconds_or_none)]
    pub hold_seconds: f64,
    /// The longest hold.
    #[arg(long, env = "HOLD_MAX_SECONDS", default_value_t = 900.0, value_parser = seconds_or_none)]
    pub hold_max_seconds: f64,
    /// The Kubernetes node to label: this one (downward API, `spec.nodeName`). Without it Kubernetes is left alone.
    #[arg(long, env = "NODE_NAME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub node_name: Option<String>,
    /// Names in the cluster.
    #[command(flatten)]
    pub names: Names,
    /// Seconds that the node counts as alive without its lease being renewed (it is renewed at each interval); 0: three intervals.
    #[arg(long, env = "LEASE_SECONDS", default_value_t = 0.0, value_parser = seconds_or_none)]
    pub lease_seconds: f64,
    /// The same after a stop by signal: long enough for the next version to be pulled and started.
    #[arg(long, env = "STOP_LEASE_SECONDS", default_value_t = 300.0, value_parser = seconds)]
    pub stop_lease_seconds: f64,
    /// URL that gets a POST at each change of the verdict: {"node", "status", "previous", "since", "reason", "rtt_ms", "target"}.
    #[arg(long, env = "WEBHOOK_URL", value_parser = url)]
    pub webhook_url: Option<http::Uri>,
    /// JSON file to keep up to date with the verdict; replaced whole at each round.
    #[arg(long, env = "STATUS_FILE")]
    pub status_file: Option<PathBuf>,
    /// Admin port.
    #[command(flatten)]
    pub admin: AdminArgs,
    /// Logs.
    #[command(flatten)]
    pub log: LogArgs,
}

/// Names in the cluster, which agent, reaper and uninstall must agree on.
#[derive(Args, Clone, Debug)]
pub struct Names {
    /// Key of the node label.
    #[arg(long, env = "NODE_LABEL_KEY", default_value = "myapp.com/network-status")]
    pub node_label_key: LabelKey,
    /// Namespace of the leases; without it that of the account.
    #[arg(long, env = "LEASE_NAMESPACE", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub lease_namespace: Option<String>,
}

impl Settings {
    /// Time between two rounds.
    #[must_use]
    pub fn interval(&self) -> Duration {
        Duration::from_secs_f64(self.check_interval_seconds)
    }

    /// The size of a round.
    #[must_use]
    pub fn plan(&self) -> Plan {
        Plan {
            requests: self.probe_requests,
            timeout: Duration::from_secs_f64(self.probe_timeout_seconds),
            tcp_ports: self.probe_tcp_ports.clone(),
        }
    }

    /// Rounds that it takes.
    #[must_use]
    pub fn thresholds(&self) -> Thresholds {
        Thresholds { up: self.up_threshold, down: self.down_threshold }
    }

    /// How long a verdict is held.
    #[must_use]
    pub fn hold(&self) -> HoldPlan {
        HoldPlan::new(Duration::from_secs_f64(self.hold_seconds), Duration::from_secs_f64(self.hold_max_seconds))
    }

    /// How long the lease lasts.
    #[must_use]
    pub fn lease_times(&self) -> LeaseTimes {
        let length = Duration::from_secs_f64(self.lease_seconds);
        LeaseTimes {
            interval: self.interval(),
            length: if length.is_zero() { self.interval() * 3 } else { length },
            on_stop: Duration::from_secs_f64(self.stop_lease_seconds),
        }
    }

    /// Where we run.
    #[must_use]
    pub fn surroundings(&self) -> Surroundings {
        Surroundings {
            host_proc: self.host_proc.clone(),
            host_ip: self.host_ip,
            in_pod: std::env::var_os("KUBERNETES_SERVICE_HOST").is_some(),
        }
    }

    /// Whom https:// trusts.
    #[must_use]
    pub fn trust(&self) -> Trust {
        Trust { ca_file: self.probe_ca_file.clone(), insecure: self.probe_insecure }
    }
}

/// As below, or 0.
pub(crate) fn seconds_or_none(text: &str) -> Result<f64, String> {
    if text.trim().parse::<f64>() == Ok(0.0) { Ok(0.0) } else { seconds(text).map_err(|error| format!("{error}, or 0")) }
}

fn url(text: &str) -> Result<http::Uri, String> {
    match text.parse::<Target>() {
        Ok(Target::Http(uri)) => Ok(uri),
        _ => Err("give a URL, http://… or https://…".to_owned()),
    }
}

/// 10 ms to a day: less is a flood, more is a typing error.
pub(crate) fn seconds(text: &str) -> Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(seconds) if (0.01..=86_400.0).contains(&seconds) => Ok(seconds),
        _ => Err("give seconds, from 0.01 to 86400".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rstest::rstest;

    fn parse(args: &[&str]) -> Result<Settings, clap::Error> {
        Cli::try_parse_from(std::iter::once(&"edgeloop-agent").chain(args)).map(|cli| cli.agent)
    }

    #[test]
    fn the_defaults_are_those_of_the_manual() {
        let settings = parse(&[]).unwrap();
        assert_eq!(settings.heartbeat_ip, ["192.168.1.1".parse().unwrap()]);
        assert_eq!(settings.interval(), Duration::from_secs(15));
        assert_eq!(settings.names.node_label_key.to_string(), "myapp.com/network-status");
        assert_eq!((settings.plan().requests, settings.plan().tcp_ports), (3, vec![53, 80, 443]));
    }

    #[test]
    fn targets_are_a_list_and_a_lease_lasts_for_three_intervals() {
        let settings =
            parse(&["--heartbeat-ip", "auto,https://10.0.0.1/healthz", "--check-interval-seconds", "20", "--probe-insecure"]).unwrap();
        assert_eq!((settings.heartbeat_ip.len(), settings.probe_insecure), (2, true));
        assert_eq!(settings.lease_times().length, Duration::from_secs(60));
        assert_eq!(parse(&["--lease-seconds", "40"]).unwrap().lease_times().length, Duration::from_secs(40));
    }

    #[test]
    fn the_other_commands_have_settings_of_their_own() {
        let command = |args: &[&str]| Cli::try_parse_from(std::iter::once(&"edgeloop-agent").chain(args)).unwrap().command;
        assert!(matches!(command(&["reap", "--node-label-key", "a.b/c"]), Some(Command::Reap(_))));
        assert!(matches!(command(&["uninstall"]), Some(Command::Uninstall(_))));
        assert!(command(&[]).is_none());
    }

    #[rstest]
    #[case(&["--check-interval-seconds", "0"])]
    #[case(&["--check-interval-seconds", "NaN"])]
    #[case(&["--heartbeat-ip", "gateway.local"])]
    #[case(&["--node-label-key", "a/b/c"])]
    #[case(&["--up-threshold", "0"])]
    #[case(&["--probe-requests", "0"])]
    #[case(&["--probe-tcp-ports", "80,0"])]
    #[case(&["--node-name", ""])]
    #[case(&["--hold-seconds", "-1"])]
    #[case(&["--heartbeat-ip", "192.168.1.1,nobody"])]
    #[case(&["--webhook-url", "192.168.1.1"])]
    #[case(&["reap", "--mass-share", "2"])]
    fn nonsense_is_refused(#[case] args: &[&str]) {
        assert_eq!(parse(args).unwrap_err().exit_code(), 2);
    }
}
