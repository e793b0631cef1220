use std::fmt::Write;

use chrono::{DateTime, Local, TimeDelta, Utc};
use edgeloop_store::{Phase, TrainingStatus};

use super::Report;
use crate::up::{ChildState, Gateway, UpState};

/// The report for people: a line a subject, the times as distances from `now`.
pub(super) fn text(report: &Report, now: DateTime<Utc>) -> String {
    let mut text = String::new();
    let mut line = |subject: &str, what: String| {
        let _ = writeln!(text, "{subject:<10}{what}");
    };
    line("loop", the_loop(report, now));
    line("gateway", gateway(report, now));
    line("training", training(report, now));
    line("model", model(report, now));
    line("next run", next_run(report, now));
    for problem in &report.problems {
        line("problem", problem.clone());
    }
    text
}

fn the_loop(report: &Report, now: DateTime<Utc>) -> String {
    match (&report.up, report.running) {
        (None, false) => "not running; `edgeloop up` starts it".to_owned(),
        (None, true) => "starting".to_owned(),
        (Some(up), false) => match up.stopped_at {
            Some(at) => format!("not running, stopped {}; `edgeloop up` starts it", ago(at, now)),
            None => format!("not running, ended without stopping in order (started {}); `edgeloop up` starts it", ago(up.started_at, now)),
        },
        (Some(up), true) => {
            let mut text = format!("running {} (process {}){}", span(now - up.started_at), up.pid, children(up));
            let _ = write!(text, ", POST http://{}/infer", up.serve_addr);
            text
        }
    }
}

fn children(up: &UpState) -> String {
    let part = |child: &crate::up::ChildView| match (child.state, child.restarts) {
        (ChildState::Running, 0) => format!(", {}", child.name),
        (ChildState::Running, times) => format!(", {} (started again {times}×)", child.name),
        (ChildState::Restarting, _) => format!(", {} DOWN, being started again", child.name),
    };
    up.children.iter().map(part).collect()
}

fn gateway(report: &Report, now: DateTime<Utc>) -> String {
    let Some(Gateway { status, since, reason, rtt_ms, method, target, checked_at }) = &report.gateway else {
        return "not known yet".to_owned();
    };
    let verdict = match rtt_ms {
        Some(rtt) => format!("{status} for {}: {target} by {method}, {rtt:.1} ms", span(now - *since)),
        None => format!("{status} for {}: {target} by {method}, {}", span(now - *since), reason.replace('_', " ")),
    };
    if report.running { verdict } else { format!("was {status} when last asked, {}", ago(*checked_at, now)) }
}

fn training(report: &Report, now: DateTime<Utc>) -> String {
    let Some(status) = &report.training else { return "none yet".to_owned() };
    match in_progress(status, report.running) {
        Some(progress) => match outcome(status, now) {
            Some(last) => format!("{progress}; the last one: {last}"),
            None => progress,
        },
        None => outcome(status, now).unwrap_or_else(|| match status.phase {
            Phase::Idle => "none yet".to_owned(),
            phase => format!("broke off in phase {}, {}", name(phase), ago(status.updated_at, now)),
        }),
    }
}

/// Only a trainer that still lives is in progress; the file of one that was killed says what it did last.
fn in_progress(status: &TrainingStatus, running: bool) -> Option<String> {
    let what = match status.phase {
        Phase::Training => match (status.epoch, status.eta_s) {
            (0, _) => "starting".to_owned(),
            (epoch, None) => format!("epoch {epoch} of {}", status.epochs),
            (epoch, Some(eta)) => {
                format!("epoch {epoch} of {}, {} to go", status.epochs, span(TimeDelta::milliseconds((eta * 1e3) as i64)))
            }
        },
        Phase::Scanning | Phase::Judging | Phase::Exporting | Phase::Publishing => name(status.phase).to_owned(),
        Phase::Idle | Phase::Done | Phase::Failed | Phase::Stopped | Phase::WaitingForLabels | Phase::NothingNew | Phase::QuietHours => {
            return None;
        }
    };
    let what = match &status.retry {
        Some(retry) => format!("{what} (second try at a lower rate: it diverged in epoch {})", retry.epoch),
        None => what,
    };
    let alive = running && std::path::Path::new("/proc").join(status.pid.to_string()).exists();
    alive.then(|| format!("running: {what}"))
}

