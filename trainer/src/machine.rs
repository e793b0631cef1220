//! This process and the machine: threads, and how they wait for each other.
//!
//! libtorch's OpenMP threads spin while they wait, for milliseconds by default. On cores of their own that is right; where
//! something else needs the same cores, a spinning thread takes the time that the one it waits for would use, and a training
//! comes to a halt (0.85 images/s instead of 80). Asleep at once, they lose a quarter of the speed to waking up (60 images/s).
//! Some 2,000 rounds, tens of microseconds, are long enough for the usual wait (89 images/s, 83 by default) and too short to hurt
//! (with 3,000: 14 images/s beside one busy thread on two cores, where both others finish no epoch). OpenMP reads the number once, when the library is
//! loaded, so the process has to begin again to change it.
//!
//! A step's tensors are megabytes each. On pages of 2 MiB instead of 4 KiB (glibc asks the kernel for them where its tunable says so, and
//! also reads that only when it is loaded) a step takes 3 to 12 % less time; 3 % more memory.

use std::{env::var_os, os::unix::process::CommandExt, process::Command};

const POLICY: &str = "OMP_WAIT_POLICY";
const SPINS: &str = "GOMP_SPINCOUNT";
const ROUNDS: &str = "2000";
const MALLOC: &str = "GLIBC_TUNABLES";
const HUGE_PAGES: &str = "glibc.malloc.hugetlb=1";
/// Set for the second beginning, whatever becomes of the others: the dynamic loader drops tunables of programs with file capabilities.
const SETTLED: &str = "EDGELOOP_TRAINER_SETTLED";

/// What to set: only what nobody else has, as `is_set` says; nothing a second time.
fn ours_to_choose(is_set: impl Fn(&str) -> bool) -> Vec<(&'static str, &'static str)> {
    let mut chosen = Vec::new();
    if is_set(SETTLED) {
        return chosen;
    }
    if !is_set(POLICY) && !is_set(SPINS) {
        chosen.push((SPINS, ROUNDS));
    }
    if !is_set(MALLOC) {
        chosen.push((MALLOC, HUGE_PAGES));
    }
    chosen
}

/// Begins again, in place, where threads are to wait or memory is to be had otherwise. Call it first: nothing must be open or locked.
pub fn settle() {
    let chosen = ours_to_choose(|name| var_os(name).is_some());
    if chosen.is_empty() {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    let mut args = std::env::args_os();
    let name = args.next().unwrap_or_else(|| program.clone().into_os_string());
    // Only comes back when it could not be done; then training is slower, not wrong.
    let error = Command::new(program).arg0(name).args(args).envs(chosen).env(SETTLED, "1").exec();
    tracing::warn!("cannot start again with {SPINS}={ROUNDS} and {MALLOC}={HUGE_PAGES} ({error}): training will be slow beside other work");
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
    fn what_somebody_has_set_stays() {
        let with = |set: &'static [&str]| ours_to_choose(move |name| set.contains(&name));
        assert_eq!(with(&[]), [(SPINS, ROUNDS), (MALLOC, HUGE_PAGES)]);
        assert_eq!(with(&[POLICY]), [(MALLOC, HUGE_PAGES)]);
        assert_eq!(with(&[SPINS, MALLOC]), []);
        assert_eq!(with(&[SETTLED]), []);
    }
}
