//! One webhook: a POST of JSON to `NOTIFY_URL` when a training promotes, rejects or fails.
//!
//! ```json
//! {"event": "promoted", "at": "2026-11-21T03:12:45Z", "host": "box-7", "model_dir": "/data/models", "exit_code": 0,
//!  "version": "20261121_031244", "message": "promoted: …", "mAP50": 0.91, "mAP50-95": 0.62}
//! ```
//!
//! It never fails a run and never delays one for long: two tries of five seconds.

use std::time::Duration;

use chrono::{SecondsFormat, Utc};
use edgeloop_service::exit;
use edgeloop_store::Metadata;
use serde_json::{Value, json};
use tracing::subscriber::{NoSubscriber, with_default};
use ureq::{
    Agent, Error,
    tls::{RootCerts, TlsConfig},
};

use crate::{machine, run::Outcome, settings::Settings, unattended::Secret};

const TRIES: u32 = 2;
const TIMEOUT: Duration = Duration::from_secs(5);

/// Tells how a run ended, if somebody wants to know and it is something to know.
pub fn tell(settings: &Settings, result: &anyhow::Result<Outcome>) {
    let Some(url) = &settings.unattended.notify_url else { return };
    let Some(mut body) = body(result) else { return };
    if let Value::Object(body) = &mut body {
        body.insert("at".to_owned(), Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true).into());
        body.insert("host".to_owned(), machine::host().into());
        body.insert("model_dir".to_owned(), settings.model_dir.display().to_string().into());
    }
    post(url, &body);
}

fn body(result: &anyhow::Result<Outcome>) -> Option<Value> {
    let made = |event: &str, m: &Metadata| {
        json!({"event": event, "exit_code": 0, "version": m.version, "message": format!("{event}: {}", m.gate.reason),
            "mAP50": m.metrics.map50, "mAP50-95": m.metrics.map50_95})
    };
    match result {
        Ok(Outcome::Promoted(metadata)) => Some(made("promoted", metadata)),
        Ok(Outcome::Rejected(metadata)) => Some(made("rejected", metadata)),
        Ok(_) => None,
        // Another trainer is at work: that one tells.
        Err(error) if exit::code_of(error) == exit::TEMPORARY => None,
        Err(error) => Some(json!({"event": "failed", "exit_code": exit::code_of(error), "version": null, "message": format!("{error:#}")})),
    }
}

fn post(url: &Secret, body: &Value) {
    let agent: Agent = Agent::config_builder()
        .timeout_global(Some(TIMEOUT))
        // A redirected POST arrives as a GET, or somewhere else.
        .max_redirects(0)
        // The box's own store: it may have a certificate authority of its own.
        .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build())
        .build()
        .into();
    for attempt in 1..=TRIES {
        // At its most talkative the client logs the URL.
        let sent = with_default(NoSubscriber::default(), || agent.post(url.reveal()).send_json(body));
        let why = match sent {
            Ok(answer) if answer.status().is_success() => return tracing::info!(to = %url, "told how the training ended"),
            Ok(answer) => format!("it answers {}", answer.status()),
            Err(error) => words(&error),
        };
        tracing::warn!(to = %url, attempt, of = TRIES, "the NOTIFY_URL cannot be told how the training ended: {why}");
    }
}

/// What went wrong, without what was asked for.
fn words(error: &Error) -> String {
    match error {
        Error::StatusCode(code) => format!("it answers {code}"),
        Error::Timeout(_) => format!("no answer within {} s", TIMEOUT.as_secs()),
        Error::HostNotFound => "its host is not known".to_owned(),
        Error::ConnectionFailed => "no connection".to_owned(),
        Error::Io(error) => format!("no connection ({})", error.kind()),
        Error::Tls(_) | Error::Rustls(_) => "its certificate cannot be verified, or TLS fails".to_owned(),
        _ => "the request failed".to_owned(),
    }
}