fn outcome(status: &TrainingStatus, now: DateTime<Utc>) -> Option<String> {
    let last = status.last_outcome.as_ref()?;
    let version = last.version.as_ref().map(|version| format!(" {version}")).unwrap_or_default();
    let word = last.result.to_string();
    // The trainer's sentence may begin with the same word, or with its name in the file.
    let begins = [word.clone(), word.replace(' ', "_")].iter().find_map(|word| last.message.strip_prefix(word.as_str()));
    let rest = begins.map_or(last.message.as_str(), |rest| rest.trim_start_matches([':', ';', ' ']));
    let message = if rest.is_empty() { String::new() } else { format!(": {rest}") };
    Some(format!("{word}{version} {}{message}", ago(last.at, now)))
}

fn name(phase: Phase) -> &'static str {
    match phase {
        Phase::Idle => "idle",
        Phase::Scanning => "scanning the images",
        Phase::Training => "training",
        Phase::Judging => "judging",
        Phase::Exporting => "exporting",
        Phase::Publishing => "publishing",
        Phase::Done => "done",
        Phase::Failed => "failed",
        Phase::Stopped => "stopped",
        Phase::WaitingForLabels => "waiting for labels",
        Phase::NothingNew => "nothing new",
        Phase::QuietHours => "quiet hours",
    }
}

fn model(report: &Report, now: DateTime<Utc>) -> String {
    let serving = report.serving.as_ref().and_then(|model| model["version"].as_str());
    let promoted = report.promoted.as_ref().map(|model| {
        let ago = ago(model.at, now);
        (model.version.as_str(), format!("{} (mAP50 {:.3}, mAP50-95 {:.3}, promoted {ago})", model.version, model.map50, model.map50_95))
    });
    // A rescan (30 s by default), the engines and the check file.
    let fresh = report.promoted.as_ref().is_some_and(|model| now - model.at < TimeDelta::seconds(60));
    match (serving, promoted) {
        (None, None) => "none yet: the first training makes one".to_owned(),
        (Some(version), Some((promoted, text))) if version == promoted => format!("in service: {text}"),
        (Some(version), Some((_, text))) => format!("in service: {version}, not yet the promoted {text}"),
        (Some(version), None) => format!("in service: {version}, which the store no longer promotes"),
        (None, Some((_, text))) if report.running && fresh => format!("about to be loaded: {text}"),
        (None, Some((_, text))) if report.running => format!("NOT in service: {text}; see the inferer's /readyz for the reason"),
        (None, Some((_, text))) => format!("promoted: {text}"),
    }
}

fn next_run(report: &Report, now: DateTime<Utc>) -> String {
    let up = report.up.as_ref().filter(|_| report.running);
    let Some(up) = up else { return "not scheduled: `edgeloop up` is not running".to_owned() };
    if up.training_due {
        return "due now; starts as soon as the gateway is reachable".to_owned();
    }
    match up.next_run {
        Some(at) => format!("{}, in {} ({}), if the gateway is reachable then", clock(at, now), span(at - now), up.schedule),
        None => format!("never: `{}` names a day that does not come", up.schedule),
    }
}

fn clock(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let far = (at - now).abs() > TimeDelta::hours(20);
    at.with_timezone(&Local).format(if far { "%Y-%m-%d %H:%M" } else { "%H:%M" }).to_string()
}

fn ago(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    if at > now {
        format!("at {} (this box's clock was set back)", at.format("%Y-%m-%d %H:%M UTC"))
    } else {
        format!("{} ago", span(now - at))
    }
}

