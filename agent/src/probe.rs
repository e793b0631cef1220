//! One round: a few requests to the gateway, of which any answer counts.
//!
//! ICMP echo through a datagram socket where `net.ipv4.ping_group_range` allows it, through a raw one where `CAP_NET_RAW` does,
//! and a TCP connect where ICMP is forbidden, which is said in the log and the status. To a TCP connect a refusal (RST) is an
//! answer: something at that address lives.

mod icmp;
mod target;
mod tcp;

use std::time::Duration;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

pub use target::Target;

use crate::verdict::Reason;

/// How the gateway is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Echo requests.
    Icmp,
    /// Connects.
    Tcp,
}

impl Method {
    /// As in the status file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Icmp => "icmp",
            Method::Tcp => "tcp",
        }
    }
}

/// Which method to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Choice {
    /// ICMP, and TCP where ICMP is forbidden.
    Auto,
    /// ICMP or nothing.
    Icmp,
    /// TCP only.
    Tcp,
}

/// The size of a round.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Requests a round.
    pub requests: u16,
    /// How long each waits for its answer.
    pub timeout: Duration,
    /// Ports that TCP tries in turn.
    pub tcp_ports: Vec<u16>,
}

impl Plan {
    /// The longest that a round takes.
    #[must_use]
    pub fn longest(&self) -> Duration {
        self.timeout + SPACING * u32::from(self.requests)
    }
}

/// Time between two requests of a round: a burst would be lost as a whole.
const SPACING: Duration = Duration::from_millis(100);

/// What came of one request.
#[derive(Clone, Copy, Debug)]
struct Answer {
    reason: Reason,
    rtt: Option<Duration>,
}

impl Answer {
    fn none(reason: Reason) -> Self {
        Answer { reason, rtt: None }
    }
}

/// The outcome of a round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Round {
    /// Why it counts as reached or not.
    pub reason: Reason,
    /// Best round trip among the answers.
    pub rtt: Option<Duration>,
    /// Requests sent.
    pub sent: u16,
    /// Requests answered.
    pub answered: u16,
    /// How.
    pub method: Method,
}

impl Round {
    /// Share of the requests that nobody answered.
    #[must_use]
    pub fn loss(&self) -> f64 {
        if self.sent == 0 { 0.0 } else { f64::from(self.sent - self.answered) / f64::from(self.sent) }
    }

    /// Any answer decides; without one the first reason stands, and real silence outranks what failed before it was sent.
    fn of(answers: &[Answer], method: Method) -> Self {
        let reached = answers.iter().filter(|answer| answer.reason.is_reached());
        let best = reached.clone().min_by_key(|answer| answer.rtt.unwrap_or(Duration::MAX));
        let silent = || answers.iter().find(|answer| answer.reason == Reason::NoReply).or(answers.first());
        Round {
            reason: best.or_else(silent).map_or(Reason::ProbeFailed, |answer| answer.reason),
            rtt: best.and_then(|answer| answer.rtt),
            sent: u16::try_from(answers.len()).unwrap_or(u16::MAX),
            answered: u16::try_from(reached.count()).unwrap_or(u16::MAX),
            method,
        }
    }
}

