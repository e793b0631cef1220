//! A candidate is tried in a process of its own before the serving process loads it.
//!
//! ```text
//! start (exec, at once) ─► the model, as soon as it is hashed ─► «loaded» ─► run on a check image ─► verdict
//!   the store is read and hashed meanwhile …    … the check file, too …       … the parent may load it now …
//! ```
//!
//! ONNX Runtime and OpenVINO parse models in C++ inside the process that loads them: a file that makes them crash, hang or eat
//! all memory would take the serving process along. Here it takes a child, and the reason is known. What the child is given
//! are the very bytes that were hashed and that are loaded afterwards; it has no file, no socket and no variable of ours but
//! the places of the engines' libraries.

pub mod child;
mod failure;
mod frame;

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use edgeloop_engine::Device;
use edgeloop_engine::library::{self, ONNX_RUNTIME, OPENVINO};
use edgeloop_service::limits;
use edgeloop_service::shutdown::Shutdown;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, WaitOptions, waitpid};
use serde::Serialize;

use crate::engines::budget;
use crate::engines::check::CheckSet;
use crate::engines::kind::Kind;
use crate::engines::shapes::Shape;
use failure::describe;
pub use failure::{Bad, TrialError};
use frame::{Header, Verdict};

/// The variables that a child gets as they are, beside the places of the engines' libraries.
const VARIABLES: [&str; 2] = ["LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES"];
/// How often a waiting parent looks whether it is to stop.
const SLICE: Duration = Duration::from_millis(200);
/// Longest verdict: a reason is a few lines.
const LONGEST_VERDICT: usize = 64 << 10;
/// As much of what a child printed is told when it crashed.
const LONGEST_LAST_WORDS: u64 = 400;

/// How candidates are tried.
#[derive(Debug, Clone)]
pub struct Trials {
    /// The program to start: this one.
    pub program: PathBuf,
    /// How long each step of a trial (load, run) may take.
    pub timeout: Duration,
    /// Bytes of memory that it may take; `None` reckons them from the model.
    pub memory: Option<u64>,
    /// Ends a trial that is under way.
    pub shutdown: Shutdown,
}

/// What is to be tried.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// With which engine.
    pub kind: Kind,
    /// With how many threads.
    pub threads: usize,
    /// In which input shapes: the first one is loaded, the others follow.
    pub shapes: &'a [Shape],
    /// The ONNX file, as it was hashed.
    pub onnx: &'a [u8],
}

/// A child: one that waits for its candidate, one that loads it, one that runs it. Dropping it kills it.
#[derive(Debug)]
pub struct Trial {
    /// There until it is dropped.
    child: Option<Child>,
    socket: UnixStream,
    /// What it is to try, and what it prints.
    given: File,
    printed: File,
    header: Option<Header>,
    /// What it has answered and nobody has read.
    said: Vec<u8>,
    until: Instant,
    timeout: Duration,
    memory: Option<u64>,
    shutdown: Shutdown,
}

impl Trials {
    /// Starts a child that makes ready for `device`, by `niceness` less important than serving. Early, because it takes a while until it
    /// can do anything.
    ///
    /// # Errors
    /// [`TrialError::Start`].
    pub fn start(&self, device: Device, niceness: i32) -> Result<Trial, TrialError> {
        let start = || -> io::Result<Trial> {
            let (socket, theirs) = UnixStream::pair()?;
            let memory_file = || memfd_create("candidate", MemfdFlags::CLOEXEC).map(File::from);
            let (given, printed) = (memory_file()?, memory_file()?);
            let child = Command::new(&self.program)
                .arg0("edgeloop-inferer")
                .arg(child::NAME)
                .arg(std::process::id().to_string())
                .arg(device.to_string())
                .arg(niceness.to_string())
                .env_clear()
                .envs(VARIABLES.iter().filter_map(|name| Some((*name, std::env::var_os(name)?))))
                .envs(libraries())
                .current_dir("/")
                .stdin(Stdio::from(OwnedFd::from(theirs)))
                .stdout(given.try_clone()?)
                .stderr(printed.try_clone()?)
                .spawn()?;
            let Self { program: _, timeout, memory, shutdown } = self.clone();
            Ok(Trial {
                child: Some(child),
                socket,
                given,
                printed,
                header: None,
                said: Vec::new(),
                until: Instant::now() + timeout,
                timeout,
                memory,
                shutdown,
            })
        };
        start().map_err(TrialError::Start)
    }
}

