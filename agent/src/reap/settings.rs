use std::num::NonZeroU32;
use std::time::Duration;

use clap::Args;
use edgeloop_service::admin::AdminArgs;
use edgeloop_service::logs::LogArgs;

use super::Patience;
use crate::settings::{Names, seconds, seconds_or_none};

/// The reaper's settings.
#[derive(Args, Clone, Debug)]
pub struct ReapSettings {
    /// Names in the cluster.
    #[command(flatten)]
    pub names: Names,
    /// Seconds that a node with the label but without a lease is believed.
    #[arg(long, env = "LEASE_SECONDS", default_value_t = 45.0, value_parser = seconds)]
    pub lease_seconds: f64,
    /// Seconds of silence after which an agent is gone for good: label, annotations and lease are removed. 0: never.
    #[arg(long, env = "FORGET_SECONDS", default_value_t = 86_400.0, value_parser = seconds_or_none)]
    pub forget_seconds: f64,
    /// When more than this share of the online nodes (0 to 1; and five at least) seems to be gone at once, a second look comes first.
    #[arg(long, env = "MASS_SHARE", default_value_t = 0.3, value_parser = share)]
    pub mass_share: f64,
    /// Most writes a second.
    #[arg(long, env = "WRITES_PER_SECOND", default_value = "50")]
    pub writes_per_second: NonZeroU32,
    /// Admin port.
    #[command(flatten)]
    pub admin: AdminArgs,
    /// Logs.
    #[command(flatten)]
    pub log: LogArgs,
}

impl ReapSettings {
    /// What the judge goes by.
    #[must_use]
    pub fn patience(&self) -> Patience {
        Patience {
            lease: Duration::from_secs_f64(self.lease_seconds),
            forget: Duration::from_secs_f64(self.forget_seconds),
            mass_share: self.mass_share,
        }
    }
}

fn share(text: &str) -> Result<f64, String> {
    text.trim().parse().ok().filter(|share| (0.0..=1.0).contains(share)).ok_or_else(|| "give a share, from 0 to 1".to_owned())
}
