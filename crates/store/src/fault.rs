//! Named steps at which a process can be made to die or to stand still, so that tests see what is left behind.
//!
//! `EDGELOOP_STORE_FAULT=<point>` aborts the process at that step, as a power cut would; `<point>=stop` stops it with SIGSTOP
//! until somebody sends SIGCONT, as a suspended machine would. Unset (always, in production) a point costs one load.

use std::sync::LazyLock;

/// The variable that names the point.
pub const VARIABLE: &str = "EDGELOOP_STORE_FAULT";

/// Every point, in the order in which a promoting [`crate::Store::publish`] passes them.
pub const POINTS: &[&str] = &[
    "staged-nothing",
    "staged-weights",
    "staged-onnx",
    "staged-check",
    "staged-all",
    "publish-locked",
    "commit-begun",
    "commit-planned",
    "moved-weights",
    "moved-onnx",
    "moved-check",
    "moved-metadata",
    "moved-latest-weights",
    "moved-latest-onnx",
    "fences-read",
    "pointer-moved",
    "pointer-synced",
    "history-written",
    "commit-removed",
];

/// The points of [`crate::Store::prune`].
pub const PRUNE_POINTS: &[&str] = &["prune-begun", "prune-metadata-moved", "prune-files-removed"];

struct Fault {
    point: String,
    stop: bool,
}

static FAULT: LazyLock<Option<Fault>> = LazyLock::new(|| {
    let wanted = std::env::var(VARIABLE).ok().filter(|text| !text.is_empty())?;
    Some(match wanted.strip_suffix("=stop") {
        Some(point) => Fault { point: point.to_owned(), stop: true },
        None => Fault { point: wanted, stop: false },
    })
});

pub(crate) fn hit(point: &str) {
    let Some(fault) = FAULT.as_ref().filter(|fault| fault.point == point) else { return };
    if fault.stop {
        // raise(3) and not kill(2): the signal goes to this very thread, which stops the whole process, heartbeat thread and all,
        // before it comes back from here. kill(2) may pick another thread, and this one would run on for a moment.
        // SAFETY: raise has no preconditions, and SIGSTOP runs no handler.
        let failed = unsafe { libc::raise(libc::SIGSTOP) };
        assert_eq!(failed, 0, "a process may stop itself");
    } else {
        std::process::abort();
    }
}
