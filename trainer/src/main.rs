//! Doorway of edgeloop-trainer.

use std::process::ExitCode;

use edgeloop_service::{exit, logs, shutdown};
use edgeloop_trainer::{commands::Cli, machine, settings::hyp};

fn main() -> ExitCode {
    let (cli, warning): (Cli, _) = hyp::parse();
    logs::init(cli.logs());
    if cli.computes() {
        machine::settle();
    }
    if let Some(warning) = warning {
        tracing::warn!("{warning}");
    }
    let stop = shutdown::flag();
    exit::run(|| cli.run(&stop))
}
