//! What is told about reloads: log, metrics, `/readyz`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, SecondsFormat, Utc};
use edgeloop_store::{StoreError, Version};
use serde_json::{Value, json};

use super::Reloader;
use super::decide::{InService, Target};
use super::memory::Memory;
use crate::api::describe;
use crate::load::LoadSteps;
use crate::record::Record;
use crate::slot::Serving;

impl Reloader {
    /// Puts a model into service and says so. Its first minute begins.
    pub(super) fn enter(&self, mut serving: Serving, started: Instant, memory: &mut Memory, target: &Target) {
        serving.record = Record::new(self.rule);
        let detail = describe(&serving);
        let version = serving.version().clone();
        let fallback = serving.engines.fallback();
        self.metrics.serving(&serving);
        let before = self.slot.swap(serving);
        memory.watched = self.slot.get().as_ref().map(Arc::downgrade).unwrap_or_default();
        self.metrics.reload("ok");
        self.health.set_detail("model", detail);
        self.health.set_detail("last_reload", json!({"version": version, "ok": true, "at": now_text()}));
        self.health.set_ready("model", Ok(()));
        let took_ms = started.elapsed().as_millis() as u64;
        let before = before.map(|s| s.version().to_string());
        tracing::info!(%version, before, took_ms, "model in service");
        if let Some(reason) = fallback {
            tracing::warn!(%version, reason, "another engine than the one asked for serves");
        }
        match memory.left.take() {
            Some((from, reason)) if from != version => {
                self.metrics.reload("went_back");
                self.health.set_detail("went_back", json!({"from": from, "to": version, "reason": reason, "at": now_text()}));
                tracing::warn!(%from, to = %version, reason, "went back to another version; the pointer still names what was promoted");
            }
            // What was promoted serves: whatever was gone back from is history.
            _ if version == target.version => self.health.set_detail("went_back", Value::Null),
            _ => {}
        }
    }

    /// Says once that a new model has come through its first minute; until then, when to look again.
    pub(super) fn first_minute(&self, memory: &mut Memory) -> Option<Instant> {
        let serving = memory.watched.upgrade()?;
        let until = serving.record.watched_until();
        if Instant::now() < until {
            return Some(until);
        }
        memory.watched = std::sync::Weak::new();
        let (runs, failed) = serving.record.runs();
        tracing::info!(version = %serving.version(), runs, failed, "the new model has come through the time that it was watched");
        None
    }

    pub(super) fn told_steps(&self, steps: &LoadSteps, total: Duration) {
        let LoadSteps { read, trial, engine, check, shape } = *steps;
        let named = [("read", read), ("trial", trial), ("engine", engine), ("check", check), ("shape", shape)];
        for (step, time) in named.into_iter().chain([("total", total)]) {
            self.metrics.reload_step(step, time);
        }
    }

    pub(super) fn told_failed(&self, version: &Version, reason: &str) {
        self.health.set_detail("last_reload", json!({"version": version, "ok": false, "reason": reason, "at": now_text()}));
    }

    pub(super) fn report(&self, memory: &Memory, target: &Target) {
        let mut quarantined: Vec<_> = memory.quarantine.failures().collect();
        quarantined.sort_by(|a, b| a.0.cmp(b.0));
        self.metrics.quarantined(quarantined.len());
        let list: Vec<Value> = quarantined.iter().map(|(v, f)| json!({"version": v, "reason": f.reason, "times": f.times})).collect();
        self.health.set_detail("quarantined", Value::Array(list));
        match self.in_service() {
            None => {
                let reason = quarantined.iter().find(|(v, _)| **v == target.version).map_or("not loaded yet", |(_, f)| f.reason.as_str());
                self.health.set_ready("model", Err(format!("version {} cannot serve: {reason}", target.version)));
            }
            Some(InService { version, trouble: Some(trouble), .. }) => {
                self.health.set_ready("model", Err(format!("version {version} has gone bad: {trouble}")));
            }
            Some(_) => self.health.set_ready("model", Ok(())),
        }
    }

    /// Says once what is wrong with the store itself, and once that it is over.
    pub(super) fn complain(&self, memory: &mut Memory, error: Option<&StoreError>) {
        let text = error.map(ToString::to_string);
        if text == memory.complaint {
            return;
        }
        match &text {
            // A folder that is not there yet is a normal start, and readiness says it.
            Some(reason) if matches!(error, Some(StoreError::NoFolder { .. })) => tracing::info!(reason, "waiting for the model folder"),
            Some(reason) => {
                self.metrics.reload("pointer");
                self.health.set_detail("last_reload", json!({"version": null, "ok": false, "reason": reason, "at": now_text()}));
                tracing::error!(reason, "the store's pointer cannot be read; serving goes on as it is");
            }
            None => tracing::info!("the store can be read again"),
        }
        if self.slot.get().is_none() {
            let reason = text.clone().unwrap_or_else(|| format!("nothing is promoted in {} yet", self.model_dir.display()));
            self.health.set_ready("model", Err(reason));
        }
        memory.complaint = text;
    }
}

fn now_text() -> String {
    DateTime::<Utc>::from(std::time::SystemTime::now()).to_rfc3339_opts(SecondsFormat::Millis, true)
}
