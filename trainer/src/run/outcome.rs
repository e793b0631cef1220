//! How a run ends that does not fail.

use std::process::ExitCode;

use edgeloop_service::exit::TERMINATED;
use edgeloop_store::{Metadata, OutcomeKind, Phase};

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
    /// Somebody asked to stop; a checkpoint is there.
    Stopped,
}

impl Outcome {
    /// What the process ends with.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Promoted(_) | Self::Rejected(_) | Self::WaitingForLabels => ExitCode::SUCCESS,
            Self::Stopped => ExitCode::from(TERMINATED),
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
        Ok(Outcome::Stopped) => (Phase::Stopped, OutcomeKind::Stopped, None, "stopped; the next run goes on from here".to_owned()),
        Err(error) => (Phase::Failed, OutcomeKind::Failed, None, format!("{error:#}")),
    };
    reporter.ended(phase, kind, version, &message);
}
