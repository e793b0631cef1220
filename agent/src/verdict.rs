//! The verdict: pure, without clock or socket. Rounds and their times go in, changes come out.
//!
//! Up and down have thresholds of their own: a node comes back only after several good rounds, and one lost round never takes
//! it offline. Until the first decisive rounds the verdict is `unknown`, and nobody is told anything. A flip is held: the next one
//! waits, twice as long each time while the link keeps flapping. The first verdict and the first flip never wait.

mod hold;

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use hold::Hold;
pub use hold::HoldPlan;

use serde::{Deserialize, Serialize};

/// What is known about the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Too few rounds yet.
    Unknown,
    /// It answers.
    Online,
    /// It does not.
    Offline,
}

impl Verdict {
    /// As in the node label: `online`, `offline`, `unknown`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Unknown => "unknown",
            Verdict::Online => "online",
            Verdict::Offline => "offline",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why the verdict is what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// No decisive rounds yet.
    Starting,
    /// An echo reply came, or a TCP connection opened.
    GatewayReplied,
    /// A TCP connection was refused: something at that address answers.
    GatewayRefused,
    /// It answered by HTTP, but neither with 2xx nor with 3xx.
    HttpStatus,
    /// Nothing came back in time.
    NoReply,
    /// A router, or the address resolution on the link, says that it cannot be reached.
    HostUnreachable,
    /// This node has no route to it: no link, no address, no default route.
    NoRoute,
    /// The probe itself failed here (no socket, no permission): a node that cannot ask is not online.
    ProbeFailed,
    /// It comes and goes: no streak long enough for a first verdict.
    Unstable,
    /// The reaper's: the node's agent has not renewed its lease, so nobody there can say that it is online.
    LeaseExpired,
}

impl Reason {
    /// As in the status file and the annotation.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Starting => "starting",
            Reason::GatewayReplied => "gateway_replied",
            Reason::GatewayRefused => "gateway_refused",
            Reason::HttpStatus => "http_status",
            Reason::NoReply => "no_reply",
            Reason::HostUnreachable => "host_unreachable",
            Reason::NoRoute => "no_route",
            Reason::ProbeFailed => "probe_failed",
            Reason::Unstable => "unstable",
            Reason::LeaseExpired => "lease_expired",
        }
    }

    /// Whether a round with this reason reached the gateway.
    #[must_use]
    pub fn is_reached(self) -> bool {
        matches!(self, Reason::GatewayReplied | Reason::GatewayRefused)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How many rounds in a row it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Good rounds until `online`.
    pub up: NonZeroU32,
    /// Bad rounds until `offline`.
    pub down: NonZeroU32,
}

/// A verdict that has just changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// What it was.
    pub from: Verdict,
    /// What it is.
    pub to: Verdict,
    /// Of the round that tipped it.
    pub reason: Reason,
}

/// The state between rounds.
#[derive(Clone, Debug)]
pub struct Judge {
    thresholds: Thresholds,
    verdict: Verdict,
    reason: Reason,
    good: u32,
    bad: u32,
    undecided: u32,
    hold: Hold,
}

impl Judge {
    /// Before the first round.
    #[must_use]
    pub fn new(thresholds: Thresholds, hold: HoldPlan) -> Self {
        Judge { thresholds, verdict: Verdict::Unknown, reason: Reason::Starting, good: 0, bad: 0, undecided: 0, hold: Hold::new(hold) }
    }

    /// How long the verdict stays as it is, whatever the rounds say; `now` as in [`Judge::observe`].
    #[must_use]
    pub fn held(&self, now: Duration) -> Duration {
        self.hold.left(now)
    }

    /// The verdict so far.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Why: the reason of the round that led to it.
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// Takes the outcome of a round that ended at `now` (since any fixed moment, by a clock that never goes back); returns the change
    /// if it was decisive.
    pub fn observe(&mut self, round: Reason, now: Duration) -> Option<Change> {
        if round.is_reached() {
            (self.good, self.bad) = (self.good.saturating_add(1), 0);
        } else {
            (self.good, self.bad) = (0, self.bad.saturating_add(1));
        }
        let (up, down) = (self.thresholds.up.get(), self.thresholds.down.get());
        if self.good >= up {
            return self.change(Verdict::Online, round, now);
        }
        if self.bad >= down {
            return self.change(Verdict::Offline, round, now);
        }
        if self.verdict == Verdict::Unknown {
            // A link that flaps from the start must not stay unknown for ever: whoever waits for a verdict would wait with it.
            self.undecided += 1;
            if self.undecided >= up.saturating_add(down) {
                return self.change(Verdict::Offline, Reason::Unstable, now);
            }
        }
        None
    }