/// Two units at most: `3 d 4 h`, `12 min`, `8 s`.
fn span(span: TimeDelta) -> String {
    let seconds = span.num_seconds().max(0);
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        7200..=172_799 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::Promoted;
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    const NOW: &str = "2026-11-21T13:20:00Z";

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn gateway(status: &str, rtt_ms: Option<f64>) -> Gateway {
        let (reason, method, target) = ("no_reply".to_owned(), "icmp".to_owned(), "192.168.1.1".to_owned());
        let since = at("2026-11-21T10:05:00Z");
        Gateway { status: status.to_owned(), since, reason, rtt_ms, method, target, checked_at: at("2026-11-21T13:19:50Z") }
    }

    fn up(due: bool) -> UpState {
        serde_json::from_value(json!({
            "schema": 1, "pid": 4711, "started_at": "2026-11-21T10:00:00Z", "stopped_at": null,
            "state_dir": "/d", "model_dir": "/d/models", "images_dir": "/d/images",
            "serve_addr": "0.0.0.0:8080", "admin_addr": "0.0.0.0:8081", "agent_admin_addr": "127.0.0.1:8082",
            "schedule": "0 */3 * * *", "next_run": "2026-11-21T15:00:00Z", "training_due": due,
            "children": [
                {"name": "agent", "pid": 1, "state": "running", "since": NOW, "restarts": 0},
                {"name": "inferer", "pid": null, "state": "restarting", "since": NOW, "restarts": 2},
            ],
        }))
        .unwrap()
    }

    fn promoted() -> Promoted {
        let (by, reason) = ("trainer".to_owned(), "first".to_owned());
        Promoted { version: "20261121_120000".into(), at: at("2026-11-21T12:00:00Z"), by, reason, map50: 0.9123, map50_95: 0.6 }
    }

    fn trained(phase: &str, pid: u32) -> TrainingStatus {
        serde_json::from_value(json!({
            "phase": phase, "pid": pid, "started_at": NOW, "updated_at": "2026-11-21T13:10:00Z", "epoch": 3, "epochs": 20, "eta_s": 300.0,
            "last_outcome": {"at": "2026-11-21T12:00:00Z", "result": "promoted", "version": "20261121_120000", "message": "promoted: first model"},
        }))
        .unwrap()
    }

    #[test]
    fn nothing_there_says_what_to_do() {
        let expected = "\
loop      not running; `edgeloop up` starts it
gateway   not known yet
training  none yet
model     none yet: the first training makes one
next run  not scheduled: `edgeloop up` is not running
";
        assert_eq!(text(&Report::default(), at(NOW)), expected);
    }

    #[test]
    fn a_running_loop() {
        let report = Report {
            running: true,
            up: Some(up(false)),
            gateway: Some(gateway("online", Some(0.42))),
            training: Some(trained("done", 0)),
            promoted: Some(promoted()),
            serving: Some(json!({"version": "20261121_120000"})),
            problems: vec!["disk is slow".into()],
        };
        let local = at("2026-11-21T15:00:00Z").with_timezone(&Local).format("%H:%M");
        let expected = format!(
            "\
loop      running 3 h 20 min (process 4711), agent, inferer DOWN, being started again, POST http://0.0.0.0:8080/infer
gateway   online for 3 h 15 min: 192.168.1.1 by icmp, 0.4 ms
training  promoted 20261121_120000 80 min ago: first model
model     in service: 20261121_120000 (mAP50 0.912, mAP50-95 0.600, promoted 80 min ago)
next run  {local}, in 100 min (0 */3 * * *), if the gateway is reachable then
problem   disk is slow
"
        );
        assert_eq!(text(&report, at(NOW)), expected);
    }

    #[test]
    fn after_the_loop_has_ended() {
        let gateway = Some(gateway("offline", None));
        let report = Report {
            up: Some(up(false)),
            gateway,
            training: Some(trained("training", 1)),
            promoted: Some(promoted()),
            ..Report::default()
        };
        let expected = "\
loop      not running, ended without stopping in order (started 3 h 20 min ago); `edgeloop up` starts it
gateway   was offline when last asked, 10 s ago
training  promoted 20261121_120000 80 min ago: first model
model     promoted: 20261121_120000 (mAP50 0.912, mAP50-95 0.600, promoted 80 min ago)
next run  not scheduled: `edgeloop up` is not running
";
        assert_eq!(text(&report, at(NOW)), expected);
    }

    #[test]
    fn a_training_in_progress_shows_beside_the_last_outcome() {
        let mut report = Report { running: true, training: Some(trained("training", std::process::id())), ..Report::default() };
        assert_eq!(
            training(&report, at(NOW)),
            "running: epoch 3 of 20, 5 min to go; the last one: promoted 20261121_120000 80 min ago: first model"
        );
        report.training = Some(trained("exporting", std::process::id()));
        assert!(training(&report, at(NOW)).starts_with("running: exporting; "));
    }

    #[rstest]
    #[case(
        "nothing_new",
        "nothing_new: images are those of the last attempt",
        "nothing new 80 min ago: images are those of the last attempt"
    )]
    #[case(
        "quiet_hours",
        "quiet_hours: it is within QUIET_HOURS (22:00-06:00)",
        "quiet hours 80 min ago: it is within QUIET_HOURS (22:00-06:00)"
    )]
    #[case("stopped", "stopped; the next run goes on from here", "stopped 80 min ago: the next run goes on from here")]
    fn a_run_that_trained_nothing_says_why(#[case] result: &str, #[case] message: &str, #[case] shown: &str) {
        let mut status = trained(result, 0);
        status.last_outcome = serde_json::from_value(json!({"at": "2026-11-21T12:00:00Z", "result": result, "message": message})).unwrap();
        let report = Report { running: true, training: Some(status), ..Report::default() };
        assert_eq!(training(&report, at(NOW)), shown);
    }

    #[test]
    fn a_second_try_is_shown_as_one() {
        let mut status = trained("training", std::process::id());
        status.retry = serde_json::from_value(json!({"epoch": 2, "batch": 7, "lr0_before": 0.1, "lr0": 0.01})).unwrap();
        let report = Report { running: true, training: Some(status), ..Report::default() };
        assert!(training(&report, at(NOW)).contains("second try at a lower rate: it diverged in epoch 2"));
    }

    #[test]
    fn a_trainer_that_was_killed_is_not_in_progress() {
        let mut status = trained("training", u32::MAX);
        status.last_outcome = None;
        let report = Report { running: true, training: Some(status), ..Report::default() };
        assert_eq!(training(&report, at(NOW)), "broke off in phase training, 10 min ago");
    }

    #[rstest]
    #[case(Some("20261121_120000"), true, "in service: 20261121_120000 (")]
    #[case(Some("20261121_090000"), true, "in service: 20261121_090000, not yet the promoted 20261121_120000 (")]
    #[case(None, true, "NOT in service: 20261121_120000 (")]
    #[case(None, false, "promoted: 20261121_120000 (")]
    fn the_model_in_service_against_the_promoted_one(#[case] serving: Option<&str>, #[case] running: bool, #[case] start: &str) {
        let serving = serving.map(|version| json!({"version": version}));
        let report = Report { running, promoted: Some(promoted()), serving, ..Report::default() };
        assert!(model(&report, at(NOW)).starts_with(start), "{}", model(&report, at(NOW)));
    }

    #[test]
    fn a_model_just_promoted_is_given_time() {
        let report = Report { running: true, promoted: Some(promoted()), ..Report::default() };
        assert!(model(&report, at("2026-11-21T12:00:59Z")).starts_with("about to be loaded: "));
        assert!(model(&report, at("2026-11-21T12:01:00Z")).starts_with("NOT in service: "));
    }

    #[test]
    fn a_due_training_waits_for_the_gateway() {
        let report = Report { running: true, up: Some(up(true)), ..Report::default() };
        assert_eq!(next_run(&report, at(NOW)), "due now; starts as soon as the gateway is reachable");
    }

    #[rstest]
    #[case(-5, "0 s")]
    #[case(119, "119 s")]
    #[case(120, "2 min")]
    #[case(7200, "2 h 0 min")]
    #[case(180_000, "2 d 2 h")]
    fn spans(#[case] seconds: i64, #[case] expected: &str) {
        assert_eq!(span(TimeDelta::seconds(seconds)), expected);
    }
}
