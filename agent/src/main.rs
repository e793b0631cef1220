//! Doorway of edgeloop-agent.

use std::process::ExitCode;

use clap::Parser;
use edgeloop_agent::settings::{Cli, Command};
use edgeloop_agent::{reap, run, uninstall};
use edgeloop_service::{exit, logs, shutdown::Shutdown};

fn main() -> ExitCode {
    exit::run(|| {
        let cli = Cli::parse();
        logs::init(match &cli.command {
            None => &cli.agent.log,
            Some(Command::Reap(settings)) => &settings.log,
            Some(Command::Uninstall(settings)) => &settings.log,
        });
        // One thread: the agent waits nearly all of its life, on every node there is.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let shutdown = Shutdown::on_signals()?;
            match cli.command {
                None => run::run(cli.agent, shutdown).await,
                Some(Command::Reap(settings)) => reap::run(settings, shutdown).await,
                Some(Command::Uninstall(settings)) => uninstall::run(settings, shutdown).await,
            }
        })?;
        Ok(ExitCode::SUCCESS)
    })
}
