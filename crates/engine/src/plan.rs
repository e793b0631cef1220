//! How many engines with how many threads each.

/// Most threads of the solo engine: beyond this a detector of this size gains nothing and waits for its slowest thread.
const MOST_SOLO_THREADS: usize = 8;

/// Engines beside each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Engines that share the queue.
    pub instances: usize,
    /// Threads inside one run of each.
    pub threads: usize,
    /// Threads of the engine for images that come alone; `None` without one.
    pub solo: Option<usize>,
}

impl Plan {
    /// For `cores` cores; 0 instances or threads mean «as the table says».
    ///
    /// One thread an instance wins on images a second: two instances of one thread gave 40 YOLOv8n images a second at 640 where one
    /// of two threads gave 36, and decoding beside them disturbs one of two instead of both threads of one. From 6 cores on
    /// memory counts more (80–120 MB an instance), and a run of one thread would take too long for those who wait for it.
    #[must_use]
    pub fn new(cores: usize, instances: usize, threads: usize, solo: bool) -> Plan {
        let cores = cores.max(1);
        let (instances, threads) = match (instances, threads) {
            (0, 0) => match cores {
                1..=5 => (cores, 1),
                6..=16 => (cores / 2, 2),
                17..=64 => (cores / 4, 4),
                _ => (cores / 8, 8),
            },
            (0, threads) => ((cores / threads).max(1), threads),
            (instances, 0) => (instances, (cores / instances).max(1)),
            both => both,
        };
        let all = cores.min(MOST_SOLO_THREADS);
        Plan { instances, threads, solo: (solo && all > threads).then_some(all) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::one_core(1, 0, 0, (1, 1, None))]
    #[case::two(2, 0, 0, (2, 1, Some(2)))]
    #[case::four(4, 0, 0, (4, 1, Some(4)))]
    #[case::eight(8, 0, 0, (4, 2, Some(8)))]
    #[case::sixteen(16, 0, 0, (8, 2, Some(8)))]
    #[case::many(64, 0, 0, (16, 4, Some(8)))]
    #[case::threads_given(8, 0, 4, (2, 4, Some(8)))]
    #[case::more_threads_than_cores(2, 0, 4, (1, 4, None))]
    #[case::instances_given(8, 1, 0, (1, 8, None))]
    #[case::both_given(2, 3, 5, (3, 5, None))]
    #[case::no_core_at_all(0, 0, 0, (1, 1, None))]
    fn the_table(#[case] cores: usize, #[case] instances: usize, #[case] threads: usize, #[case] expected: (usize, usize, Option<usize>)) {
        let plan = Plan::new(cores, instances, threads, true);
        assert_eq!((plan.instances, plan.threads, plan.solo), expected);
        assert_eq!(Plan::new(cores, instances, threads, false), Plan { solo: None, ..plan });
    }
}
