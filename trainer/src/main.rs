//! Doorway of edgeloop-trainer.

use std::process::ExitCode;

use clap::Parser;
use edgeloop_service::{exit, logs, shutdown};
use edgeloop_trainer::{machine, run, settings::Settings};

fn main() -> ExitCode {
    let settings = Settings::parse();
    logs::init(&settings.logs);
    machine::settle();
    let stop = shutdown::flag();
    exit::run(|| Ok(run::run(&settings, &stop)?.exit_code()))
}