/// The probe cannot work at all with these settings on this machine.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// ICMP was insisted on and is forbidden.
    #[error(
        "ICMP is forbidden here: allow this group in net.ipv4.ping_group_range, or give CAP_NET_RAW, or let PROBE=auto fall back to TCP"
    )]
    IcmpForbidden(#[source] std::io::Error),
    /// No ICMP socket for another reason.
    #[error("cannot open an ICMP socket")]
    Icmp(#[source] std::io::Error),
}

/// Asks the gateway.
pub struct Prober {
    target: Target,
    plan: Plan,
    choice: Choice,
    way: Way,
}

enum Way {
    Icmp(icmp::Icmp),
    Tcp,
}

impl Prober {
    /// Opens the socket that the choice asks for; call inside a tokio runtime.
    ///
    /// # Errors
    /// [`ProbeError`] when ICMP is insisted on and cannot be had.
    pub fn open(target: Target, plan: Plan, choice: Choice) -> Result<Self, ProbeError> {
        let way = match (choice, icmp::Icmp::open(&target)) {
            (Choice::Tcp, _) => Way::Tcp,
            (_, Ok(icmp)) => {
                tracing::info!(gateway = %target, socket = icmp.socket(), "probing with ICMP echo requests");
                Way::Icmp(icmp)
            }
            (Choice::Auto, Err(error)) => {
                tracing::warn!(gateway = %target, ports = ?plan.tcp_ports, error = %error.kind(), "ICMP is forbidden here: probing with TCP connects instead");
                Way::Tcp
            }
            (Choice::Icmp, Err(error)) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                return Err(ProbeError::IcmpForbidden(error));
            }
            (Choice::Icmp, Err(error)) => return Err(ProbeError::Icmp(error)),
        };
        Ok(Prober { target, plan, choice, way })
    }

    /// How it asks now.
    #[must_use]
    pub fn method(&self) -> Method {
        match self.way {
            Way::Icmp(_) => Method::Icmp,
            Way::Tcp => Method::Tcp,
        }
    }

    /// Who is asked.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// One round. Takes at most [`Plan::longest`].
    pub async fn round(&mut self) -> Round {
        if let Way::Icmp(icmp) = &mut self.way {
            match icmp.round(&self.target, &self.plan).await {
                Ok(answers) => return Round::of(&answers, Method::Icmp),
                // The socket opened, but a firewall of this node refuses to send (EPERM): as forbidden as no socket at all.
                Err(error) if self.choice == Choice::Auto => {
                    tracing::warn!(gateway = %self.target, %error, "sending ICMP is forbidden here: probing with TCP connects from now on");
                    self.way = Way::Tcp;
                }
                Err(_) => return Round::of(&vec![Answer::none(Reason::ProbeFailed); usize::from(self.plan.requests)], Method::Icmp),
            }
        }
        Round::of(&tcp::round(&self.target, &self.plan).await, Method::Tcp)
    }
}

/// What an error of sending or connecting says about the gateway.
fn reason_of(error: &std::io::Error) -> Reason {
    match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
        Some(rustix::io::Errno::CONNREFUSED | rustix::io::Errno::CONNRESET) => Reason::GatewayRefused,
        Some(rustix::io::Errno::NETUNREACH | rustix::io::Errno::NETDOWN | rustix::io::Errno::ADDRNOTAVAIL | rustix::io::Errno::NODEV) => {
            Reason::NoRoute
        }
        Some(rustix::io::Errno::HOSTUNREACH | rustix::io::Errno::HOSTDOWN) => Reason::HostUnreachable,
        Some(rustix::io::Errno::TIMEDOUT) => Reason::NoReply,
        _ => Reason::ProbeFailed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn answer(reason: Reason, millis: Option<u64>) -> Answer {
        Answer { reason, rtt: millis.map(Duration::from_millis) }
    }

    #[rstest]
    #[case::any_answer_counts(&[(Reason::NoReply, None), (Reason::GatewayReplied, Some(7)), (Reason::NoReply, None)], Reason::GatewayReplied, Some(7), 1)]
    #[case::the_best_time_is_told(&[(Reason::GatewayReplied, Some(9)), (Reason::GatewayReplied, Some(3))], Reason::GatewayReplied, Some(3), 2)]
    #[case::silence_outranks_local_trouble(&[(Reason::ProbeFailed, None), (Reason::NoReply, None)], Reason::NoReply, None, 0)]
    #[case::one_reason_stands(&[(Reason::NoRoute, None), (Reason::NoRoute, None)], Reason::NoRoute, None, 0)]
    #[case::nothing_sent_is_a_failed_probe(&[], Reason::ProbeFailed, None, 0)]
    fn a_round(#[case] answers: &[(Reason, Option<u64>)], #[case] reason: Reason, #[case] rtt: Option<u64>, #[case] answered: u16) {
        let answers: Vec<Answer> = answers.iter().map(|(reason, rtt)| answer(*reason, *rtt)).collect();
        let round = Round::of(&answers, Method::Icmp);
        assert_eq!((round.reason, round.rtt, round.answered), (reason, rtt.map(Duration::from_millis), answered));
    }

    #[test]
    fn loss_is_a_share() {
        let answers = [answer(Reason::GatewayReplied, Some(1)), answer(Reason::NoReply, None), answer(Reason::NoReply, None)];
        assert!((Round::of(&answers, Method::Icmp).loss() - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!(Round::of(&[], Method::Tcp).loss(), 0.0);
    }
}
