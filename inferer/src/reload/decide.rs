//! Which version to try next. Pure: what is known goes in, what to do comes out.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use edgeloop_store::Version;

/// First pause after a failure; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// Longest pause: somebody who repairs a file in place waits at most this long.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// Where the pointer points, and which move of it that was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The promoted version.
    pub version: Version,
    /// SHA-256 of its model: another store under the same path may have another version of the same name, made by a box whose
    /// clock starts anew at every boot.
    pub digest: String,
    /// Counts the pointer's moves: promoting the same version again is a new target.
    pub promotion: u64,
    /// What was promoted before, newest first.
    pub predecessors: Vec<Version>,
}

impl Target {
    /// Whether the pointer names `version`, as the promoted one or as one before it.
    #[must_use]
    pub fn names(&self, version: &Version) -> bool {
        self.version == *version || self.predecessors.contains(version)
    }
}

/// What is in service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InService {
    /// The version.
    pub version: Version,
    /// SHA-256 of its model.
    pub digest: String,
    /// Why it is bad, if it is.
    pub trouble: Option<String>,
    /// Whether another engine than the one asked for runs it.
    pub fallback: bool,
}

/// A version that failed here.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Why.
    pub reason: String,
    /// How often in a row.
    pub times: u32,
    /// Not before.
    pub again: Instant,
    /// Which move of the pointer led to it.
    pub promotion: u64,
    /// SHA-256 of the model that was promoted then.
    pub digest: String,
    /// It failed while it answered requests: a further try would cost requests, too.
    pub in_service: bool,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Nothing; look again at the given time if nothing happens before.
    Keep(Option<Instant>),
    /// Try to put this version into service.
    Load(Version),
}

/// Versions that failed, each with its pause.
#[derive(Debug, Default)]
pub struct Quarantine {
    failures: HashMap<Version, Failure>,
}

impl Quarantine {
    /// Notes a failed load; returns when to try again.
    pub fn note(&mut self, version: &Version, reason: String, target: &Target, now: Instant) -> Instant {
        self.insert(version, reason, target, now, false)
    }

    /// Notes a failure in service. While another version serves it is not tried again before the pointer moves: every check that
    /// there is had found it good, and each further try would be at the expense of requests. With nothing else to serve it is tried
    /// like any other.
    pub fn note_in_service(&mut self, version: &Version, reason: String, target: &Target, now: Instant) -> Instant {
        self.insert(version, reason, target, now, true)
    }

    fn insert(&mut self, version: &Version, reason: String, target: &Target, now: Instant, in_service: bool) -> Instant {
        let times = self.failures.get(version).map_or(0, |f| f.times) + 1;
        let pause = FIRST_PAUSE.saturating_mul(1 << (times - 1).min(16)).min(LONGEST_PAUSE);
        let again = now + pause;
        self.failures.insert(
            version.clone(),
            Failure { reason, times, again, promotion: target.promotion, digest: target.digest.clone(), in_service },
        );
        again
    }

    /// Its files have changed since it failed: it is tried again `at`.
    pub fn files_changed(&mut self, version: &Version, at: Instant) {
        if let Some(failure) = self.failures.get_mut(version) {
            failure.again = at;
        }
    }

    /// The version works.
    pub fn release(&mut self, version: &Version) {
        self.failures.remove(version);
    }

    /// Forgets versions that neither the pointer nor its predecessors name: the list stays as short as theirs.
    pub fn retain(&mut self, target: &Target) {
        self.failures.retain(|version, _| target.names(version));
    }

    /// What failed and why.
    pub fn failures(&self) -> impl Iterator<Item = (&Version, &Failure)> {
        self.failures.iter()
    }

    /// Whether `version` has to wait at `now`.
    fn waits(&self, version: &Version, target: &Target, now: Instant) -> Option<Instant> {
        let failure = self.failure(version, target)?;
        (now < failure.again).then_some(failure.again)
    }

    /// Why `version` is not trusted, unless the pointer has moved to it since: that is somebody who says «now it is good».
    fn failure(&self, version: &Version, target: &Target) -> Option<&Failure> {
        let failure = self.failures.get(version)?;
        let same_move = (failure.promotion, &failure.digest) == (target.promotion, &target.digest);
        let promoted_anew = *version == target.version && !same_move;
        (!promoted_anew).then_some(failure)
    }
}

