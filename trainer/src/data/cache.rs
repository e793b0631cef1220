//! Decoded pictures in memory, within a budget.
//!
//! Epochs visit every image once in a new order: with less room than images, throwing out the oldest would throw out each
//! one just before it is wanted again. So three quarters of the budget go to whichever images come first and stay, and a
//! quarter to the most recent others, which a mosaic draws its partners from. What has no room here lies in [`disk`].

pub mod disk;

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Values by image number.
pub struct Cache<T> {
    kept: Vec<OnceLock<Arc<T>>>,
    room: AtomicUsize,
    recent: Mutex<Recent<T>>,
}

struct Recent<T> {
    values: HashMap<usize, (Arc<T>, usize)>,
    order: VecDeque<usize>,
    bytes: usize,
    budget: usize,
}

impl<T> Cache<T> {
    /// A cache for `count` images.
    pub fn new(count: usize, budget: usize) -> Self {
        let recent = Recent { values: HashMap::new(), order: VecDeque::new(), bytes: 0, budget: budget / 4 };
        Self {
            kept: (0..count).map(|_| OnceLock::new()).collect(),
            room: AtomicUsize::new(budget - recent.budget),
            recent: Mutex::new(recent),
        }
    }

    /// The value of image `index`: a kept one, or what `make` makes, with its size in bytes. Two threads may make the same one
    /// at the same time; nobody waits for another.
    pub fn get<E>(&self, index: usize, make: impl FnOnce() -> Result<(T, usize), E>) -> Result<Arc<T>, E> {
        if let Some(value) = self.kept[index].get() {
            return Ok(value.clone());
        }
        if let Some((value, _)) = self.recent().values.get(&index) {
            return Ok(value.clone());
        }
        let (value, bytes) = make()?;
        let value = Arc::new(value);
        let take = |room: usize| room.checked_sub(bytes);
        if self.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_err() {
            self.recent().put(index, value.clone(), bytes);
        } else if self.kept[index].set(value.clone()).is_err() {
            self.room.fetch_add(bytes, Ordering::Relaxed);
        }
        Ok(value)
    }

    fn recent(&self) -> std::sync::MutexGuard<'_, Recent<T>> {
        // The map is consistent between any two statements that can panic: there are none.
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Recent<T> {
    fn put(&mut self, index: usize, value: Arc<T>, bytes: usize) {
        if bytes > self.budget || self.values.contains_key(&index) {
            return;
        }
        while self.bytes + bytes > self.budget {
            let Some(oldest) = self.order.pop_front() else { break };
            self.bytes -= self.values.remove(&oldest).map_or(0, |(_, bytes)| bytes);
        }
        self.bytes += bytes;
        self.values.insert(index, (value, bytes));
        self.order.push_back(index);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use std::convert::Infallible;

    fn made(cache: &Cache<usize>, index: usize) -> bool {
        let mut made = false;
        let make = || {
            made = true;
            Ok::<_, Infallible>((index * 10, 10))
        };
        assert_eq!(*cache.get(index, make).unwrap(), index * 10);
        made
    }

    #[test]
    fn with_room_for_all_each_is_made_once() {
        let cache = Cache::new(5, 1_000);
        assert!((0..5).all(|index| made(&cache, index)));
        assert!(!(0..5).any(|index| made(&cache, index)));
    }

    #[test]
    fn without_room_the_first_stay_and_the_latest_pass_through() {
        // 80 bytes: six of 10 are kept, two pass through.
        let cache = Cache::new(20, 80);
        (0..20).for_each(|index| assert!(made(&cache, index)));
        assert!(!(0..6).any(|index| made(&cache, index)));
        assert!(!made(&cache, 18) && !made(&cache, 19));
        assert!(made(&cache, 6) && !made(&cache, 6));
        assert!(made(&cache, 18));
    }

    #[test]
    fn a_budget_of_nothing_keeps_nothing_and_errors_are_passed_on() {
        let cache = Cache::new(1, 0);
        assert!(made(&cache, 0) && made(&cache, 0));
        assert_eq!(cache.get(0, || Err::<(usize, usize), _>("gone")).unwrap_err(), "gone");
    }
}
