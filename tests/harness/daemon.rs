//! Built binaries as child processes.

use std::{
    fs::File,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
};

use crate::wait_for;

/// The built binary `name`: cargo puts test executables one folder below them.
///
/// # Panics
/// When it is not built: `make build` comes before the tests.
pub fn binary(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a running test has an executable");
    let target = own.parent().and_then(Path::parent).expect("a test executable lies in target/<profile>/deps");
    let path = target.join(name);
    assert!(path.exists(), "{} is not built: run `make build` first", path.display());
    path
}

/// A loopback port that was free a moment ago.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    listener.local_addr().expect("a bound listener has an address").port()
}

/// Runs `name` with only the given settings to its end.
///
/// # Panics
/// When it cannot be started.
pub fn run_to_end(name: &str, args: &[&str], settings: &[(&str, &str)]) -> Output {
    let mut command = Command::new(binary(name));
    command.args(args).envs(settings.iter().copied()).stdin(Stdio::null());
    command.output().unwrap_or_else(|error| panic!("{name} does not start: {error}"))
}

/// A part that runs until it is told to stop. Its log is printed when the test fails.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts `name`; its output goes to `<name>.log` in `dir`.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(name: &str, dir: &Path, args: &[&str], settings: &[(&str, &str)]) -> Self {
        let log = dir.join(format!("{name}.log"));
        let file = File::create(&log).expect("the test's folder is writable");
        let mut command = Command::new(binary(name));
        command.args(args).envs(settings.iter().copied()).stdin(Stdio::null());
        command.stdout(file.try_clone().expect("a file handle can be copied")).stderr(file);
        let child = command.spawn().unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        Self { name: name.to_owned(), child, log }
    }

    /// Everything it has printed.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    ///
    /// # Panics
    /// When the kernel does not know the child.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// SIGTERM, and the wait for its end.
    pub fn terminate(&mut self) -> ExitStatus {
        let pid = rustix::process::Pid::from_child(&self.child);
        // It may have ended by itself: the status says so.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let name = self.name.clone();
        wait_for(&format!("{name} ends on SIGTERM"), || self.ended())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- {} ---\n{}", self.name, self.log());
        }
        // Ended already, mostly; a failed test must leave nothing behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
