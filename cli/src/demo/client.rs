//! A client of `POST /infer`, as any user's would be: HTTP and JSON, nothing shared with the server.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use edgeloop_store::Version;
use serde::Deserialize;

/// What `POST /infer` answers, as far as the demo reads it.
#[derive(Debug, Clone, Deserialize)]
pub struct Answer {
    /// Sorted by confidence.
    pub detections: Vec<Detected>,
    /// Version that answered.
    pub model: String,
    /// Which engine answered.
    pub engine: Engine,
    /// Milliseconds by stage.
    pub timing_ms: Timing,
}

/// One detection, in pixels of the upright image.
#[derive(Debug, Clone, Deserialize)]
pub struct Detected {
    /// Class number.
    pub class: u32,
    /// 0–1.
    pub confidence: f32,
    /// Class name.
    pub label: String,
    /// x1, y1, x2, y2.
    #[serde(rename = "box")]
    pub bbox: [f32; 4],
}

/// The engine of an answer.
#[derive(Debug, Clone, Deserialize)]
pub struct Engine {
    /// `cpu`, `openvino`.
    pub device: String,
    /// `fp32`, …
    pub precision: String,
}

/// Times of an answer.
#[derive(Debug, Clone, Deserialize)]
pub struct Timing {
    /// JPEG to pixels and tensor.
    pub decode: f64,
    /// The network.
    pub infer: f64,
    /// From the body's arrival to the answer.
    pub total: f64,
}

/// Sends images to one server.
#[derive(Debug, Clone)]
pub struct InferClient {
    agent: ureq::Agent,
    url: String,
}

impl InferClient {
    /// A client of the server at `base`, as `http://host:port`.
    pub fn new(base: &str) -> Self {
        let config = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(10))).http_status_as_error(false).build();
        Self { agent: config.into(), url: format!("{base}/infer") }
    }

    /// One request with the image's own bytes.
    ///
    /// # Errors
    /// No connection, a status other than 200 (with the server's words), a body that is not the contract's.
    pub fn infer(&self, jpeg: &[u8]) -> Result<Answer> {
        let mut response = self.agent.post(&self.url).header("content-type", "image/jpeg").send(jpeg)?;
        let status = response.status();
        let body = response.body_mut().read_to_string()?;
        if status != 200 {
            bail!("{status}: {body}");
        }
        serde_json::from_str(&body).with_context(|| format!("an answer that is not the contract's: {body}"))
    }

    /// Asks until `version` answers; returns the answer and when it came.
    ///
    /// # Errors
    /// Another answer, or none, until `patience` is over: the last one is named.
    pub fn wait_for_model(&self, version: &Version, jpeg: &[u8], patience: Duration) -> Result<(Answer, Instant)> {
        let deadline = Instant::now() + patience;
        let mut last = String::from("no answer");
        while Instant::now() < deadline {
            match self.infer(jpeg) {
                Ok(answer) if answer.model == version.to_string() => return Ok((answer, Instant::now())),
                Ok(answer) => last = format!("{} answered", answer.model),
                Err(error) => last = format!("{error:#}"),
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        bail!("{version} is published, but does not answer: {last}");
    }
}
