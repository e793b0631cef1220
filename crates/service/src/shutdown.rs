//! Stopping: SIGTERM and SIGINT as a token for async programs and as a flag for synchronous ones.
//!
//! As PID 1 a program without a handler ignores SIGTERM, so every process of ours installs one. A second signal ends the
//! process at once: whoever sends it has waited long enough.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture, WaitForCancellationFutureOwned};

/// «Please stop», shared by everything in a process. Clones are the same token.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    token: CancellationToken,
}

impl Shutdown {
    /// A token that only [`Shutdown::trigger`] cancels.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A token that SIGTERM or SIGINT cancels. Call inside a tokio runtime.
    ///
    /// # Errors
    /// When the signal handlers cannot be installed.
    pub fn on_signals() -> std::io::Result<Self> {
        let shutdown = Self::new();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let token = shutdown.token.clone();
        tokio::spawn(async move {
            loop {
                let number = tokio::select! {
                    Some(()) = terminate.recv() => libc::SIGTERM,
                    Some(()) = interrupt.recv() => libc::SIGINT,
                    else => return,
                };
                if token.is_cancelled() {
                    tracing::warn!(signal = number, "second signal: ending at once");
                    std::process::exit(128 + number);
                }
                // First the token: whatever becomes of the log line, the process stops.
                token.cancel();
                tracing::info!(signal = number, "stopping");
            }
        });
        Ok(shutdown)
    }

    /// Resolves once somebody asked to stop.
    pub fn cancelled(&self) -> WaitForCancellationFuture<'_> {
        self.token.cancelled()
    }

    /// Like [`Shutdown::cancelled`], for a future that must own what it waits on.
    pub fn cancelled_owned(&self) -> WaitForCancellationFutureOwned {
        self.token.clone().cancelled_owned()
    }

    /// Whether somebody asked to stop.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Asks everything that holds this token to stop.
    pub fn trigger(&self) {
        self.token.cancel();
    }

    /// The token itself, for libraries that take one.
    #[must_use]
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }
}

static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// A flag that SIGTERM or SIGINT sets, for programs without a runtime; they look at it between steps. Each call returns the
/// same flag. Do not mix with [`Shutdown::on_signals`] in one process: the later one takes the signals over.
pub fn flag() -> Arc<AtomicBool> {
    let mut first = false;
    let flag = FLAG.get_or_init(|| {
        first = true;
        Arc::new(AtomicBool::new(false))
    });
    if first {
        install(libc::SIGTERM);
        install(libc::SIGINT);
    }
    flag.clone()
}

extern "C" fn on_signal(number: libc::c_int) {
    // Only async-signal-safe work: two atomic accesses and `_exit`.
    let again = FLAG.get().is_some_and(|flag| flag.swap(true, Ordering::SeqCst));
    if again {
        // SAFETY: `_exit` is async-signal-safe and does not return.
        unsafe { libc::_exit(128 + number) };
    }
}

fn install(number: libc::c_int) {
    // SAFETY: the struct is fully initialised (zeroed, then handler and mask set) and outlives the call; the handler does only
    // what POSIX allows in one.
    let result = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_signal as extern "C" fn(libc::c_int) as libc::sighandler_t;
        action.sa_flags = libc::SA_RESTART;
        libc::sigemptyset(&raw mut action.sa_mask);
        libc::sigaction(number, &raw const action, std::ptr::null_mut())
    };
    assert_eq!(result, 0, "sigaction refuses only SIGKILL and SIGSTOP, and neither is asked for");
}
