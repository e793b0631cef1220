//! This process and the machine: threads, and how they wait for each other.
//!
//! libtorch's OpenMP threads spin while they wait. On cores of their own that is right; where something else needs the same
//! cores, a spinning thread takes the time that the one it waits for would use: a step took 5.1 s instead of 0.9 s beside one
//! busy thread. OpenMP reads its policy once, when the library is loaded, so the process has to begin again to change it.

use std::{ffi::OsStr, os::unix::process::CommandExt, process::Command};

use crate::settings::Resources;

const POLICY: &str = "OMP_WAIT_POLICY";

/// How OpenMP threads should wait, or `None` to leave it: somebody set it, or the cores are ours.
fn wanted_policy(share_cores: bool, nice: i32, set: Option<&OsStr>) -> Option<&'static str> {
    // Who niced us said that others matter more.
    (set.is_none() && (share_cores || nice > 0)).then_some("PASSIVE")
}

/// Begins again, in place, where the waiting policy must be another. Call it first: nothing must be open or locked.
pub fn settle(resources: &Resources) {
    let nice = rustix::process::getpriority_process(None).unwrap_or(0);
    let Some(policy) = wanted_policy(resources.share_cores, nice, std::env::var_os(POLICY).as_deref()) else { return };
    let Ok(program) = std::env::current_exe() else { return };
    let mut args = std::env::args_os();
    let name = args.next().unwrap_or_else(|| program.clone().into_os_string());
    // Only comes back when it could not be done; then training is slower, not wrong.
    let error = Command::new(program).arg0(name).args(args).env(POLICY, policy).exec();
    tracing::warn!("cannot start again with {POLICY}={policy} ({error}): training beside other work will be slow");
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
    fn threads_spin_only_on_cores_of_their_own() {
        assert_eq!(wanted_policy(false, 0, None), None);
        assert_eq!(wanted_policy(true, 0, None), Some("PASSIVE"));
        assert_eq!(wanted_policy(false, 10, None), Some("PASSIVE"));
        assert_eq!(wanted_policy(true, 10, Some(OsStr::new("ACTIVE"))), None);
        assert_eq!(wanted_policy(true, 10, Some(OsStr::new("PASSIVE"))), None);
    }
}
