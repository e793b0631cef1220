use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use super::ChildError;
use super::output::{self, OnLine, Stream};

/// What to start and how. Its output goes line by line to ours, behind its name, unless [`Spec::on_line`] takes it.
pub struct Spec {
    pub(super) name: String,
    pub(super) program: PathBuf,
    pub(super) command: Command,
    pub(super) nice: i32,
    pub(super) on_line: OnLine,
}

impl Spec {
    /// `program` under the name `name`, with our environment, no arguments and no input.
    pub fn new(name: impl Into<String>, program: impl Into<PathBuf>) -> Self {
        let (name, program) = (name.into(), program.into());
        let prefix = name.clone();
        let on_line: OnLine = Arc::new(move |stream, line| output::print(&prefix, stream, line));
        Spec { command: Command::new(&program), name, program, nice: 0, on_line }
    }

    /// The binary `edgeloop-<name>`, wherever [`find`] finds it.
    ///
    /// # Errors
    /// [`ChildError::NotFound`].
    pub fn component(name: &str) -> Result<Self, ChildError> {
        Ok(Self::new(name, find(&format!("edgeloop-{name}"))?))
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.command.env(key, value);
        self
    }

    /// Hides one of our environment variables from the child.
    #[must_use]
    pub fn without_env(mut self, key: impl AsRef<OsStr>) -> Self {
        self.command.env_remove(key);
        self
    }

    /// Adds to the niceness: 10 yields the cores to whoever serves.
    #[must_use]
    pub fn nice(mut self, nice: i32) -> Self {
        self.nice = nice;
        self
    }

    /// Takes each line of output instead of printing it. Called from two threads, one a stream.
    #[must_use]
    pub fn on_line(mut self, take: impl Fn(Stream, &str) + Send + Sync + 'static) -> Self {
        self.on_line = Arc::new(take);
        self
    }
}

/// Finds a binary of ours: beside this executable (and beside the folder `deps`, where test binaries are), then in `PATH`.
///
/// # Errors
/// [`ChildError::NotFound`].
pub fn find(name: &str) -> Result<PathBuf, ChildError> {
    let own = std::env::current_exe().unwrap_or_default();
    let beside = own.parent().unwrap_or(Path::new(".")).to_path_buf();
    let mut folders = vec![beside.clone()];
    if beside.file_name() == Some(OsStr::new("deps")) {
        folders.extend(beside.parent().map(Path::to_path_buf));
    }
    folders.extend(std::env::var_os("PATH").iter().flat_map(std::env::split_paths));
    let found = folders.into_iter().map(|folder| folder.join(name)).find(|path| is_executable(path));
    found.ok_or_else(|| ChildError::NotFound { name: name.to_owned(), beside })
}

fn is_executable(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}
