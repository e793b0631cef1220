//! Doorway of edgeloop-trainer.

use std::process::ExitCode;

use clap::Parser;
use edgeloop_service::{exit, logs, shutdown};
use edgeloop_trainer::{commands::Cli, machine};

fn main() -> ExitCode {
    let cli = Cli::parse();
    logs::init(cli.logs());
    machine::settle();
    let stop = shutdown::flag();
    exit::run(|| cli.run(&stop))
}
