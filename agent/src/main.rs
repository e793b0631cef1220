//! Doorway of edgeloop-agent.

use std::process::ExitCode;

use clap::Parser;
use edgeloop_agent::settings::Settings;
use edgeloop_service::{exit, logs, shutdown::Shutdown};

fn main() -> ExitCode {
    exit::run(|| {
        let settings = Settings::parse();
        logs::init(&settings.log);
        // One thread: the agent waits nearly all of its life, on every node there is.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async { edgeloop_agent::run::run(settings, Shutdown::on_signals()?).await })?;
        Ok(ExitCode::SUCCESS)
    })
}