    fn change(&mut self, to: Verdict, reason: Reason, now: Duration) -> Option<Change> {
        if self.verdict == to || !self.hold.left(now).is_zero() {
            return None;
        }
        if self.verdict != Verdict::Unknown {
            self.hold.flipped(now);
        }
        let from = std::mem::replace(&mut self.verdict, to);
        self.reason = reason;
        Some(Change { from, to, reason })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    fn judge(up: u32, down: u32) -> Judge {
        held_judge(up, down, HoldPlan::none())
    }

    fn held_judge(up: u32, down: u32, hold: HoldPlan) -> Judge {
        Judge::new(Thresholds { up: NonZeroU32::new(up).unwrap(), down: NonZeroU32::new(down).unwrap() }, hold)
    }

    /// `+` a reply, `r` refused, `-` silence, `x` no route; the verdict after each round as `?`, `O` (online) or `.` (offline).
    fn play(judge: &mut Judge, rounds: &str) -> String {
        let step = |round| {
            let reason = match round {
                '+' => Reason::GatewayReplied,
                'r' => Reason::GatewayRefused,
                'x' => Reason::NoRoute,
                _ => Reason::NoReply,
            };
            judge.observe(reason, Duration::ZERO);
            match judge.verdict() {
                Verdict::Unknown => '?',
                Verdict::Online => 'O',
                Verdict::Offline => '.',
            }
        };
        rounds.chars().map(step).collect()
    }

    #[rstest]
    #[case::first_verdict_after_enough_good_rounds("++", "?O")]
    #[case::first_verdict_after_enough_bad_rounds("---", "??.")]
    #[case::one_lost_round_changes_nothing("++-+-+", "?OOOOO")]
    #[case::two_lost_rounds_change_nothing("++--+--", "?OOOOOO")]
    #[case::three_lost_rounds_do("++---", "?OOO.")]
    #[case::one_good_round_is_not_back("---+-+", "??....")]
    #[case::two_good_rounds_are("---++", "??..O")]
    #[case::refused_counts_as_reached("rr", "?O")]
    #[case::reasons_mix("x-x", "??.")]
    #[case::flapping_from_the_start_is_offline_in_the_end("+-+-+", "????.")]
    #[case::and_recovers_by_the_same_threshold("+-+-+++", "????.OO")]
    fn with_thresholds_up_2_down_3(#[case] rounds: &str, #[case] expected: &str) {
        assert_eq!(play(&mut judge(2, 3), rounds), expected);
    }

    #[test]
    fn with_thresholds_of_one_every_round_decides() {
        assert_eq!(play(&mut judge(1, 1), "+-+-"), "O.O.");
    }

    #[test]
    fn the_reason_is_that_of_the_deciding_round() {
        let mut judge = judge(2, 3);
        play(&mut judge, "++--");
        assert_eq!(judge.reason(), Reason::GatewayReplied);
        let change = judge.observe(Reason::NoRoute, Duration::ZERO);
        assert_eq!(change, Some(Change { from: Verdict::Online, to: Verdict::Offline, reason: Reason::NoRoute }));
        assert_eq!(judge.observe(Reason::NoReply, Duration::ZERO), None);
        assert_eq!(judge.reason(), Reason::NoRoute);
    }

    #[test]
    fn names_in_json_are_the_names_in_text() {
        for reason in [
            Reason::GatewayReplied,
            Reason::HostUnreachable,
            Reason::ProbeFailed,
            Reason::Unstable,
            Reason::Starting,
            Reason::HttpStatus,
            Reason::LeaseExpired,
        ] {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
        }
        assert_eq!(serde_json::to_value(Verdict::Offline).unwrap(), Verdict::Offline.as_str());
    }

    proptest! {
        #[test]
        fn a_change_needs_a_whole_streak(rounds in prop::collection::vec(any::<bool>(), 0..200), up in 1_u32..6, down in 1_u32..6) {
            let mut judge = judge(up, down);
            for (i, good) in rounds.iter().enumerate() {
                let change = judge.observe(if *good { Reason::GatewayReplied } else { Reason::NoReply }, Duration::ZERO);
                let streak = rounds[..=i].iter().rev().take_while(|round| *round == good).count() as u32;
                match change {
                    Some(Change { to: Verdict::Online, .. }) => prop_assert!(*good && streak == up),
                    Some(Change { reason: Reason::Unstable, from, .. }) => prop_assert!(from == Verdict::Unknown && i as u32 + 1 == up + down),
                    Some(Change { to: Verdict::Offline, .. }) => prop_assert!(!*good && streak == down),
                    Some(Change { to: Verdict::Unknown, .. }) => prop_assert!(false, "nothing becomes unknown again"),
                    None => {}
                }
                // And a whole streak always shows.
                if *good && streak >= up { prop_assert_eq!(judge.verdict(), Verdict::Online); }
                if !*good && streak >= down { prop_assert_eq!(judge.verdict(), Verdict::Offline); }
                if i as u32 + 1 >= up + down { prop_assert_ne!(judge.verdict(), Verdict::Unknown); }
            }
        }

        #[test]
        fn a_flip_waits_for_the_hold_that_the_last_one_began(
            rounds in prop::collection::vec((any::<bool>(), 1_u64..20_000), 0..400), first in 1_u64..60, most in 1_u64..600, up in 1_u32..4, down in 1_u32..4,
        ) {
            let plan = HoldPlan::new(Duration::from_secs(first), Duration::from_secs(most));
            let mut judge = held_judge(up, down, plan);
            let (mut now, mut flipped, mut flips) = (Duration::ZERO, None::<(Duration, Duration)>, Vec::new());
            for (good, millis) in rounds {
                now += Duration::from_millis(millis);
                let change = judge.observe(if good { Reason::GatewayReplied } else { Reason::NoReply }, now);
                if !change.is_some_and(|change| change.from != Verdict::Unknown) { continue; }
                if let Some((at, hold)) = flipped {
                    prop_assert!(now >= at + hold, "{now:?} is within {hold:?} of {at:?}");
                    // Again at once: twice as long.
                    if now < at + hold * 2 { prop_assert_eq!(judge.held(now), (hold * 2).min(Duration::from_secs(most.max(first)))); }
                }
                prop_assert!(judge.held(now) >= Duration::from_secs(first));
                flipped = Some((now, judge.held(now)));
                flips.push(now);
            }
            // However they lie, no stretch of time holds more of them than the shortest hold allows.
            for pair in flips.windows(2) { prop_assert!(pair[1] - pair[0] >= Duration::from_secs(first)); }
        }

        #[test]
        fn a_steady_gateway_is_believed_in_the_end(
            rounds in prop::collection::vec((any::<bool>(), 1_u64..20_000), 0..200), good: bool, first in 1_u64..60, most in 1_u64..600,
        ) {
            let plan = HoldPlan::new(Duration::from_secs(first), Duration::from_secs(most));
            let mut judge = held_judge(2, 3, plan);
            let mut now = Duration::ZERO;
            for (good, millis) in rounds {
                now += Duration::from_millis(millis);
                judge.observe(if good { Reason::GatewayReplied } else { Reason::NoReply }, now);
            }
            // No later than the hold that is left and a streak.
            let end = now + judge.held(now) + Duration::from_secs(3);
            while now < end {
                now += Duration::from_secs(1);
                judge.observe(if good { Reason::GatewayReplied } else { Reason::NoReply }, now);
            }
            prop_assert_eq!(judge.verdict(), if good { Verdict::Online } else { Verdict::Offline });
        }
    }

    #[test]
    fn the_first_verdict_and_the_first_flip_never_wait() {
        let mut judge = held_judge(1, 1, HoldPlan::new(Duration::from_secs(60), Duration::from_secs(600)));
        let second = Duration::from_secs;
        assert!(judge.observe(Reason::GatewayReplied, second(1)).is_some());
        assert!(judge.observe(Reason::NoReply, second(2)).is_some());
        assert!(judge.observe(Reason::GatewayReplied, second(61)).is_none());
        assert!(judge.observe(Reason::GatewayReplied, second(62)).is_some());
    }

    /// The plug of the gateway's cable: 5 s in, 5 s out, for five minutes.
    #[rstest]
    #[case::each_round_decides_twice_a_second(0.5, 1, 1)]
    #[case::as_installed_but_each_second(1.0, 2, 3)]
    #[case::as_installed(15.0, 2, 3)]
    fn a_flapping_cable(#[case] interval: f64, #[case] up: u32, #[case] down: u32) {
        let (span, plan) = (Duration::from_secs(300), HoldPlan::new(Duration::from_secs(30), Duration::from_secs(900)));
        let count = |plan: HoldPlan| {
            let mut judge = held_judge(up, down, plan);
            let mut jitter = crate::jitter::Jitter::seeded(7);
            let (mut now, mut changes) = (Duration::ZERO, 0);
            while now <= span {
                let plugged = (now.as_secs() / 5).is_multiple_of(2);
                changes += u32::from(judge.observe(if plugged { Reason::GatewayReplied } else { Reason::NoReply }, now).is_some());
                now += jitter.around(Duration::from_secs_f64(interval), 0.1);
            }
            changes
        };
        let (held, free, promised) = (count(plan), count(HoldPlan::none()), 1 + plan.most_flips(span));
        println!(
            "flapping cable, a round each {interval} s, thresholds {up}/{down}: {held} changes written ({promised} promised, {free} without a hold)"
        );
        assert!(held <= promised);
        // Where there is something to hold, it must do so.
        assert!(interval > 5.0 || free > 2 * promised, "{free}");
    }
}
