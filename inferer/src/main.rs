//! Doorway of edgeloop-inferer.

use std::process::ExitCode;

use clap::Parser;
use edgeloop_inferer::{Settings, run};
use edgeloop_service::{exit, logs};

fn main() -> ExitCode {
    let settings = Settings::parse();
    logs::init(&settings.logs);
    exit::run(|| run::block_on(settings))
}
