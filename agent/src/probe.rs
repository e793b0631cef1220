//! One round: a few requests to the gateway, of which any answer counts; of several targets any.
//!
//! ICMP echo through a datagram socket where `net.ipv4.ping_group_range` allows it, through a raw one where `CAP_NET_RAW` does,
//! and a TCP connect where ICMP is forbidden, which is said in the log and the status. To a TCP connect a refusal (RST) is an
//! answer: something at that address lives. A URL is asked by HTTP and counts with 2xx and 3xx.

mod address;
mod http;
mod icmp;
mod routes;
mod target;
mod tcp;

use std::time::Duration;

use clap::ValueEnum;
use futures::future::join_all;
use serde::{Deserialize, Serialize};

pub use address::{Address, NotAnAddress};
pub(crate) use http::Http;
pub use http::Trust;
pub use routes::{NoHostRoutes, Routes, Surroundings};
pub use target::{NotATarget, Target};

use crate::verdict::Reason;

/// How the gateway is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Echo requests.
    Icmp,
    /// Connects.
    Tcp,
    /// GET.
    Http,
}

impl Method {
    /// As in the status file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Icmp => "icmp",
            Method::Tcp => "tcp",
            Method::Http => "http",
        }
    }
}

/// Which method addresses are asked by.
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

    /// The round of the target that answered best; when none did, of the first.
    fn best(rounds: impl Iterator<Item = Round>) -> Self {
        let rank = |round: &Round| (!round.reason.is_reached(), round.rtt.unwrap_or(Duration::MAX));
        // Of equals the first stays.
        rounds.reduce(|best, round| if rank(&round) < rank(&best) { round } else { best }).unwrap_or_else(|| Round::of(&[], Method::Icmp))
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
    /// `auto` where the host's routes are not to be seen.
    #[error("HEARTBEAT_IP")]
    Routes(#[from] NoHostRoutes),
    /// A URL's certificates.
    #[error("{target}: no client can be made for it; is PROBE_CA_FILE a PEM file?")]
    Http {
        /// Which.
        target: String,
        /// Why not.
        source: Box<kube::Error>,
    },
}

/// IPv4 and IPv6 have ICMP sockets of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

impl Family {
    fn of(address: &Address) -> Self {
        if address.ip().is_ipv4() { Family::V4 } else { Family::V6 }
    }
}

enum Asked {
    Address(Address),
    Http(Http),
    Gateway { routes: Routes, last: Option<Address> },
}

enum Way {
    Icmp(icmp::Icmp),
    Tcp,
}

/// Asks the gateway.
pub struct Prober {
    asked: Vec<Asked>,
    names: Vec<Target>,
    plan: Plan,
    choice: Choice,
    v4: Option<Way>,
    v6: Option<Way>,
}

impl Prober {
    /// Opens the sockets that the choice asks for; call inside a tokio runtime.
    ///
    /// # Errors
    /// [`ProbeError`] when ICMP is insisted on and cannot be had, or the host's routes are not to be seen.
    pub fn open(targets: &[Target], plan: Plan, choice: Choice, around: &Surroundings, trust: &Trust) -> Result<Self, ProbeError> {
        let mut prober = Prober { asked: Vec::new(), names: targets.to_vec(), plan, choice, v4: None, v6: None };
        for target in targets {
            let asked = match target {
                Target::Address(address) => Asked::Address(address.clone()),
                Target::Auto => {
                    let routes = Routes::of_host(around)?;
                    Asked::Gateway { last: routes.gateway(), routes }
                }
                Target::Http(uri) => Asked::Http(
                    Http::open(uri, trust).map_err(|source| ProbeError::Http { target: target.to_string(), source: Box::new(source) })?,
                ),
            };
            // Before there is a default route: most likely of this family, and what is forbidden shows now.
            let family = match &asked {
                Asked::Address(address) | Asked::Gateway { last: Some(address), .. } => Some(Family::of(address)),
                Asked::Gateway { last: None, .. } => Some(Family::V4),
                Asked::Http(_) => None,
            };
            if let Some(family) = family {
                prober.prepare(family)?;
            }
            prober.asked.push(asked);
        }
        Ok(prober)
    }

    fn prepare(&mut self, family: Family) -> Result<(), ProbeError> {
        let (choice, ports, target) = (self.choice, self.plan.tcp_ports.clone(), self.target());
        let way = self.way_mut(family);
        if way.is_some() {
            return Ok(());
        }
        *way = Some(match (choice, icmp::Icmp::open(family)) {
            (Choice::Tcp, _) => Way::Tcp,
            (_, Ok(icmp)) => {
                tracing::info!(gateway = target, ?family, socket = icmp.socket(), "probing with ICMP echo requests");
                Way::Icmp(icmp)
            }
            (Choice::Auto, Err(error)) => {
                tracing::warn!(gateway = target, ?family, ?ports, error = %error.kind(), "ICMP is forbidden here: probing with TCP connects instead");
                Way::Tcp
            }
            (Choice::Icmp, Err(error)) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                return Err(ProbeError::IcmpForbidden(error));
            }
            (Choice::Icmp, Err(error)) => return Err(ProbeError::Icmp(error)),
        });
        Ok(())
    }

    fn way(&self, family: Family) -> Option<&Way> {
        if family == Family::V4 { self.v4.as_ref() } else { self.v6.as_ref() }
    }

    fn way_mut(&mut self, family: Family) -> &mut Option<Way> {
        if family == Family::V4 { &mut self.v4 } else { &mut self.v6 }
    }

    /// How it asks before the first round.
    #[must_use]
    pub fn method(&self) -> Method {
        match (&self.v4, &self.v6) {
            (Some(Way::Icmp(_)), _) | (_, Some(Way::Icmp(_))) => Method::Icmp,
            (Some(Way::Tcp), _) | (_, Some(Way::Tcp)) => Method::Tcp,
            (None, None) => Method::Http,
        }
    }

    /// Who is asked, as set; `auto` with the gateway that it stands for now: `auto=192.168.1.1`.
    #[must_use]
    pub fn target(&self) -> String {
        let names = self.names.iter().enumerate().map(|(i, name)| match self.asked.get(i) {
            Some(Asked::Gateway { last: Some(address), .. }) => format!("{name}={address}"),
            _ => name.to_string(),
        });
        names.collect::<Vec<_>>().join(",")
    }

    /// One round: all targets at once, and any of them counts. Takes at most twice [`Plan::longest`].
    pub async fn round(&mut self) -> Round {
        self.look_up_gateways();
        let refused: Vec<Family> = {
            let rounds = join_all(self.asked.iter().map(|asked| self.ask(asked))).await;
            let refused = rounds.iter().filter_map(|round| round.as_ref().err().copied()).collect::<Vec<_>>();
            if refused.is_empty() || self.choice != Choice::Auto {
                let failed = |_| Round::of(&vec![Answer::none(Reason::ProbeFailed); usize::from(self.plan.requests)], Method::Icmp);
                return Round::best(rounds.into_iter().map(|round| round.unwrap_or_else(failed)));
            }
            refused
        };
        // The socket opened, but a firewall of this node refuses to send (EPERM): as forbidden as no socket at all.
        for family in refused {
            if !matches!(self.way(family), Some(Way::Tcp)) {
                tracing::warn!(gateway = self.target(), ?family, "sending ICMP is forbidden here: probing with TCP connects from now on");
                *self.way_mut(family) = Some(Way::Tcp);
            }
        }
        let rounds = join_all(self.asked.iter().map(|asked| self.ask(asked))).await;
        Round::best(rounds.into_iter().flatten())
    }

    /// The host may have moved to another network since the last round.
    fn look_up_gateways(&mut self) {
        let mut families = Vec::new();
        for asked in &mut self.asked {
            if let Asked::Gateway { routes, last } = asked {
                let gateway = routes.gateway();
                if gateway != *last {
                    let name = |gateway: &Option<Address>| gateway.as_ref().map_or("none".to_owned(), ToString::to_string);
                    tracing::info!(from = name(last), to = name(&gateway), "the host's default gateway is another");
                    *last = gateway;
                }
                families.extend(last.as_ref().map(Family::of));
            }
        }
        for family in families {
            if let Err(error) = self.prepare(family) {
                tracing::warn!(%error, ?family, "no socket for the host's default gateway");
            }
        }
    }

    /// # Errors
    /// The family whose ICMP this node refuses to send.
    async fn ask(&self, asked: &Asked) -> Result<Round, Family> {
        let address = match asked {
            Asked::Http(http) => return Ok(Round::of(&http.round(&self.plan).await, Method::Http)),
            Asked::Gateway { last: None, .. } => return Ok(Round::of(&[Answer::none(Reason::NoRoute)], self.method())),
            Asked::Address(address) | Asked::Gateway { last: Some(address), .. } => address,
        };
        let family = Family::of(address);
        match self.way(family) {
            Some(Way::Icmp(icmp)) => match icmp.round(address, &self.plan).await {
                Ok(answers) => Ok(Round::of(&answers, Method::Icmp)),
                Err(_) => Err(family),
            },
            Some(Way::Tcp) => Ok(Round::of(&tcp::round(address, &self.plan).await, Method::Tcp)),
            None => Ok(Round::of(&[], Method::Icmp)),
        }
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
mod tests;
