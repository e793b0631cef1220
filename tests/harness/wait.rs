//! Waiting on conditions.

use std::time::{Duration, Instant};

/// Asks `look` until it answers something, for at most two minutes: these machines are shared, and a deadline that is never
/// reached costs nothing.
///
/// # Panics
/// When the deadline passes: `what` is what did not happen.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "did not happen within two minutes: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
