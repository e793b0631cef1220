//! What a trial has against a candidate, or why it has nothing to say.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

/// Why a trial has no verdict.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// The child could not be started.
    #[error("it cannot be tried, because no process can be started: {0}; allow one more, or set CANDIDATE_PROCESS=false")]
    Start(#[source] io::Error),
    /// It ended without a verdict.
    #[error("the process that tried it {how}{}", last_words(.said))]
    Crashed {
        /// Exit code or signal.
        how: String,
        /// The end of what it printed.
        said: String,
    },
    /// It took too long and was killed.
    #[error("the process that tried it had no result after {} s and was killed; CANDIDATE_TIMEOUT allows more", .0.as_secs_f64())]
    Hung(Duration),
    /// We are stopping.
    #[error("the trial was broken off: the process is stopping")]
    Stopping,
}

fn last_words(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!("; its last words: {said}") }
}

/// What a child said against a candidate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bad {
    /// The engine refuses it.
    Engine(String),
    /// Its answers are not those that it was published with.
    Check(String),
}

/// How a child ended, in words.
pub(super) fn describe(status: Option<ExitStatus>) -> String {
    match status.map(|status| (status.code(), status.signal())) {
        None => "closed its end and did not stop".into(),
        Some((_, Some(9))) => "was killed (signal 9), most likely because memory ran out".into(),
        Some((_, Some(24))) => "used up its CPU time (signal 24)".into(),
        Some((_, Some(signal))) => format!("crashed (signal {signal})"),
        Some((code, None)) => format!("ended without a verdict (exit code {})", code.unwrap_or(-1)),
    }
}
