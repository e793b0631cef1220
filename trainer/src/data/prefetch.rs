//! Work done ahead of its consumer on a few threads, handed over in order, never further ahead than asked.

use super::error::DataError;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread::JoinHandle,
};

type Made<T> = Result<T, DataError>;
type Make<T> = dyn Fn(usize) -> Made<T> + Send + Sync;

/// `make(0)`, `make(1)`, … `make(total - 1)`, in this order. Ends after the first error.
pub struct Prefetch<T> {
    make: Arc<Make<T>>,
    total: usize,
    next: usize,
    asked: usize,
    early: BTreeMap<usize, Made<T>>,
    jobs: Option<Sender<usize>>,
    todo: Receiver<usize>,
    done: Receiver<(usize, Made<T>)>,
    threads: Vec<JoinHandle<()>>,
}

impl<T: Send + 'static> Prefetch<T> {
    /// Starts `workers` threads; with none (or where the system gives none) the consumer's own thread does the work.
    pub fn new(total: usize, workers: usize, make: Arc<Make<T>>) -> Self {
        // Two for each worker: one in the making, one ready. Both channels hold all that is ever asked for, so no one blocks on sending.
        let ahead = workers.saturating_mul(2).clamp(1, 64);
        let (jobs, todo) = bounded::<usize>(ahead);
        let (made, done) = bounded(ahead);
        let threads: Vec<_> = (0..workers.min(total).min(ahead))
            .filter_map(|number| {
                let (make, todo, made) = (make.clone(), todo.clone(), made.clone());
                let work = move || {
                    for job in todo {
                        let result =
                            catch_unwind(AssertUnwindSafe(|| make(job))).unwrap_or_else(|panic| Err(DataError::Worker(words(&*panic))));
                        if made.send((job, result)).is_err() {
                            return;
                        }
                    }
                };
                std::thread::Builder::new().name(format!("data-{number}")).spawn(work).ok()
            })
            .collect();
        let jobs = (!threads.is_empty()).then_some(jobs);
        let mut this = Self { make, total, next: 0, asked: 0, early: BTreeMap::new(), jobs, todo, done, threads };
        (0..ahead).for_each(|_| this.ask());
        this
    }

    fn ask(&mut self) {
        if let Some(jobs) = self.jobs.as_ref().filter(|_| self.asked < self.total)
            && jobs.send(self.asked).is_ok()
        {
            self.asked += 1;
        }
    }

    fn take(&mut self) -> Made<T> {
        if self.jobs.is_none() {
            return (self.make)(self.next);
        }
        while !self.early.contains_key(&self.next) {
            let Ok((number, made)) = self.done.recv() else { return Err(DataError::Worker("all loader threads are gone".to_owned())) };
            self.early.insert(number, made);
        }
        self.early.remove(&self.next).unwrap_or_else(|| Err(DataError::Worker("a batch was lost".to_owned())))
    }
}

impl<T: Send + 'static> Iterator for Prefetch<T> {
    type Item = Made<T>;

    fn next(&mut self) -> Option<Made<T>> {
        if self.next >= self.total {
            return None;
        }
        let made = self.take();
        self.next = if made.is_ok() { self.next + 1 } else { self.total };
        self.ask();
        Some(made)
    }
}

impl<T> Drop for Prefetch<T> {
    fn drop(&mut self) {
        // A consumer that leaves early waits for what is in the making, not for what is still to be made. What the threads
        // send meanwhile fits into the channel.
        self.jobs = None;
        while self.todo.try_recv().is_ok() {}
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "panic".to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn the_order_is_kept_for_any_number_of_workers() {
        for workers in [0, 1, 2, 7] {
            let all: Vec<usize> = Prefetch::new(100, workers, Arc::new(Ok)).map(Result::unwrap).collect();
            assert_eq!(all, (0..100).collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_is_ready_early_waits_for_its_turn() {
        let (ready, is_ready) = bounded(1);
        let make = move |number: usize| {
            match number {
                // Number 0 is not made before number 1 is.
                0 => is_ready.recv_timeout(std::time::Duration::from_secs(60)).unwrap(),
                1 => ready.send(()).unwrap(),
                _ => {}
            }
            Ok(number)
        };
        let all: Vec<usize> = Prefetch::new(5, 2, Arc::new(make)).map(Result::unwrap).collect();
        assert_eq!(all, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn no_more_is_made_than_two_a_worker_ahead() {
        let made = Arc::new(AtomicUsize::new(0));
        let count = made.clone();
        let mut ahead = Prefetch::new(1_000, 2, Arc::new(move |number| Ok((number, count.fetch_add(1, Ordering::SeqCst)))));
        for taken in 1..=50 {
            assert!(ahead.next().unwrap().is_ok());
            assert!(made.load(Ordering::SeqCst) <= taken + 4);
        }
        drop(ahead);
        assert!(made.load(Ordering::SeqCst) <= 54);
    }

    #[test]
    fn a_panic_is_an_error_and_the_end() {
        let mut items = Prefetch::new(10, 2, Arc::new(|number| if number == 3 { panic!("number three") } else { Ok(number) }));
        let errors: Vec<_> = items.by_ref().skip(3).collect();
        assert!(matches!(&errors[..], [Err(DataError::Worker(why))] if why == "number three"), "{errors:?}");
    }
}