/// The engines' libraries as this process finds them: a child may have no executable to look beside.
fn libraries() -> impl Iterator<Item = (&'static str, PathBuf)> {
    [ONNX_RUNTIME, OPENVINO].into_iter().filter_map(|library| Some((library.variable, library::find(library).ok()?)))
}

/// What a trial may take beside the libraries: the file parsed, optimised and packed (3 to 5 times its size were seen), 1 KB for
/// each input pixel in activations and the check image (an n model takes 100 bytes, an x model 500, the image and its outputs 60), stacks
/// and arenas of its threads, and a margin. Where a cgroup sets a limit, never more than is left of that: then the candidate fails here,
/// and not the server later.
fn memory_for(candidate: &Candidate<'_>, limit: Option<u64>, own: u64) -> u64 {
    let wanted = (512_u64 << 20)
        .saturating_add(8 * candidate.onnx.len() as u64)
        .saturating_add(candidate.shapes.iter().map(|shape| shape.pixels()).sum::<u64>().saturating_mul(1024))
        .saturating_add((candidate.threads as u64) * (16 << 20));
    limit.map_or(wanted, |limit| wanted.min(limit.saturating_sub(own)).max(64 << 20))
}

impl Trial {
    /// Hands the candidate over; the child begins to load it.
    ///
    /// # Errors
    /// [`TrialError`] when the child has gone.
    pub fn give(&mut self, candidate: &Candidate<'_>) -> Result<(), TrialError> {
        let memory = self.memory.unwrap_or_else(|| memory_for(candidate, limits::memory_limit(), budget::resident()));
        // A busy candidate may take the time limit on every core; more than twice of that is a clock that went wrong.
        let seconds = (2.0 * self.timeout.as_secs_f64() * candidate.threads as f64).ceil() as u64;
        let header = Header::new(candidate, memory, seconds);
        self.given.write_all_at(candidate.onnx, 0).map_err(TrialError::Start)?;
        self.send(&header)?;
        self.header = Some(header);
        Ok(())
    }

