//! Requests to a part on loopback.

use std::time::Duration;

/// A client whose calls never fail on a status, only on the connection.
#[derive(Debug, Clone)]
pub struct Http {
    agent: ureq::Agent,
    base: String,
}

impl Http {
    /// A client of `127.0.0.1:port`.
    pub fn new(port: u16) -> Self {
        let config = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(20))).http_status_as_error(false).build();
        Self { agent: config.into(), base: format!("http://127.0.0.1:{port}") }
    }

    /// Status and body of a GET; `None` without a connection.
    pub fn get(&self, path: &str) -> Option<(u16, String)> {
        let mut response = self.agent.get(format!("{}{path}", self.base)).call().ok()?;
        Some((response.status().as_u16(), response.body_mut().read_to_string().ok()?))
    }

    /// Status and JSON of a POST with raw bytes; `Err` without a connection or JSON.
    ///
    /// # Errors
    /// What the connection or the body's parser said.
    pub fn post(&self, path: &str, content_type: &str, body: &[u8]) -> anyhow::Result<(u16, serde_json::Value)> {
        let mut response = self.agent.post(format!("{}{path}", self.base)).header("content-type", content_type).send(body)?;
        let status = response.status().as_u16();
        Ok((status, serde_json::from_str(&response.body_mut().read_to_string()?)?))
    }

    /// The model that answers `POST /infer` with a JPEG, if one does.
    pub fn answering_model(&self, jpeg: &[u8]) -> Option<String> {
        let (status, body) = self.post("/infer", "image/jpeg", jpeg).ok()?;
        (status == 200).then(|| body["model"].as_str().map(str::to_owned))?
    }
}
