//! Logs: to stderr, text for people and JSON for machines. Standard output belongs to results.

use std::io::IsTerminal;

use clap::{Args, ValueEnum};
use tracing_subscriber::{EnvFilter, util::SubscriberInitExt};

/// How a process logs; flatten into the process' own arguments.
#[derive(Args, Clone, Debug)]
pub struct LogArgs {
    /// What is logged: a level, or levels by target (`info,edgeloop_store=debug`).
    #[arg(long, env = "LOG_LEVEL", default_value = "info", value_parser = filter, global = true, help_heading = "Logging")]
    pub log_level: String,
    /// How it is written: `auto` is text on a terminal and JSON lines elsewhere.
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t = LogFormat::Auto, global = true, help_heading = "Logging")]
    pub log_format: LogFormat,
}

impl Default for LogArgs {
    fn default() -> Self {
        LogArgs { log_level: "info".to_owned(), log_format: LogFormat::Auto }
    }
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// One readable line an event; colours on a terminal only (and not with `NO_COLOR`).
    Text,
    /// One JSON object an event.
    Json,
}

/// Installs the process-wide subscriber. A second call changes nothing: tests share a process.
pub fn init(args: &LogArgs) {
    let filter = EnvFilter::try_new(&args.log_level).unwrap_or_else(|_| EnvFilter::new("info"));
    let terminal = std::io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // A log that nobody reads any more (the parent is gone, the disk is full) would be complained about on stderr, and
        // that panics: in the task that hears SIGTERM, for one.
        .log_internal_errors(false);
    let json = match args.log_format {
        LogFormat::Auto => !terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let _ = if json {
        builder.json().flatten_event(true).with_current_span(false).with_span_list(false).finish().try_init()
    } else {
        builder.with_ansi(terminal && std::env::var_os("NO_COLOR").is_none()).with_target(false).finish().try_init()
    };
}

fn filter(text: &str) -> Result<String, String> {
    EnvFilter::try_new(text)
        .map(|_| text.to_owned())
        .map_err(|error| format!("{error}; use a level such as `info`, or `info,some_target=debug`"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        logs: LogArgs,
    }

    #[test]
    fn a_bad_filter_is_refused_when_the_command_line_is_read() {
        assert!(Cli::try_parse_from(["x", "--log-level", "info,store=loud"]).is_err());
    }

    #[test]
    fn levels_by_target_are_understood() {
        assert_eq!(
            Cli::try_parse_from(["x", "--log-level", "warn,edgeloop_store=debug"]).unwrap().logs.log_level,
            "warn,edgeloop_store=debug"
        );
    }
}