    /// Whether it has not been given a candidate yet.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.header.is_none()
    }

    /// Whether it has been given such a candidate.
    #[must_use]
    pub fn has(&self, kind: Kind, threads: usize, shapes: &[Shape]) -> bool {
        self.header.as_ref().is_some_and(|given| (given.kind, given.threads, &*given.shapes) == (kind, threads, shapes))
    }

    /// Hands over what the candidate must reproduce, and waits until it is loaded.
    ///
    /// # Errors
    /// [`TrialError`] without a verdict; `Ok(Err(bad))` is the child's «no».
    pub fn loaded(&mut self, check: &CheckSet) -> Result<Result<(), Bad>, TrialError> {
        let Some(header) = &self.header else { return Err(self.crashed()) };
        header.write_check(check, &self.given).map_err(TrialError::Start)?;
        self.send(&check.parts().0)?;
        self.verdict(Verdict::Loaded)
    }

    /// Waits until a loaded candidate has run.
    ///
    /// # Errors
    /// As [`loaded`](Self::loaded).
    pub fn good(mut self) -> Result<Result<(), Bad>, TrialError> {
        self.verdict(Verdict::Good)
    }

    fn send(&mut self, head: &impl Serialize) -> Result<(), TrialError> {
        self.until = Instant::now() + self.timeout;
        let sent = frame::head(head).and_then(|head| self.write(&head));
        sent.map_err(|error| self.without_verdict(&error))
    }

    fn verdict(&mut self, wanted: Verdict) -> Result<Result<(), Bad>, TrialError> {
        self.until = Instant::now() + self.timeout;
        match self.answer() {
            Ok(Some(Verdict::Engine(reason))) => Ok(Err(Bad::Engine(reason))),
            Ok(Some(Verdict::Check(reason))) => Ok(Err(Bad::Check(reason))),
            Ok(Some(verdict)) if verdict == wanted => Ok(Ok(())),
            Ok(_) => Err(self.crashed()),
            Err(error) => Err(self.without_verdict(&error)),
        }
    }

    fn without_verdict(&mut self, error: &io::Error) -> TrialError {
        match error.kind() {
            ErrorKind::TimedOut => TrialError::Hung(self.timeout),
            ErrorKind::Interrupted => TrialError::Stopping,
            // A broken pipe: it went while it was written to.
            _ => self.crashed(),
        }
    }

    fn write(&mut self, mut rest: &[u8]) -> io::Result<()> {
        while !rest.is_empty() {
            self.socket.set_write_timeout(Some(self.slice()?))?;
            match self.socket.write(rest) {
                Ok(0) => return Err(ErrorKind::BrokenPipe.into()),
                Ok(written) => rest = &rest[written..],
                Err(error) if passes(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The next verdict, or `None` when the child went without one. Two may come at once.
    fn answer(&mut self) -> io::Result<Option<Verdict>> {
        let mut buffer = [0; 4096];
        loop {
            if let Some(end) = self.said.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.said.drain(..=end).collect();
                return Ok(serde_json::from_slice(&line).ok());
            }
            if self.said.len() > LONGEST_VERDICT {
                return Ok(None);
            }
            self.socket.set_read_timeout(Some(self.slice()?))?;
            match self.socket.read(&mut buffer) {
                Ok(0) => return Ok(None),
                Ok(read) => self.said.extend_from_slice(&buffer[..read]),
                Err(error) if passes(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// How long the next call may block: never past the deadline, and never so long that a stop is not seen.
    fn slice(&self) -> io::Result<Duration> {
        if self.shutdown.is_cancelled() {
            return Err(ErrorKind::Interrupted.into());
        }
        match self.until.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(ErrorKind::TimedOut.into()),
            left => Ok(left.min(SLICE)),
        }
    }

    fn crashed(&mut self) -> TrialError {
        // It may still be on its way out, or have closed its end and go on for ever.
        let until = Instant::now() + Duration::from_secs(1);
        let status = loop {
            match self.child.as_mut().map(Child::try_wait) {
                Some(Ok(Some(status))) => break Some(status),
                Some(Ok(None)) if Instant::now() < until => std::thread::sleep(Duration::from_millis(2)),
                _ => break None,
            }
        };
        TrialError::Crashed { how: describe(status), said: self.last_words() }
    }

    fn last_words(&mut self) -> String {
        let mut text = Vec::new();
        let end = self.printed.seek(SeekFrom::End(0)).unwrap_or(0);
        let _ = self.printed.seek(SeekFrom::Start(end.saturating_sub(LONGEST_LAST_WORDS)));
        let _ = (&self.printed).take(LONGEST_LAST_WORDS).read_to_end(&mut text);
        String::from_utf8_lossy(&text).split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        // Its verdict is all that it was for: its engine need not be taken down in order. The kernel takes tens of milliseconds to take
        // its memory back; nobody waits for that but a thread of its own.
        let Some(mut child) = self.child.take() else { return };
        let _ = child.kill();
        let id = child.id();
        if std::thread::Builder::new().name("reaper".into()).spawn(move || child.wait()).is_err() {
            let _ = waitpid(Pid::from_raw(id as i32), WaitOptions::empty());
        }
    }
}

/// Errors of a socket with a time-out that only mean «not yet».
fn passes(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests;
