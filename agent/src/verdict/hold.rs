use std::time::Duration;

/// Limits of the hold time: `first` after the first flip, doubled by each further one, never more than `most`. A `first` of zero
/// holds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldPlan {
    first: Duration,
    most: Duration,
}

impl HoldPlan {
    /// `most` is at least `first`.
    #[must_use]
    pub fn new(first: Duration, most: Duration) -> Self {
        HoldPlan { first, most: most.max(first) }
    }

    /// Every change goes through at once.
    #[must_use]
    pub fn none() -> Self {
        HoldPlan { first: Duration::ZERO, most: Duration::ZERO }
    }

    /// Most flips that may be seen in `span`, both ends counted: the first is free, and from then on each waits for twice as long.
    #[must_use]
    pub fn most_flips(&self, span: Duration) -> u32 {
        if self.first.is_zero() {
            return u32::MAX;
        }
        let (mut flips, mut hold, mut left) = (1, self.first, span);
        while left >= hold {
            (flips, left, hold) = (flips + 1, left - hold, (hold * 2).min(self.most));
        }
        flips
    }
}

/// How long the present verdict stays as it is.
#[derive(Clone, Debug)]
pub(super) struct Hold {
    plan: HoldPlan,
    changed: Duration,
    length: Duration,
}

impl Hold {
    pub(super) fn new(plan: HoldPlan) -> Self {
        Hold { plan, changed: Duration::ZERO, length: Duration::ZERO }
    }

    /// What is left of it.
    pub(super) fn left(&self, now: Duration) -> Duration {
        (self.changed + self.length).saturating_sub(now)
    }

    /// After a flip: twice as long as what the last one has decayed to.
    pub(super) fn flipped(&mut self, now: Duration) {
        self.length = (self.decayed(now) * 2).clamp(self.plan.first, self.plan.most);
        self.changed = now;
    }

    /// Halves for every further stretch of its own length that passes without a flip, and is forgotten below `first`. The decay begins
    /// when the hold ends: a link that flaps for ever would otherwise flip just then and never be held for longer.
    fn decayed(&self, now: Duration) -> Duration {
        let mut length = self.length;
        let mut quiet = now.saturating_sub(self.changed + length);
        while !length.is_zero() && quiet >= length {
            quiet -= length;
            length /= 2;
            if length < self.plan.first {
                length = Duration::ZERO;
            }
        }
        length
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn it_doubles_with_each_flip_up_to_its_limit() {
        let mut hold = Hold::new(HoldPlan::new(seconds(30), seconds(100)));
        assert!(hold.left(seconds(0)).is_zero(), "the first flip is free");
        let mut now = seconds(5);
        for expected in [30, 60, 100, 100] {
            hold.flipped(now);
            assert_eq!(hold.left(now), seconds(expected));
            now += seconds(expected);
            assert!(hold.left(now).is_zero());
        }
    }

    #[test]
    fn quiet_halves_it_until_it_is_forgotten() {
        let flips = |quiet: u64| {
            let mut hold = Hold::new(HoldPlan::new(seconds(30), seconds(900)));
            for now in [0, 30, 90] {
                hold.flipped(seconds(now));
            }
            // Held for 120 s from second 90 on.
            let now = seconds(90 + 120 + quiet);
            hold.flipped(now);
            hold.left(now)
        };
        assert_eq!([0, 119].map(flips), [seconds(240), seconds(240)]);
        assert_eq!([120, 179].map(flips), [seconds(120), seconds(120)]);
        assert_eq!([180, 209].map(flips), [seconds(60), seconds(60)]);
        assert_eq!([210, 100_000].map(flips), [seconds(30), seconds(30)]);
    }

    #[test]
    fn what_it_promises() {
        let plan = HoldPlan::new(seconds(30), seconds(900));
        // Flips at 0, 30, 90, 210.
        assert_eq!([0, 29, 30, 89, 90, 300].map(|span| plan.most_flips(seconds(span))), [1, 1, 2, 2, 3, 4]);
    }
}
