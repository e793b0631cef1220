//! Other binaries of ours as children: found beside this one, in a process group of their own, never left behind.
//!
//! Terminal signals reach the parent only (own process group), which then ends its children in the order that it wants. If the
//! parent is killed the kernel sends them SIGTERM (`PR_SET_PDEATHSIG`). **That signal is bound to the thread that spawned:** spawn
//! from a thread that lives as long as the child should, such as the main one.

mod output;
mod spec;

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid};

pub use output::Stream;
pub use spec::{Spec, find};

/// How long the last lines of a child that has ended are waited for; a grandchild may hold the pipe open for ever.
const LAST_LINES: Duration = Duration::from_millis(500);

/// A child could not be found, started or signalled.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// No such binary beside this one nor in `PATH`.
    #[error("{name} was not found in {} nor in PATH; build it (`make build`) or install it beside `edgeloop`", beside.display())]
    NotFound {
        /// The binary's name.
        name: String,
        /// The folder that was searched first.
        beside: PathBuf,
    },
    /// The operating system refused.
    #[error("{name}: cannot start {}", program.display())]
    Spawn {
        /// The child's name.
        name: String,
        /// What was to be started.
        program: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The operating system refused.
    #[error("{name}: cannot send signal to process {pid}")]
    Signal {
        /// The child's name.
        name: String,
        /// Its process id.
        pid: u32,
        /// Why not.
        source: std::io::Error,
    },
}

/// How [`Child::terminate`] went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// How the child ended.
    pub status: ExitStatus,
    /// It outlived its grace and was killed.
    pub killed: bool,
}

/// A running (or ended, and then already reaped) child. Dropping it kills what still runs.
#[derive(Debug)]
pub struct Child {
    name: String,
    pid: Pid,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    status: Mutex<Option<ExitStatus>>,
    ended: Condvar,
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Option<ExitStatus>> {
        // The guarded value is one Option that is written whole.
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Child {
    /// Starts what `spec` describes.
    ///
    /// # Errors
    /// [`ChildError::Spawn`] when the operating system refuses.
    pub fn spawn(spec: Spec) -> Result<Child, ChildError> {
        Self::spawn_then(spec, |_| ())
    }

    /// Like [`Child::spawn`]; `ended` is called once, on another thread, when the child has ended and its output is through.
    ///
    /// # Errors
    /// [`ChildError::Spawn`] when the operating system refuses.
    pub fn spawn_then(spec: Spec, ended: impl FnOnce(ExitStatus) + Send + 'static) -> Result<Child, ChildError> {
        let Spec { name, program, mut command, nice, on_line } = spec;
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let parent = rustix::process::getpid().as_raw_nonzero().get();
        // SAFETY: between fork and exec only async-signal-safe calls are made (prctl, getppid, getpriority, setpriority) and
        // nothing is allocated.
        unsafe { command.pre_exec(move || prepare(parent, nice)) };
        let fail = |source| ChildError::Spawn { name: name.clone(), program: program.clone(), source };
        let mut process = command.spawn().map_err(fail)?;
        let pid = Pid::from_child(&process);
        let (done, through) = mpsc::channel::<()>();
        let pipes = [
            process.stdout.take().map(|pipe| output::pump(pipe, Stream::Stdout, on_line.clone(), done.clone())),
            process.stderr.take().map(|pipe| output::pump(pipe, Stream::Stderr, on_line, done)),
        ];
        let state = Arc::new(State::default());
        let waiter = state.clone();
        let wait = move || {
            // Looked at before it is reaped, under the lock: until the status is written the pid cannot be reused, so a signal
            // never hits a stranger.
            while matches!(waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT), Err(rustix::io::Errno::INTR)) {}
            // Every pump drops its sender at the end of its pipe.
            let deadline = Instant::now() + LAST_LINES;
            while through.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_ok() {}
            let mut status = waiter.lock();
            // It cannot fail after `waitid` has seen the child; if it did, "ended well" would be a lie.
            let end = process.wait().unwrap_or_else(|_| ExitStatus::from_raw(255 << 8));
            *status = Some(end);
            drop(status);
            waiter.ended.notify_all();
            ended(end);
        };
        let spawned = pipes
            .into_iter()
            .flatten()
            .collect::<std::io::Result<Vec<_>>>()
            .and_then(|_| std::thread::Builder::new().name(format!("wait-{name}")).stack_size(128 << 10).spawn(wait));
        if let Err(source) = spawned {
            let _ = kill_process_group(pid, Signal::KILL);
            return Err(fail(source));
        }
        Ok(Child { name, pid, state })
    }

    /// The name that it was given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id, which is its process group's too.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// How it ended, or `None` while it runs.
    #[must_use]
    pub fn status(&self) -> Option<ExitStatus> {
        *self.state.lock()
    }

    /// Waits until it ends.
    #[must_use]
    pub fn wait(&self) -> ExitStatus {
        loop {
            if let Some(status) = self.wait_for(Duration::from_secs(3600)) {
                return status;
            }
        }
    }

    /// Waits until it ends, at most so long.
    #[must_use]
    pub fn wait_for(&self, limit: Duration) -> Option<ExitStatus> {
        let status = self.state.lock();
        let wait = self.state.ended.wait_timeout_while(status, limit, |status| status.is_none());
        *wait.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Sends SIGTERM; nothing when it has ended.
    ///
    /// # Errors
    /// [`ChildError::Signal`] when the operating system refuses.
    pub fn ask_to_stop(&self) -> Result<(), ChildError> {
        // To the child alone: what it started is its own to end.
        self.send(|pid| kill_process(pid, Signal::TERM))
    }

    /// SIGTERM, then SIGKILL to the whole group when it outlives `grace`.
    ///
    /// # Errors
    /// [`ChildError::Signal`] when the operating system refuses.
    pub fn terminate(&self, grace: Duration) -> Result<Stopped, ChildError> {
        self.ask_to_stop()?;
        if let Some(status) = self.wait_for(grace) {
            return Ok(Stopped { status, killed: false });
        }
        self.kill()?;
        Ok(Stopped { status: self.wait(), killed: true })
    }

    /// SIGKILL to the whole group; nothing when the child has ended.
    ///
    /// # Errors
    /// [`ChildError::Signal`] when the operating system refuses.
    pub fn kill(&self) -> Result<(), ChildError> {
        self.send(|pid| kill_process_group(pid, Signal::KILL))
    }

    fn send(&self, signal: impl Fn(Pid) -> rustix::io::Result<()>) -> Result<(), ChildError> {
        let status = self.state.lock();
        if status.is_some() {
            return Ok(());
        }
        signal(self.pid).map_err(|error| ChildError::Signal { name: self.name.clone(), pid: self.pid(), source: error.into() })
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

fn prepare(parent: i32, nice: i32) -> std::io::Result<()> {
    // SAFETY: plain system calls on integers.
    unsafe {
        if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) != 0 {
            return Err(std::io::Error::last_os_error());
        }
        if libc::getppid() != parent {
            // The parent died before the line above: nobody would ever end this child.
            return Err(std::io::Error::from_raw_os_error(libc::ESRCH));
        }
        // Relative, as the shell's `nice` does it: under a niced `up` an absolute number would be lower, which is refused. Raising
        // cannot fail, and -1 may be the new niceness.
        libc::nice(nice);
    }
    Ok(())
}
