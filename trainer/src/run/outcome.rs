//! How a run ends that does not fail.

use std::process::ExitCode;

use edgeloop_service::exit::TERMINATED;
use edgeloop_store::{Metadata, OutcomeKind, Phase};

use super::stopping::Stopped;
use crate::report::Reporter;

/// How a run ended that did not fail.
#[derive(Debug)]
pub enum Outcome {
    /// A new version serves.
    Promoted(Box<Metadata>),
    /// The new version was not good enough.
    Rejected(Box<Metadata>),
    /// There are images, and nobody has labelled them yet.
    WaitingForLabels,
    /// It had to stop; a checkpoint is there.
    Stopped(Stopped),
    /// There is nothing that the last attempt did not have; in words.
    NothingNew(String),
    /// It did not begin, because it is an hour in which nothing is trained; in words.
    QuietHours(String),
}

impl Outcome {
    /// What the process ends with.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Promoted(_) | Self::Rejected(_) | Self::WaitingForLabels | Self::NothingNew(_) | Self::QuietHours(_) => ExitCode::SUCCESS,
            Self::Stopped(_) => ExitCode::from(TERMINATED),
        }
    }
}

/// Tells everybody how the run ended.
pub(super) fn report(result: &anyhow::Result<Outcome>, reporter: &mut Reporter<'_>) {
    let (phase, kind, version, message) = match result {
        Ok(Outcome::Promoted(m)) => (Phase::Done, OutcomeKind::Promoted, Some(m.version.clone()), format!("promoted: {}", m.gate.reason)),
        Ok(Outcome::Rejected(m)) => (Phase::Done, OutcomeKind::Rejected, Some(m.version.clone()), format!("rejected: {}", m.gate.reason)),
        Ok(Outcome::WaitingForLabels) => {
            let message = "waiting_for_labels: there are images, but no labels yet";
            (Phase::WaitingForLabels, OutcomeKind::WaitingForLabels, None, message.to_owned())
        }
        Ok(Outcome::Stopped(why)) => (Phase::Stopped, OutcomeKind::Stopped, None, format!("{why}; the next run goes on from here")),
        Ok(Outcome::NothingNew(why)) => (Phase::NothingNew, OutcomeKind::NothingNew, None, format!("nothing_new: {why}")),
        Ok(Outcome::QuietHours(why)) => (Phase::QuietHours, OutcomeKind::QuietHours, None, format!("quiet_hours: {why}")),
        Err(error) => (Phase::Failed, OutcomeKind::Failed, None, format!("{error:#}")),
    };
    reporter.ended(phase, kind, version, &message);
}