/// Decides. `engine_again` is when the engine that was asked for may be tried again.
#[must_use]
pub fn decide(
    target: Option<&Target>,
    service: Option<&InService>,
    quarantine: &Quarantine,
    engine_again: Instant,
    now: Instant,
) -> Action {
    // A pointer that is gone or unreadable takes nothing out of service.
    let Some(target) = target else { return Action::Keep(None) };
    let good = service.filter(|s| s.trouble.is_none());
    if let Some(good) = good.filter(|s| (&s.version, &s.digest) == (&target.version, &target.digest)) {
        if !good.fallback {
            return Action::Keep(None);
        }
        return if now >= engine_again { Action::Load(good.version.clone()) } else { Action::Keep(Some(engine_again)) };
    }
    if good.is_some() && quarantine.failure(&target.version, target).is_some_and(|failure| failure.in_service) {
        return Action::Keep(None);
    }
    let wanted_again = quarantine.waits(&target.version, target, now);
    if wanted_again.is_none() {
        return Action::Load(target.version.clone());
    }
    if good.is_some() {
        return Action::Keep(wanted_again);
    }
    // Nothing serves, and what should serve is bad: its predecessors, newest first.
    match target.predecessors.iter().find(|version| quarantine.waits(version, target, now).is_none()) {
        Some(version) => Action::Load(version.clone()),
        None => {
            let soonest = target.predecessors.iter().filter_map(|version| quarantine.waits(version, target, now)).chain(wanted_again).min();
            Action::Keep(soonest)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn v(n: u32) -> Version {
        format!("2026112{n}_030000").parse().unwrap()
    }

    fn digest(n: u32) -> String {
        format!("sha of {n}")
    }

    fn target(version: u32, promotion: u64, predecessors: &[u32]) -> Target {
        Target { version: v(version), digest: digest(version), promotion, predecessors: predecessors.iter().map(|n| v(*n)).collect() }
    }

    fn serves(version: u32) -> InService {
        InService { version: v(version), digest: digest(version), trouble: None, fallback: false }
    }

    fn after(now: Instant, seconds: u64) -> Instant {
        now + Duration::from_secs(seconds)
    }

    #[test]
    fn what_the_pointer_names_is_loaded_and_then_kept() {
        let (now, none) = (Instant::now(), Quarantine::default());
        assert_eq!(decide(None, None, &none, now, now), Action::Keep(None));
        assert_eq!(decide(Some(&target(1, 1, &[])), None, &none, now, now), Action::Load(v(1)));
        assert_eq!(decide(Some(&target(1, 1, &[])), Some(&serves(1)), &none, now, now), Action::Keep(None));
        assert_eq!(decide(Some(&target(2, 2, &[1])), Some(&serves(1)), &none, now, now), Action::Load(v(2)));
        assert_eq!(decide(Some(&target(1, 3, &[])), Some(&serves(2)), &none, now, now), Action::Load(v(1)), "a roll-back is a move too");
        assert_eq!(decide(None, Some(&serves(1)), &none, now, now), Action::Keep(None), "a lost pointer takes nothing out of service");
    }

    #[test]
    fn a_failed_version_waits_longer_each_time_while_the_old_one_serves() {
        let mut now = Instant::now();
        let (mut quarantine, target) = (Quarantine::default(), target(2, 2, &[1]));
        for pause in [5, 10, 20, 40, 80, 160, 320, 600, 600] {
            let again = quarantine.note(&v(2), "flipped byte".into(), &target, now);
            assert_eq!(again, after(now, pause));
            assert_eq!(decide(Some(&target), Some(&serves(1)), &quarantine, now, now), Action::Keep(Some(again)));
            now = again;
            assert_eq!(decide(Some(&target), Some(&serves(1)), &quarantine, now, now), Action::Load(v(2)));
        }
    }

    #[test]
    fn what_failed_in_service_is_not_tried_again_at_the_expense_of_requests() {
        let now = Instant::now();
        let (mut quarantine, wanted) = (Quarantine::default(), target(2, 2, &[1]));
        let again = quarantine.note_in_service(&v(2), "4 of its first 9 runs failed".into(), &wanted, now);
        let later = after(now, 100_000);
        assert_eq!(decide(Some(&wanted), Some(&serves(1)), &quarantine, later, later), Action::Keep(None));
        assert_eq!(decide(Some(&target(2, 3, &[1])), Some(&serves(1)), &quarantine, now, now), Action::Load(v(2)), "promoted again");
        quarantine.note(&v(1), "missing".into(), &wanted, now);
        assert_eq!(decide(Some(&wanted), None, &quarantine, again, again), Action::Load(v(2)), "nothing else serves");
    }

    #[test]
    fn a_version_whose_files_have_changed_waits_no_longer() {
        let now = Instant::now();
        let (mut quarantine, target) = (Quarantine::default(), target(2, 2, &[1]));
        for _ in 0..8 {
            quarantine.note(&v(2), "half of it".into(), &target, now);
        }
        quarantine.files_changed(&v(2), after(now, 1));
        assert_eq!(decide(Some(&target), Some(&serves(1)), &quarantine, now, now), Action::Keep(Some(after(now, 1))));
        assert_eq!(decide(Some(&target), Some(&serves(1)), &quarantine, now, after(now, 1)), Action::Load(v(2)));
    }

    #[test]
    fn a_move_of_the_pointer_ends_the_wait() {
        let now = Instant::now();
        let mut quarantine = Quarantine::default();
        quarantine.note(&v(2), "flipped byte".into(), &target(2, 2, &[1]), now);
        assert_eq!(decide(Some(&target(3, 3, &[2, 1])), Some(&serves(1)), &quarantine, now, now), Action::Load(v(3)));
        assert_eq!(decide(Some(&target(2, 3, &[1])), Some(&serves(1)), &quarantine, now, now), Action::Load(v(2)), "promoted again");
    }

    #[test]
    fn another_model_under_the_same_name_is_another_version() {
        let now = Instant::now();
        let mut quarantine = Quarantine::default();
        let other = Target { digest: "another".into(), ..target(1, 1, &[]) };
        assert_eq!(decide(Some(&other), Some(&serves(1)), &quarantine, now, now), Action::Load(v(1)));
        quarantine.note_in_service(&v(1), "3 runs in a row failed".into(), &target(1, 1, &[]), now);
        assert_eq!(decide(Some(&other), Some(&serves(2)), &quarantine, now, now), Action::Load(v(1)));
    }

    #[test]
    fn with_nothing_good_in_service_the_newest_good_predecessor_is_tried() {
        let now = Instant::now();
        let mut quarantine = Quarantine::default();
        let target = target(3, 3, &[2, 1]);
        quarantine.note(&v(3), "engine".into(), &target, now);
        assert_eq!(decide(Some(&target), None, &quarantine, now, now), Action::Load(v(2)));
        let bad = InService { trouble: Some("3 runs failed".into()), ..serves(3) };
        assert_eq!(decide(Some(&target), Some(&bad), &quarantine, now, now), Action::Load(v(2)));
        let second = quarantine.note(&v(2), "missing".into(), &target, after(now, 1));
        assert_eq!(decide(Some(&target), None, &quarantine, now, after(now, 1)), Action::Load(v(1)));
        quarantine.note(&v(1), "missing".into(), &target, after(now, 2));
        assert_eq!(decide(Some(&target), None, &quarantine, now, after(now, 2)), Action::Keep(Some(after(now, 5))));
        assert_eq!(second, after(now, 6));
    }

    #[test]
    fn an_engine_that_was_missing_is_tried_again() {
        let (now, none) = (Instant::now(), Quarantine::default());
        let fallen = InService { fallback: true, ..serves(1) };
        let again = after(now, 60);
        assert_eq!(decide(Some(&target(1, 1, &[])), Some(&fallen), &none, again, now), Action::Keep(Some(again)));
        assert_eq!(decide(Some(&target(1, 1, &[])), Some(&fallen), &none, again, again), Action::Load(v(1)));
    }

    #[test]
    fn only_versions_that_the_pointer_remembers_stay_in_quarantine() {
        let now = Instant::now();
        let mut quarantine = Quarantine::default();
        for n in 1..=4 {
            quarantine.note(&v(n), "x".into(), &target(1, 1, &[]), now);
        }
        quarantine.retain(&target(4, 4, &[2]));
        let mut left: Vec<_> = quarantine.failures().map(|(version, _)| version.clone()).collect();
        left.sort();
        assert_eq!(left, [v(2), v(4)]);
    }
}
