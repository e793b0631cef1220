use std::process::ExitStatus;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Local, TimeDelta, Utc};
use edgeloop_service::exit;
use edgeloop_store::Outcome;

use super::Ended;
use super::state::{ChildState, ChildView, Gateway};
use crate::children::{Child, Spec};
use crate::schedule::Schedule;

/// How often the next run is computed anew: a clock that was set back must not put off trainings by that much.
const RECOMPUTE: Duration = Duration::from_secs(30);

/// What one look at the clock and the gateway asks for.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Nothing,
    Start,
    /// Due while another one runs (`concurrencyPolicy: Forbid`).
    Skip,
    /// Due, but the gateway is not reachable: it waits for it, as a pending Job would.
    Wait,
}

/// When trainings are due. No processes in here.
struct Plan {
    schedule: Schedule,
    next: Option<DateTime<Local>>,
    due: bool,
    waiting: bool,
}

impl Plan {
    /// Takes the time; `running`: a training runs now; `online`: the gateway is reachable.
    fn step(&mut self, now: DateTime<Local>, running: bool, online: bool) -> Step {
        let arrived = self.next.is_some_and(|next| next <= now);
        if arrived {
            self.next = self.schedule.next_after(&now);
        }
        if running {
            return if arrived { Step::Skip } else { Step::Nothing };
        }
        self.due |= arrived;
        match (self.due, online) {
            (false, _) => Step::Nothing,
            (true, true) => {
                (self.due, self.waiting) = (false, false);
                Step::Start
            }
            // Said once.
            (true, false) if std::mem::replace(&mut self.waiting, true) => Step::Nothing,
            (true, false) => Step::Wait,
        }
    }

    /// After the clock may have been set: an earlier next run counts, and one that is long past is not run for (`step` sees it).
    fn recompute(&mut self, now: DateTime<Local>) {
        let fresh = self.schedule.next_after(&now);
        if self.next.is_none_or(|next| next > now && fresh.is_some_and(|fresh| fresh < next)) {
            self.next = fresh;
        }
    }
}

pub(super) struct Training {
    plan: Plan,
    computed: Instant,
    spec: Box<dyn Fn() -> anyhow::Result<Spec>>,
    events: mpsc::Sender<Ended>,
    child: Option<Child>,
    since: DateTime<Utc>,
}

impl Training {
    pub(super) fn new(schedule: Schedule, spec: Box<dyn Fn() -> anyhow::Result<Spec>>, events: mpsc::Sender<Ended>, now: bool) -> Self {
        let next = schedule.next_after(&Local::now());
        let plan = Plan { schedule, next, due: now, waiting: false };
        Training { plan, computed: Instant::now(), spec, events, child: None, since: Utc::now() }
    }

    /// # Errors
    /// When the trainer is not there or cannot be started.
    pub(super) fn tick(&mut self, now: DateTime<Local>, gateway: Option<Gateway>) -> anyhow::Result<()> {
        if self.computed.elapsed() > RECOMPUTE {
            self.computed = Instant::now();
            self.plan.recompute(now);
        }
        let online = gateway.as_ref().is_some_and(Gateway::is_online);
        match self.plan.step(now, self.child.is_some(), online) {
            Step::Nothing => {}
            Step::Skip => tracing::warn!("a training is due while the last one still runs: skipped"),
            Step::Wait => {
                let verdict = gateway.map_or("unknown".to_owned(), |gateway| gateway.status);
                tracing::info!(gateway = verdict, "a training is due: it starts as soon as the gateway is reachable");
            }
            Step::Start => {
                let events = self.events.clone();
                let child = Child::spawn_then((self.spec)()?, move |status| {
                    // Nobody listens any more once `up` is stopping.
                    let _ = events.send(("trainer", status));
                })?;
                tracing::info!(child = "trainer", pid = child.pid(), "started");
                (self.child, self.since) = (Some(child), Utc::now());
            }
        }
        Ok(())
    }

