//! Doorway of edgeloop.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use edgeloop::{demo, doctor, models, status, up};
use edgeloop_service::{exit, logs};

/// Keeps a detector at the edge learning: trains on a folder of images, swaps the better model in, answers POST /infer.
#[derive(Parser)]
#[command(name = "edgeloop", version, about, max_term_width = 120)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    log: logs::LogArgs,
}

#[derive(Subcommand)]
enum Command {
    Up(Box<up::UpArgs>),
    Status(status::StatusArgs),
    /// Shows and moves the models in the store by hand.
    Models(models::ModelsArgs),
    /// Shows the whole loop once, on drawn images or your own, and measures it.
    Demo(demo::DemoArgs),
    Doctor(doctor::DoctorArgs),
}

fn main() -> ExitCode {
    exit::run(|| {
        let Cli { command, log } = Cli::parse();
        logs::init(&log);
        match command {
            Command::Up(args) => up::run(*args, &log),
            Command::Status(args) => status::run(args),
            Command::Models(args) => models::run(args),
            Command::Demo(args) => demo::run(args),
            Command::Doctor(args) => doctor::run(args),
        }
    })
}
