//! Removes what agents and reaper leave on nodes: the label, its annotations, the leases.
//!
//! Runs after the agents were told to go (a post-delete job): as long as one still writes, what is removed comes back. So first the
//! leases must have stood still for longer than agents pause between two renewals.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Args;
use edgeloop_service::exit::{BAD_INPUT, TEMPORARY, WithExitCode, with_code};
use edgeloop_service::{logs::LogArgs, shutdown::Shutdown};
use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt;
use tokio::time::{Instant, sleep};

use crate::cluster::{self, node_of_lease};
use crate::reap::{Fleet, Outcome, Pace, Write};
use crate::settings::{Names, seconds};

const LOOK: Duration = Duration::from_secs(2);

/// The settings of `uninstall`.
#[derive(Args, Clone, Debug)]
pub struct UninstallSettings {
    /// Names in the cluster.
    #[command(flatten)]
    pub names: Names,
    /// Seconds without any renewal until the agents count as gone: longer than they pause in between (--check-interval-seconds, and a tenth).
    #[arg(long, env = "QUIET_SECONDS", default_value_t = 20.0, value_parser = seconds)]
    pub quiet_seconds: f64,
    /// Seconds to wait for that; agents that still write then are named, and the exit code is 75.
    #[arg(long, env = "WAIT_SECONDS", default_value_t = 180.0, value_parser = seconds)]
    pub wait_seconds: f64,
    /// Most writes a second.
    #[arg(long, env = "WRITES_PER_SECOND", default_value = "50")]
    pub writes_per_second: NonZeroU32,
    /// Logs.
    #[command(flatten)]
    pub log: LogArgs,
}

/// Waits, removes, ends.
///
/// # Errors
/// Exit code 75 when agents still write, or the API server does not answer; 2 without a cluster.
pub async fn run(settings: UninstallSettings, shutdown: Shutdown) -> anyhow::Result<()> {
    let (client, namespace) = cluster::client().await.exit_code(BAD_INPUT)?;
    let namespace = settings.names.lease_namespace.clone().unwrap_or(namespace);
    let fleet = Fleet::new(client, &namespace, settings.names.node_label_key.clone(), "uninstall", Pace::of(settings.writes_per_second));
    tokio::select! {
        () = shutdown.cancelled() => Err(with_code(TEMPORARY, anyhow!("stopped before all was removed"))),
        result = uninstall(&settings, &fleet) => result,
    }
}

async fn uninstall(settings: &UninstallSettings, fleet: &Fleet) -> anyhow::Result<()> {
    let (quiet, patience) = (Duration::from_secs_f64(settings.quiet_seconds), Duration::from_secs_f64(settings.wait_seconds));
    let start = Instant::now();
    let mut movement = Movement::default();
    loop {
        let leases = fleet.all_leases().await.map_err(|error| anyhow!(error)).context("the leases cannot be read").exit_code(TEMPORARY)?;
        movement.look(&leases, start.elapsed());
        let moving = movement.moving(start.elapsed(), quiet);
        if moving.is_empty() {
            tracing::info!(leases = leases.len(), "no agent writes any more");
            break;
        }
        if start.elapsed() > patience {
            let names = moving.iter().take(5).map(String::as_str).collect::<Vec<_>>().join(", ");
            let error =
                anyhow!("{} agents still renew their leases ({names}): delete the DaemonSet first, then run this again", moving.len());
            return Err(with_code(TEMPORARY, error));
        }
        sleep(LOOK.min(quiet)).await;
    }
    let failed = |error: String| anyhow!(error).context("the nodes cannot be read");
    let mut names = fleet.nodes_of_ours().await.map_err(failed).exit_code(TEMPORARY)?;
    // Leases of nodes that are gone, or that never had a verdict.
    names.extend(movement.seen.into_keys());
    names.sort_unstable();
    names.dedup();
    let count = names.len();
    let outcomes = fleet.write(names.into_iter().map(|name| (name, None, Duration::ZERO)).collect(), Write::Remove).await;
    let done = outcomes.iter().filter(|(_, outcome)| *outcome == Outcome::Done).count();
    if done < count {
        let why = outcomes.iter().find_map(|(name, outcome)| match outcome {
            Outcome::Refused(error) | Outcome::NoAnswer(error) => Some(format!("{name}: {error}")),
            Outcome::Done | Outcome::NotThere => None,
        });
        return Err(with_code(TEMPORARY, anyhow!("{} of {count} nodes are not cleared; {}", count - done, why.unwrap_or_default())));
    }
    tracing::info!(nodes = count, "labels, annotations and leases removed");
    Ok(())
}

/// Which leases were seen to move, and when last.
#[derive(Debug, Default)]
struct Movement {
    seen: HashMap<String, (String, Duration)>,
}

impl Movement {
    fn look(&mut self, leases: &[Lease], now: Duration) {
        for lease in leases {
            let name = lease.name_any();
            let Some(node) = node_of_lease(&name) else { continue };
            let version = lease.metadata.resource_version.clone().unwrap_or_default();
            match self.seen.get_mut(node) {
                Some((last, _)) if *last == version => {}
                Some(entry) => *entry = (version, now),
                None => {
                    self.seen.insert(node.to_owned(), (version, now));
                }
            }
        }
    }

    /// Those that may still move: they did, or came into view, within `quiet`.
    fn moving(&self, now: Duration, quiet: Duration) -> Vec<String> {
        let mut names: Vec<String> =
            self.seen.iter().filter(|(_, (_, at))| now.saturating_sub(*at) < quiet).map(|(name, _)| name.clone()).collect();
        names.sort_unstable();
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::lease_name;

    fn lease(node: &str, version: &str) -> Lease {
        let mut lease = Lease::default();
        (lease.metadata.name, lease.metadata.resource_version) = (Some(lease_name(node)), Some(version.to_owned()));
        lease
    }

    #[test]
    fn leases_count_as_still_only_after_they_were_seen_still_for_long_enough() {
        let second = Duration::from_secs;
        let mut movement = Movement::default();
        movement.look(&[lease("a", "1"), lease("b", "7")], second(0));
        assert_eq!(movement.moving(second(19), second(20)), ["a", "b"]);
        movement.look(&[lease("a", "2"), lease("b", "7")], second(15));
        assert_eq!(movement.moving(second(20), second(20)), ["a"]);
        movement.look(&[lease("a", "2"), lease("b", "7")], second(35));
        assert!(movement.moving(second(35), second(20)).is_empty());
    }
}