    /// `outcome`: what the trainer's status file says about it.
    pub(super) fn ended(&mut self, status: ExitStatus, outcome: Option<Outcome>) {
        self.child = None;
        let took = Utc::now().signed_duration_since(self.since).max(TimeDelta::zero());
        let (took_s, next) = (took.num_seconds(), self.plan.next.map(|next| next.to_rfc3339()));
        let said = outcome.filter(|outcome| outcome.at >= self.since).map(|outcome| outcome.message);
        // Nothing of this ends the loop: the model in service serves on, and the next run may find better images.
        match status.code().and_then(|code| u8::try_from(code).ok()) {
            Some(0) => tracing::info!(took_s, next, outcome = said, "training ended"),
            Some(exit::TERMINATED) => tracing::info!(took_s, next, outcome = said, "training stopped; the next one goes on from there"),
            Some(exit::TEMPORARY) => tracing::warn!(next, "another trainer is at work on this store: nothing was trained"),
            Some(exit::BAD_INPUT) => tracing::error!(next, "the trainer refuses the images or settings (see its log above)"),
            _ => tracing::error!(%status, took_s, next, "training failed (see its log above)"),
        }
    }

    pub(super) fn next_run(&self) -> Option<DateTime<Local>> {
        self.plan.next
    }

    pub(super) fn is_due(&self) -> bool {
        self.plan.due
    }

    pub(super) fn take(&mut self) -> Option<Child> {
        self.child.take()
    }

    pub(super) fn view(&self) -> Option<ChildView> {
        let child = self.child.as_ref()?;
        Some(ChildView { name: "trainer".to_owned(), pid: Some(child.pid()), state: ChildState::Running, since: self.since, restarts: 0 })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use chrono::TimeZone;

    fn at(hour: u32, minute: u32) -> DateTime<Local> {
        Local.with_ymd_and_hms(2026, 11, 21, hour, minute, 0).unwrap()
    }

    fn plan(now: DateTime<Local>) -> Plan {
        let schedule: Schedule = "0 */3 * * *".parse().unwrap();
        Plan { next: schedule.next_after(&now), schedule, due: false, waiting: false }
    }

    #[test]
    fn it_starts_when_it_is_time_and_once() {
        let mut plan = plan(at(13, 20));
        assert_eq!(plan.step(at(14, 59), false, true), Step::Nothing);
        assert_eq!(plan.step(at(15, 0), false, true), Step::Start);
        assert_eq!(plan.step(at(15, 0), false, true), Step::Nothing);
        assert_eq!(plan.next, Some(at(18, 0)));
    }

    #[test]
    fn offline_it_waits_for_the_gateway_and_says_so_once() {
        let mut plan = plan(at(13, 20));
        assert_eq!(plan.step(at(15, 0), false, false), Step::Wait);
        assert_eq!(plan.step(at(15, 1), false, false), Step::Nothing);
        assert_eq!(plan.step(at(16, 40), false, true), Step::Start);
        assert_eq!(plan.step(at(16, 41), false, true), Step::Nothing);
    }

    #[test]
    fn runs_missed_offline_become_one() {
        let mut plan = plan(at(0, 1));
        assert_eq!(plan.step(at(3, 0), false, false), Step::Wait);
        assert_eq!(plan.step(at(6, 0), false, false), Step::Nothing);
        assert_eq!(plan.step(at(9, 0), false, true), Step::Start);
        assert_eq!(plan.step(at(9, 1), false, true), Step::Nothing);
    }

    #[test]
    fn one_at_a_time() {
        let mut plan = plan(at(13, 20));
        assert_eq!(plan.step(at(15, 0), true, true), Step::Skip);
        assert_eq!(plan.step(at(15, 1), false, true), Step::Nothing, "a skipped run is not made up for");
    }

    #[test]
    fn after_sleeping_through_several_runs_one_is_made_up_for() {
        let mut plan = plan(at(0, 1));
        assert_eq!(plan.step(at(22, 30), false, true), Step::Start);
        assert_eq!(plan.step(at(22, 31), false, true), Step::Nothing);
        assert_eq!(plan.next, Some(at(0, 0) + TimeDelta::days(1)));
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_put_off_the_next_run() {
        let mut plan = plan(at(22, 0));
        assert_eq!(plan.step(at(2, 50), false, true), Step::Nothing);
        plan.recompute(at(2, 50));
        assert_eq!(plan.step(at(3, 0), false, true), Step::Start);
    }

    #[test]
    fn recomputing_loses_no_run_that_is_due() {
        let mut plan = plan(at(13, 20));
        plan.recompute(at(15, 0));
        assert_eq!(plan.step(at(15, 0), false, true), Step::Start);
    }
}
