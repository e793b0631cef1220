use std::io::Write;
use std::path::{Path, PathBuf};

use super::{Sink, SinkError};
use crate::status::Status;

/// A JSON file, replaced whole at each round: its `checked_at` is how a reader sees that the agent still runs.
#[derive(Clone, Debug)]
pub struct StatusFile {
    path: PathBuf,
}

impl StatusFile {
    /// At `path`; its folder must exist.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        StatusFile { path }
    }
}

impl Sink for StatusFile {
    fn name(&self) -> &'static str {
        "status_file"
    }

    fn wants(&self, told: Option<&Status>, new: &Status) -> bool {
        told != Some(new)
    }

    async fn tell(&mut self, status: &Status) -> Result<(), SinkError> {
        replace(&self.path, status).map_err(|source| SinkError::File { path: self.path.display().to_string(), source })
    }
}

/// Some 300 bytes, written here rather than on a blocking thread: that would cost a stack for nothing. No fsync: after a power
/// cut the first round writes it anew.
fn replace(path: &Path, status: &Status) -> std::io::Result<()> {
    let mut text = serde_json::to_vec(status)?;
    text.push(b'\n');
    let mut temporary = path.as_os_str().to_owned();
    // One agent a file: the name need not be unique, and a fixed one leaves no litter behind.
    temporary.push(".tmp");
    let temporary = PathBuf::from(temporary);
    let mut file = std::fs::File::create(&temporary)?;
    file.write_all(&text)?;
    std::fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::probe::Method;
    use crate::verdict::{Reason, Verdict};
    use std::time::Duration;

    fn status() -> Status {
        let now = "2026-11-21T03:00:00Z".parse().unwrap();
        let round = crate::probe::Round {
            reason: Reason::GatewayReplied,
            rtt: Some(Duration::from_micros(1234)),
            sent: 4,
            answered: 3,
            method: Method::Icmp,
        };
        Status::starting("192.168.1.1".to_owned(), Method::Icmp, now).checked(&round, now).changed(Verdict::Online, Reason::GatewayReplied)
    }

    #[tokio::test]
    async fn the_file_holds_the_contract() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.json");
        StatusFile::new(path.clone()).tell(&status()).await.unwrap();
        let value: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let expected = serde_json::json!({
            "status": "online", "since": "2026-11-21T03:00:00Z", "reason": "gateway_replied", "rtt_ms": 1.234, "loss": 0.25,
            "method": "icmp", "target": "192.168.1.1", "checked_at": "2026-11-21T03:00:00Z",
        });
        assert_eq!(value, expected);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file is left");
    }

    #[tokio::test]
    async fn a_folder_that_is_not_there_is_an_error_that_names_the_file() {
        let error = StatusFile::new("/nonexistent/agent.json".into()).tell(&status()).await.unwrap_err();
        assert!(error.to_string().contains("/nonexistent/agent.json"));
    }
}
