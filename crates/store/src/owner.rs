//! Who holds a lock, and whether that process can be proved dead from here.

use std::fmt;
use std::fs;

use rustix::process::{Pid, getpid, test_kill_process};
use serde::{Deserialize, Serialize};

/// A process, named well enough that another one can tell whether it still exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Program or person: `edgeloop-trainer`, `edgeloop models`.
    pub name: String,
    /// Host name (in Kubernetes: the pod's).
    pub host: String,
    /// Process number in its own namespace.
    pub pid: u32,
    /// The kernel's boot id: process numbers mean something within one boot only.
    pub boot_id: String,
    /// The process-number namespace: two pods on one node share the boot id and not the numbers.
    pub pid_ns: String,
    /// Start of the process in clock ticks since boot: a number that is used again is another process.
    pub started: u64,
}

/// Bytes of a text in a lock's record. A boot id has 36, a host name at most 64.
const LONGEST: usize = 128;

impl Owner {
    /// This process under the given name.
    #[must_use]
    pub fn current(name: &str) -> Self {
        let pid = getpid().as_raw_nonzero().get().unsigned_abs();
        Self {
            name: name.to_owned(),
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            pid,
            boot_id: fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned(),
            pid_ns: fs::read_link("/proc/self/ns/pid").map(|path| path.to_string_lossy().into_owned()).unwrap_or_default(),
            started: start_ticks(pid).unwrap_or(0),
        }
    }

    /// The same, short enough for a lock's record, which is one block of fixed size.
    pub(crate) fn fitting(&self) -> Self {
        let Self { name, host, pid, boot_id, pid_ns, started } = self;
        Self { name: cut(name), host: cut(host), pid: *pid, boot_id: cut(boot_id), pid_ns: cut(pid_ns), started: *started }
    }

    /// True only when this machine's kernel says so: same boot, same process namespace, and the process is gone or its number
    /// belongs to another one. Anything less than proof is `false`, and the watcher waits for the heartbeat instead.
    #[must_use]
    pub fn is_provably_dead(&self, watcher: &Self) -> bool {
        let comparable =
            !self.boot_id.is_empty() && !self.pid_ns.is_empty() && self.boot_id == watcher.boot_id && self.pid_ns == watcher.pid_ns;
        if !comparable {
            return false;
        }
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else {
            return false;
        };
        // The signal is asked first: /proc may hide other users' processes (hidepid), kill(2) does not.
        match test_kill_process(pid) {
            Err(rustix::io::Errno::SRCH) => true,
            _ => self.started != 0 && start_ticks(self.pid).is_some_and(|now| now != self.started),
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (process {} on {})", self.name, self.pid, self.host)
    }
}

fn cut(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .scan(0, |bytes, c| {
            *bytes += c.len_utf8();
            (*bytes <= LONGEST).then_some(c)
        })
        .collect()
}

/// Field 22 of `/proc/PID/stat`. The command (field 2) may hold spaces and brackets: count from the last one.
fn start_ticks(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::process::Command;

    fn of_dead_child() -> Owner {
        let mut child = Command::new("true").spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        Owner { pid, started: 1, ..Owner::current("child") }
    }

    #[test]
    fn a_process_that_ended_on_this_machine_is_provably_dead() {
        assert!(of_dead_child().is_provably_dead(&Owner::current("watcher")));
    }

    #[test]
    fn a_living_process_is_not() {
        let me = Owner::current("me");
        assert!(me.started > 0);
        assert!(!me.is_provably_dead(&Owner::current("watcher")));
    }

    #[test]
    fn a_number_that_now_belongs_to_another_process_proves_death() {
        let me = Owner::current("me");
        let earlier = Owner { started: me.started - 1, ..me.clone() };
        assert!(earlier.is_provably_dead(&me));
    }

    #[test]
    fn another_boot_or_another_namespace_proves_nothing() {
        let me = Owner::current("watcher");
        let dead = of_dead_child();
        assert!(!Owner { boot_id: "other".into(), ..dead.clone() }.is_provably_dead(&me));
        assert!(!Owner { pid_ns: "pid:[1]".into(), ..dead.clone() }.is_provably_dead(&me));
        assert!(!Owner { boot_id: String::new(), ..dead }.is_provably_dead(&Owner { boot_id: String::new(), ..me }));
    }
}
