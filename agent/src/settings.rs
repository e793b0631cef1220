//! The agent's settings: flags with environment twins.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use edgeloop_service::{admin::AdminArgs, logs::LogArgs};

use crate::probe::{Choice, Plan, Target};
use crate::sink::LabelKey;
use crate::verdict::Thresholds;

/// Asks whether the gateway is reachable from this node, and says so: as a node label, in a status file, or both.
///
/// The verdict is `online` or `offline`; it changes only after several rounds in a row that agree. With --node-name it is written
/// to that Kubernetes node as a label (and annotations: since, reason, round trip); with --status-file to a JSON file.
#[derive(Clone, Debug, Parser)]
#[command(name = "edgeloop-agent", version, about, max_term_width = 120)]
pub struct Settings {
    /// Address of the gateway, IPv4 or IPv6 (`fe80::1%eth0` where it is link-local). Names are not resolved.
    #[arg(long, env = "HEARTBEAT_IP", default_value = "192.168.1.1")]
    pub heartbeat_ip: Target,
    /// Seconds between two rounds (±10 %, so that a fleet does not ask in step); until the first verdict at most one.
    #[arg(long, env = "CHECK_INTERVAL_SECONDS", default_value_t = 15.0, value_parser = seconds)]
    pub check_interval_seconds: f64,
    /// How to ask: `auto` is ICMP, and TCP where ICMP is forbidden.
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
    /// Good rounds in a row until `online`.
    #[arg(long, env = "UP_THRESHOLD", default_value = "2")]
    pub up_threshold: NonZeroU32,
    /// Bad rounds in a row until `offline`.
    #[arg(long, env = "DOWN_THRESHOLD", default_value = "3")]
    pub down_threshold: NonZeroU32,
    /// The Kubernetes node to label: this one (downward API, `spec.nodeName`). Without it Kubernetes is left alone.
    #[arg(long, env = "NODE_NAME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub node_name: Option<String>,
    /// Key of the node label.
    #[arg(long, env = "NODE_LABEL_KEY", default_value = "myapp.com/network-status")]
    pub node_label_key: LabelKey,
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
}

/// 10 ms to a day: less is a flood, more is a typing error.
fn seconds(text: &str) -> Result<f64, String> {
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
        Settings::try_parse_from(std::iter::once(&"edgeloop-agent").chain(args))
    }

    #[test]
    fn the_defaults_are_those_of_the_manual() {
        let settings = parse(&[]).unwrap();
        assert_eq!(settings.heartbeat_ip.to_string(), "192.168.1.1");
        assert_eq!(settings.interval(), Duration::from_secs(15));
        assert_eq!(settings.node_label_key.to_string(), "myapp.com/network-status");
        assert_eq!((settings.plan().requests, settings.plan().tcp_ports), (3, vec![53, 80, 443]));
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
    fn nonsense_is_refused(#[case] args: &[&str]) {
        assert_eq!(parse(args).unwrap_err().exit_code(), 2);
    }
}
