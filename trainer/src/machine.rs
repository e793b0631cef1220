//! This process and the machine: threads, and how they wait for each other.
//!
//! libtorch's OpenMP threads spin while they wait, for milliseconds by default. On cores of their own that is right; where
//! something else needs the same cores, a spinning thread takes the time that the one it waits for would use, and a training
//! comes to a halt (0.85 images/s instead of 80). Asleep at once, they lose a quarter of the speed to waking up (60 images/s).
//! Some 2,000 rounds, tens of microseconds, are long enough for the usual wait (89 images/s, 83 by default) and too short to hurt
//! (with 3,000: 14 images/s beside one busy thread on two cores, where both others finish no epoch). OpenMP reads the number once, when the library is
//! loaded, so the process has to begin again to change it.

use std::{ffi::OsStr, os::unix::process::CommandExt, process::Command};

const POLICY: &str = "OMP_WAIT_POLICY";
const SPINS: &str = "GOMP_SPINCOUNT";
const ROUNDS: &str = "2000";

/// Whether OpenMP's waiting is ours to choose: nobody else has.
fn ours_to_choose(policy: Option<&OsStr>, spins: Option<&OsStr>) -> bool {
    policy.is_none() && spins.is_none()
}

/// Begins again, in place, where the threads are to wait otherwise. Call it first: nothing must be open or locked.
pub fn settle() {
    if !ours_to_choose(std::env::var_os(POLICY).as_deref(), std::env::var_os(SPINS).as_deref()) {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    let mut args = std::env::args_os();
    let name = args.next().unwrap_or_else(|| program.clone().into_os_string());
    // Only comes back when it could not be done; then training is slower, not wrong.
    let error = Command::new(program).arg0(name).args(args).env(SPINS, ROUNDS).exec();
    tracing::warn!("cannot start again with {SPINS}={ROUNDS} ({error}): training beside other work will be slow");
}

/// Whether somebody niced this process: others matter more.
pub fn is_niced() -> bool {
    rustix::process::getpriority_process(None).is_ok_and(|nice| nice > 0)
}

/// Sets the threads of libtorch, and keeps its memory: a step frees what the next one asks for again, and going through the
/// kernel for it (map, fault, zero, unmap) took 4 % of the time.
pub fn use_threads(threads: usize) {
    keep_freed_memory();
    edgeloop_torch::set_threads(threads);
}

fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt only sets numbers of the allocator; 32 MiB is the largest threshold that glibc takes.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 32 << 20);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 512 << 20);
        libc::mallopt(libc::M_TOP_PAD, 16 << 20);
    }
}

/// This machine's name, for the record.
pub fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_threads_wait_is_left_to_who_set_it() {
        assert!(ours_to_choose(None, None));
        assert!(!ours_to_choose(Some(OsStr::new("PASSIVE")), None));
        assert!(!ours_to_choose(None, Some(OsStr::new("100"))));
    }
}
