//! The memory of all engines: what the process may take for them, and what one costs.
//!
//! A library's arenas, packed weights and compiled kernels cannot be asked for. What an engine costs is therefore measured: what
//! the process has gained when the first one of a kind has run, and never less than its weights.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use edgeloop_service::limits;

/// Half of what the machine or the cgroup allows: the other half is for decoded images, requests and whoever shares the box.
#[must_use]
pub fn allowed() -> u64 {
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
    });
    // Without either number nothing is known: enough for two small models.
    let all = [machine, limits::memory_limit()].into_iter().flatten().min().unwrap_or(1 << 30);
    all / 2
}

/// Resident bytes of this process; 0 where the kernel does not tell.
#[must_use]
pub fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kilobytes = text.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kilobytes.unwrap_or(0) << 10
}

/// Who holds how much. Shared by all engines of a process.
#[derive(Debug)]
pub struct Budget {
    limit: u64,
    used: Mutex<u64>,
}

/// A share of the budget, given back when dropped.
#[derive(Debug)]
pub struct Share {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut used = self.budget.lock();
        *used = used.saturating_sub(self.bytes);
    }
}

impl Budget {
    /// With `limit` bytes.
    #[must_use]
    pub fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self { limit, used: Mutex::new(0) })
    }

    fn lock(&self) -> MutexGuard<'_, u64> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a share whatever the limit says: for what has to be.
    pub fn take(self: &Arc<Self>, bytes: u64) -> Share {
        *self.lock() += bytes;
        Share { budget: self.clone(), bytes }
    }

    /// Takes a share if there is room.
    ///
    /// # Errors
    /// What would be needed and what there is, for people.
    pub fn try_take(self: &Arc<Self>, bytes: u64) -> Result<Share, String> {
        let mut used = self.lock();
        if used.saturating_add(bytes) > self.limit {
            let mb = |bytes: u64| bytes.div_ceil(1 << 20);
            return Err(format!(
                "it needs about {} MB, and {} of the {} MB for engines are taken; raise ENGINE_MEMORY_MB",
                mb(bytes),
                mb(*used),
                mb(self.limit)
            ));
        }
        *used += bytes;
        Ok(Share { budget: self.clone(), bytes })
    }

    /// Bytes that are held.
    #[must_use]
    pub fn used(&self) -> u64 {
        *self.lock()
    }

    /// Bytes that may be held.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.limit
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_has_to_be_is_taken_what_may_be_only_within_the_limit_and_all_comes_back() {
        let budget = Budget::new(100 << 20);
        let first = budget.take(80 << 20);
        let refused = budget.try_take(30 << 20).unwrap_err();
        assert!(refused.contains("30 MB") && refused.contains("80 of the 100 MB"), "{refused}");
        let second = budget.try_take(20 << 20).unwrap();
        assert_eq!(budget.used(), 100 << 20);
        drop(first);
        assert!(budget.try_take(80 << 20).is_ok(), "given back at once");
        drop(second);
        assert_eq!(budget.used(), 0);
        let forced = budget.take(200 << 20);
        assert!(budget.try_take(1).is_err());
        drop(forced);
    }

    #[test]
    fn the_process_and_the_machine_have_a_size() {
        assert!(resident() > 1 << 20);
        assert!(allowed() > 1 << 20);
    }
}
