//! The verdict: pure, without clock or socket. Rounds go in, changes come out.
//!
//! Up and down have thresholds of their own: a node comes back only after several good rounds, and one lost round never takes
//! it offline. Until the first decisive rounds the verdict is `unknown`, and nobody is told anything.

use std::fmt;
use std::num::NonZeroU32;

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
}

impl Reason {
    /// As in the status file and the annotation.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Starting => "starting",
            Reason::GatewayReplied => "gateway_replied",
            Reason::GatewayRefused => "gateway_refused",
            Reason::NoReply => "no_reply",
            Reason::HostUnreachable => "host_unreachable",
            Reason::NoRoute => "no_route",
            Reason::ProbeFailed => "probe_failed",
            Reason::Unstable => "unstable",
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
}

impl Judge {
    /// Before the first round.
    #[must_use]
    pub fn new(thresholds: Thresholds) -> Self {
        Judge { thresholds, verdict: Verdict::Unknown, reason: Reason::Starting, good: 0, bad: 0, undecided: 0 }
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

    /// Takes the outcome of one round; returns the change if it was decisive.
    pub fn observe(&mut self, round: Reason) -> Option<Change> {
        if round.is_reached() {
            (self.good, self.bad) = (self.good.saturating_add(1), 0);
        } else {
            (self.good, self.bad) = (0, self.bad.saturating_add(1));
        }
        let (up, down) = (self.thresholds.up.get(), self.thresholds.down.get());
        if self.good >= up {
            return self.change(Verdict::Online, round);
        }
        if self.bad >= down {
            return self.change(Verdict::Offline, round);
        }
        if self.verdict == Verdict::Unknown {
            // A link that flaps from the start must not stay unknown for ever: whoever waits for a verdict would wait with it.
            self.undecided += 1;
            if self.undecided >= up.saturating_add(down) {
                return self.change(Verdict::Offline, Reason::Unstable);
            }
        }
        None
    }

    fn change(&mut self, to: Verdict, reason: Reason) -> Option<Change> {
        if self.verdict == to {
            return None;
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
        Judge::new(Thresholds { up: NonZeroU32::new(up).unwrap(), down: NonZeroU32::new(down).unwrap() })
    }

    /// `+` a reply, `r` refused, `-` silence, `x` no route; the verdict after each round as `?`, `O` (online) or `.` (offline).
    fn play(judge: &mut Judge, rounds: &str) -> String {
        let step = |round| {
            judge.observe(match round {
                '+' => Reason::GatewayReplied,
                'r' => Reason::GatewayRefused,
                'x' => Reason::NoRoute,
                _ => Reason::NoReply,
            });
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
        let change = judge.observe(Reason::NoRoute);
        assert_eq!(change, Some(Change { from: Verdict::Online, to: Verdict::Offline, reason: Reason::NoRoute }));
        assert_eq!(judge.observe(Reason::NoReply), None);
        assert_eq!(judge.reason(), Reason::NoRoute);
    }

    #[test]
    fn names_in_json_are_the_names_in_text() {
        for reason in [Reason::GatewayReplied, Reason::HostUnreachable, Reason::ProbeFailed, Reason::Unstable, Reason::Starting] {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
        }
        assert_eq!(serde_json::to_value(Verdict::Offline).unwrap(), Verdict::Offline.as_str());
    }

    proptest! {
        #[test]
        fn a_change_needs_a_whole_streak(rounds in prop::collection::vec(any::<bool>(), 0..200), up in 1_u32..6, down in 1_u32..6) {
            let mut judge = judge(up, down);
            for (i, good) in rounds.iter().enumerate() {
                let change = judge.observe(if *good { Reason::GatewayReplied } else { Reason::NoReply });
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
    }
}
