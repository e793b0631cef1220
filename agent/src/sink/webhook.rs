use http::Uri;
use serde_json::json;

use super::{Sink, SinkError};
use crate::probe::{Http, Trust};
use crate::status::Status;
use crate::verdict::Verdict;

/// A POST at each change of the verdict, the first one included: `{"node", "status", "previous", "since", "reason", "rtt_ms", "target"}`.
pub struct Webhook {
    http: Http,
    url: Uri,
    node: Option<String>,
    told: Verdict,
}

impl Webhook {
    /// To `url`; `node` is who we are.
    ///
    /// # Errors
    /// When the certificates cannot be read.
    pub fn new(url: Uri, node: Option<String>, trust: &Trust) -> Result<Self, kube::Error> {
        Ok(Webhook { http: Http::open(&url, trust)?, url, node, told: Verdict::Unknown })
    }
}

impl Sink for Webhook {
    fn name(&self) -> &'static str {
        "webhook"
    }

    fn wants(&self, _: Option<&Status>, new: &Status) -> bool {
        // Not what `drive` remembers: after a failure it forgets, and a change that went back meanwhile is no news to anybody.
        new.status != Verdict::Unknown && new.status != self.told
    }

    async fn tell(&mut self, status: &Status) -> Result<(), SinkError> {
        let body = json!({
            "node": self.node, "status": status.status, "previous": self.told, "since": status.since, "reason": status.reason,
            "rtt_ms": status.rtt_ms, "target": status.target,
        });
        let failed = |why: String| SinkError::Webhook { url: self.url.to_string(), why };
        let answer = self.http.send("POST", "application/json", body.to_string().into_bytes()).await;
        match answer.map_err(|error| failed(error.to_string()))? {
            code if code.is_success() => {
                self.told = status.status;
                Ok(())
            }
            code => Err(failed(format!("it answered {code}"))),
        }
    }
}
