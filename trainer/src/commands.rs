//! What can be typed: no command trains, as a scheduled job does; the others are for people.

pub mod eval;
pub mod import;
pub mod inspect;

use std::{io::Write, process::ExitCode, sync::atomic::AtomicBool};

use clap::{Parser, Subcommand};
use edgeloop_service::logs::LogArgs;

use crate::{run, settings::Settings};

/// What `--help` ends with.
const EXIT_CODES: &str = "\
Exit codes: 0 promoted, rejected, waiting for labels, nothing new, quiet hours (training_status.json says which: last_outcome.result);
1 failed, or diverged twice; 2 bad images or settings, or no room on the disk: somebody has to change something; 75 another trainer has
the lock; 143 stopped after a checkpoint: the next run goes on from there.";

/// Trains a better detector from a folder of images and publishes it for the inferer.
#[derive(Debug, Parser)]
#[command(name = "edgeloop-trainer", version, about, args_conflicts_with_subcommands = true, after_long_help = EXIT_CODES)]
pub struct Cli {
    /// What to do instead of training.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Of a training.
    #[command(flatten)]
    pub settings: Settings,
}

/// Anything but training.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Looks through the images and labels: counts, sizes, broken rows, duplicates, imbalance.
    Inspect(Box<inspect::Inspect>),
    /// Says how good a model is on the val images: a table, what is taken for what, precision against recall.
    Eval(Box<eval::Eval>),
    /// Looks at weights of one's own, says what they are, and writes them as ours.
    Import(Box<import::Import>),
}

/// Prints what was asked for. Whoever reads it may have seen enough (`| head`): that is no failure.
pub(crate) fn print(text: &str) -> std::io::Result<()> {
    match writeln!(std::io::stdout().lock(), "{text}") {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

impl Cli {
    /// How to log.
    pub fn logs(&self) -> &LogArgs {
        match &self.command {
            None => &self.settings.logs,
            Some(Command::Inspect(inspect)) => &inspect.settings.logs,
            Some(Command::Eval(eval)) => &eval.settings.logs,
            Some(Command::Import(import)) => &import.logs,
        }
    }

    /// Whether libtorch's threads have anything to do.
    pub fn computes(&self) -> bool {
        matches!(self.command, None | Some(Command::Eval(_)))
    }

    /// Does it.
    ///
    /// # Errors
    /// With the exit code that the process must end with.
    pub fn run(&self, stop: &AtomicBool) -> anyhow::Result<ExitCode> {
        match &self.command {
            None => Ok(run::run(&self.settings, stop)?.exit_code()),
            Some(Command::Inspect(inspect)) => inspect.run(),
            Some(Command::Eval(eval)) => eval.run(),
            Some(Command::Import(import)) => import.run(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn without_a_command_it_trains() {
        let parse = |line: &[&str]| Cli::try_parse_from(["edgeloop-trainer"].iter().chain(line));
        assert!(parse(&[]).unwrap().command.is_none());
        assert_eq!(parse(&["--epochs", "3"]).unwrap().settings.epochs, Some(3));
        let cli = parse(&["import", "mine.pt", "--classes", "bolt,nut"]).unwrap();
        assert!(matches!(cli.command, Some(Command::Import(import)) if import.file.ends_with("mine.pt")));
        assert!(parse(&["--epochs", "3", "import", "mine.pt"]).is_err(), "settings of a training mean nothing there");
    }
}
