//! How a process ends: an error chain on stderr and an exit code that a supervisor can act on.

use std::fmt;
use std::io::Write;
use std::process::ExitCode;

/// Anything that went wrong and has no code of its own.
pub const FAILURE: u8 = 1;
/// Bad input or settings: trying again without changing them is pointless (`podFailurePolicy: FailJob` on it).
pub const BAD_INPUT: u8 = 2;
/// Somebody else holds the lock: try again later (`EX_TEMPFAIL`).
pub const TEMPORARY: u8 = 75;
/// Stopped by SIGTERM after saving what could be saved (128 + 15).
pub const TERMINATED: u8 = 143;

/// An error that knows which exit code the process must end with. Displays as the error inside it.
pub struct Coded {
    code: u8,
    error: anyhow::Error,
}

impl Coded {
    /// The exit code that it asks for.
    #[must_use]
    pub fn code(&self) -> u8 {
        self.code
    }
}

impl fmt::Debug for Coded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.error, f)
    }
}

impl fmt::Display for Coded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.error, f)
    }
}

impl std::error::Error for Coded {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // The inner error itself is what Display shows; naming it as source too would print it twice.
        self.error.chain().nth(1)
    }
}

/// `error`, carrying `code`. Context may be added on top of it.
pub fn with_code(code: u8, error: impl Into<anyhow::Error>) -> anyhow::Error {
    anyhow::Error::new(Coded { code, error: error.into() })
}

/// `error`, ending the process with [`BAD_INPUT`].
pub fn bad_input(error: impl Into<anyhow::Error>) -> anyhow::Error {
    with_code(BAD_INPUT, error)
}

/// `result.exit_code(2)?`: the error, if any, ends the process with that code.
pub trait WithExitCode<T> {
    /// Attaches `code` to the error.
    ///
    /// # Errors
    /// The same error as before, now with a code.
    fn exit_code(self, code: u8) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> WithExitCode<T> for Result<T, E> {
    fn exit_code(self, code: u8) -> anyhow::Result<T> {
        self.map_err(|error| with_code(code, error))
    }
}

/// The code that `error` asks for, whatever context was put on top of it; [`FAILURE`] when it asks for none.
#[must_use]
pub fn code_of(error: &anyhow::Error) -> u8 {
    error.downcast_ref::<Coded>().map_or(FAILURE, Coded::code)
}

/// The body of `main`: runs, prints the error chain to stderr, ends with the code that the error carries.
pub fn run(body: impl FnOnce() -> anyhow::Result<ExitCode>) -> ExitCode {
    match body() {
        Ok(code) => code,
        Err(error) => {
            // A closed stderr must not turn an exit code into a panic.
            let _ = std::io::stderr().write_all(render(&error).as_bytes());
            ExitCode::from(code_of(&error))
        }
    }
}

fn render(error: &anyhow::Error) -> String {
    let mut text = format!("error: {error}\n");
    for cause in error.chain().skip(1) {
        text.push_str(&format!("  caused by: {cause}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use anyhow::Context;

    #[test]
    fn a_code_survives_context() {
        let error = Err::<(), _>(std::io::Error::other("no such class")).exit_code(BAD_INPUT).context("reading labels/a.txt").unwrap_err();
        assert_eq!(code_of(&error), 2);
    }

    #[test]
    fn an_error_without_a_code_is_a_failure() {
        assert_eq!(code_of(&anyhow::anyhow!("disk full")), 1);
    }

    #[test]
    fn each_cause_is_printed_once_and_in_order() {
        let inner = anyhow::Error::new(std::io::Error::other("line 3: class 9")).context("labels/a.txt");
        let text = render(&bad_input(inner).context("training cannot start"));
        assert_eq!(text, "error: training cannot start\n  caused by: labels/a.txt\n  caused by: line 3: class 9\n");
    }
}
