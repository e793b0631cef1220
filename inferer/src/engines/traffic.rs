//! What goes on while a model is made, and how much the making gives way to it.

use edgeloop_service::limits;

/// Threads of a fifteenth of serving's share (weights 70 and 1,024): enough to come through on a saturated box (with 19 it would need half a minute for a load
/// of half a second), and what an open loop at 70 % of what the box can do hardly feels.
const NICE: i32 = 12;

/// What goes on while a model is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    /// Nothing serves: every millisecond is an unanswered request.
    Unserved,
    /// Another model serves, and no images come.
    Idle,
    /// Another model serves, and images come.
    Live,
}

impl Traffic {
    /// Whether there is somebody to give way to.
    #[must_use]
    pub fn gives_way(self) -> bool {
        self != Self::Unserved
    }

    /// How many cores may be taken.
    #[must_use]
    pub fn cores(self) -> usize {
        if self == Self::Live { 1 } else { limits::available_cpus() }
    }

    /// By how much a thread counts less than those that serve.
    #[must_use]
    pub fn niceness(self) -> i32 {
        if self.gives_way() { NICE } else { 0 }
    }

    /// Does `work` on a thread of its own that gives way: Linux counts niceness by thread, and nobody may raise his own again. Threads
    /// that `work` makes give way for ever.
    pub fn aside<T: Send>(self, work: impl FnOnce() -> T + Send) -> T {
        if !self.gives_way() {
            return work();
        }
        std::thread::scope(|scope| {
            let done = scope.spawn(|| {
                self.give_way();
                work()
            });
            match done.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// The calling thread gives way from now on.
    pub fn give_way(self) {
        // A refusal means the normal priority.
        let _ = rustix::process::nice(self.niceness());
    }
}
