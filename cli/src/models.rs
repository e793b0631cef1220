//! `edgeloop models`: the store by hand. What is there, what serves, which one should, is every byte still right.
//!
//! Tables for people on stdout, the same as JSON with `--json`. Never looks into a model and never waits for a training.

mod table;
mod view;

use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use edgeloop_service::exit::{self, BAD_INPUT, TEMPORARY, WithExitCode};
use edgeloop_store::{Store, StoreError, Version};

/// `edgeloop models …`
#[derive(Debug, Args)]
pub struct ModelsArgs {
    /// The model folder. Without it: `models` in the state folder, or /data/models where only that exists (containers)
    #[arg(long, env = "MODEL_DIR", global = true)]
    pub model_dir: Option<PathBuf>,

    /// The state folder of `edgeloop up`
    #[arg(long, env = "STATE_DIR", default_value = "./data", global = true)]
    pub state_dir: PathBuf,

    /// Print JSON instead of tables
    #[arg(long, global = true)]
    pub json: bool,

    /// What to do
    #[command(subcommand)]
    pub action: Action,
}

/// What to do with the models.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// All versions, newest last; `*` marks the one that is promoted
    List,
    /// One version: files, data, training, metrics by class, the gate's verdict
    Show {
        /// A version, or `latest` for the promoted one
        #[arg(default_value = LATEST)]
        version: String,
    },
    /// Make a version the one that serves
    Promote {
        /// A version
        version: String,
        /// Serve it although the gate rejected it
        #[arg(long)]
        force: bool,
        /// Who and why, for the record
        #[command(flatten)]
        record: Record,
    },
    /// Go back to the version that served before
    Rollback {
        /// Who and why, for the record
        #[command(flatten)]
        record: Record,
    },
    /// Read files whole and compare them with their metadata; exit 1 when one differs
    Verify {
        /// Versions, or `latest`; without any, all of them
        versions: Vec<String>,
    },
}

/// What goes into the pointer and the history.
#[derive(Debug, Args)]
pub struct Record {
    /// Why
    #[arg(long, default_value = "by hand")]
    pub reason: String,
    /// Who
    #[arg(long, env = "USER", default_value = "edgeloop models")]
    pub by: String,
}

const LATEST: &str = "latest";
const IN_CONTAINERS: &str = "/data/models";

/// Runs the command.
///
/// # Errors
/// Exit code 2 for a folder or version that is not there or may not be promoted, 75 while another writer has the lock, 1 for
/// everything else.
pub fn run(args: ModelsArgs) -> anyhow::Result<ExitCode> {
    let ModelsArgs { model_dir, state_dir, json, action } = args;
    let store = Store::open(folder(model_dir, &state_dir, Path::new(IN_CONTAINERS))).map_err(coded)?;
    let (text, code) = act(&store, action, json)?;
    match io::stdout().lock().write_all(text.as_bytes()) {
        // `… | head` has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
        other => other.context("cannot write to stdout")?,
    }
    Ok(code)
}

fn folder(given: Option<PathBuf>, state_dir: &Path, in_containers: &Path) -> PathBuf {
    let of_up = state_dir.join("models");
    given.unwrap_or_else(|| if !of_up.exists() && in_containers.exists() { in_containers.to_owned() } else { of_up })
}

fn act(store: &Store, action: Action, json: bool) -> anyhow::Result<(String, ExitCode)> {
    let text = match action {
        Action::List => {
            let listing = view::Listing::of(store)?;
            if json { view::json(&listing) } else { table::listing(&listing, store.root()) }
        }
        Action::Show { version } => {
            let metadata = store.metadata(&named(store, &version)?).map_err(coded)?;
            if json { view::json(&metadata) } else { table::version(&metadata) }
        }
        Action::Promote { version, force, record: Record { reason, by } } => {
            let version = named(store, &version)?;
            let pointer = store.promote(&version, &by, &reason, force).map_err(coded)?;
            moved(&pointer, json)
        }
        Action::Rollback { record: Record { reason, by } } => moved(&store.rollback(&by, &reason).map_err(coded)?, json),
        Action::Verify { versions } => return verify(store, &versions, json),
    };
    Ok((text, ExitCode::SUCCESS))
}

fn moved(pointer: &edgeloop_store::Pointer, json: bool) -> String {
    let moved = view::Moved::from(pointer);
    if json { view::json(&moved) } else { format!("{} serves now ({})\n", moved.version, moved.reason) }
}

fn verify(store: &Store, versions: &[String], json: bool) -> anyhow::Result<(String, ExitCode)> {
    let mut checks = Vec::new();
    if versions.is_empty() {
        let survey = store.survey().map_err(coded)?;
        for metadata in survey.versions.iter().chain(&survey.candidates) {
            checks.push(view::Check::of(metadata.version.to_string(), store.verify(&metadata.version)));
        }
        checks.extend(survey.broken.into_iter().map(|(path, error)| view::Check::of(path.display().to_string(), Err(error))));
        // The pointer is a file of its own: it may be broken while every version is whole.
        checks.extend(store.pointer().err().map(|error| view::Check::of("pointer".to_owned(), Err(error))));
    }
    for text in versions {
        let version = named(store, text)?;
        checks.push(view::Check::of(version.to_string(), store.verify(&version)));
    }
    let code = if checks.iter().all(view::Check::is_ok) { ExitCode::SUCCESS } else { ExitCode::from(exit::FAILURE) };
    Ok((if json { view::json(&checks) } else { table::checks(&checks) }, code))
}

fn named(store: &Store, text: &str) -> anyhow::Result<Version> {
    if text != LATEST {
        return text.parse().map_err(coded);
    }
    let pointer = store.pointer().map_err(coded)?;
    let pointer = pointer.with_context(|| format!("no version has been promoted in {} yet", store.root().display()));
    Ok(pointer.exit_code(BAD_INPUT)?.metadata.version)
}

fn coded(error: StoreError) -> anyhow::Error {
    match error {
        StoreError::LockHeld { .. } => exit::with_code(TEMPORARY, error),
        StoreError::NoFolder { .. }
        | StoreError::BadVersion { .. }
        | StoreError::UnknownVersion { .. }
        | StoreError::GateRejected { .. }
        | StoreError::NoPredecessor { .. } => exit::bad_input(error),
        other => other.into(),
    }
}

#[cfg(test)]
mod tests;
