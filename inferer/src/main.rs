//! Doorway of edgeloop-inferer.

use std::process::ExitCode;

use clap::Parser;
use edgeloop_inferer::{Settings, memory, run, trial};
use edgeloop_service::{exit, limits, logs};

fn main() -> ExitCode {
    memory::give_back_early(limits::available_cpus());
    if let Some(code) = trial::child::requested(std::env::args_os().skip(1)) {
        return code;
    }
    let settings = Settings::parse();
    logs::init(&settings.logs);
    exit::run(|| run::block_on(settings))
}
