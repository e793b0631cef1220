//! How models change.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use edgeloop_service::shutdown::Shutdown;

use crate::record::Rule;
use crate::settings::{seconds, seconds_or_none, share};
use crate::trial::Trials;

/// How a new model is tried and watched.
#[derive(Debug, Clone, clap::Args)]
pub struct ReloadArgs {
    /// Try a new model in a process of its own before this one loads it. Without it a file that crashes the engine's library
    /// takes serving along.
    #[arg(long, env = "CANDIDATE_PROCESS", value_parser = BoolishValueParser::new(), default_value = "true", num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub candidate_process: bool,
    /// Seconds that each step of such a trial (load, run) may take; an x-size model on a busy box takes half a minute.
    #[arg(long, env = "CANDIDATE_TIMEOUT", default_value = "120", value_parser = seconds)]
    pub candidate_timeout: Duration,
    /// Megabytes of memory that it may take; 0 reckons them from the model's size.
    #[arg(long, env = "CANDIDATE_MEMORY_MB", default_value = "0")]
    pub candidate_memory_mb: u32,
    /// Seconds that a new model is watched in service; 0 watches none.
    #[arg(long, env = "WATCH_NEW_MODEL", default_value = "60", value_parser = seconds_or_none)]
    pub watch_new_model: Duration,
    /// Share of failed runs above which a watched model is left for its predecessor.
    #[arg(long, env = "WATCH_NEW_MODEL_SHARE", default_value = "0.05", value_parser = share)]
    pub watch_new_model_share: f32,
    /// Use change notices of the model folder; without them it is looked at every CHECK_MODEL_INTERVAL only, as on file systems
    /// that send none.
    #[arg(long, env = "MODEL_NOTICES", value_parser = BoolishValueParser::new(), default_value = "true", num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub model_notices: bool,
}

impl ReloadArgs {
    /// How candidates are tried with `program`, if at all.
    #[must_use]
    pub fn trials(&self, program: PathBuf, shutdown: Shutdown) -> Option<Trials> {
        let memory = (self.candidate_memory_mb > 0).then(|| u64::from(self.candidate_memory_mb) << 20);
        self.candidate_process.then_some(Trials { program, timeout: self.candidate_timeout, memory, shutdown })
    }

    /// When a new model's first runs make it bad.
    #[must_use]
    pub fn rule(&self) -> Rule {
        Rule { watched: self.watch_new_model, share: self.watch_new_model_share }
    }
}
