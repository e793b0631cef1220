//! How far a run gets in the time that it has. Pure arithmetic; who asks has the clock.

/// Kept back for what no pace tells: the export, the publishing, a busy minute.
const RESERVE: f64 = 0.03;

/// Judgings kept back for the end: of the last epoch, of the best weights, and of the two models that they must match.
const JUDGINGS_AT_THE_END: f64 = 4.0;

/// The time that a run has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    /// Seconds in all, over all processes of the run, from the scan to the last rename.
    pub seconds: f64,
    /// Seconds that this process had used before the fit began.
    pub before: f64,
}

/// What things cost, by the pace so far.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Costs {
    /// Seconds of a batch.
    pub batch: f64,
    /// Seconds of judging the val images once.
    pub judging: f64,
}

impl Budget {
    /// The batch before which the run should end, so that it ends in time: at most `asked`, the batches of the whole run, and
    /// at least the `done` ones; one batch is always made. `batches`: of an epoch; `spent`: seconds of the fit so far.
    pub fn end(&self, asked: u64, done: u64, batches: u64, spent: f64, costs: &Costs) -> u64 {
        let left = self.seconds * (1.0 - RESERVE) - self.before - spent - JUDGINGS_AT_THE_END * costs.judging;
        // As if every epoch was judged: the last ones are.
        let each = costs.batch + costs.judging / batches.max(1) as f64;
        let more = (left / each.max(1e-9)).floor().max(0.0) as u64;
        done.saturating_add(more).max(1).min(asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COSTS: Costs = Costs { batch: 1.0, judging: 10.0 };

    fn end(seconds: f64, done: u64, spent: f64) -> u64 {
        Budget { seconds, before: 7.0 }.end(1000, done, 100, spent, &COSTS)
    }

    #[test]
    fn the_run_ends_where_the_time_does() {
        // 500 · 0.97 − 7 − 50 − 40 = 388 s for batches of 1.1 s, judging included
        assert_eq!(end(500.0, 40, 50.0), 40 + 352);
        assert_eq!(end(10_000.0, 40, 50.0), 1000);
    }

    #[test]
    fn a_budget_that_is_used_up_ends_the_run_at_once_but_not_before_it_began() {
        assert_eq!(end(500.0, 40, 900.0), 40);
        assert_eq!(end(1.0, 0, 0.0), 1);
    }

    #[test]
    fn an_even_pace_never_moves_the_end() {
        let ends: Vec<u64> = (0..300).map(|done| end(500.0, done, done as f64 * 1.1)).collect();
        assert!(ends.iter().all(|end| end.abs_diff(ends[0]) <= 1), "{ends:?}");
    }
}
