//! What a training may use of the machine and of the store.

use clap::Args;
use edgeloop_service::limits;

use crate::machine;

/// Settings of the machine.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Resources")]
pub struct Resources {
    /// Threads of one operation; 0: all cores that this process may use, but for one where they are shared.
    #[arg(long, env = "THREADS", default_value_t = 0)]
    pub threads: usize,
    /// Threads that make batches; 0: one for every four cores.
    #[arg(long, env = "WORKERS", default_value_t = 0)]
    pub workers: usize,
    /// Memory for decoded pictures, MiB; 0: one part in 256 of what this process may use, 16 to 256. The rest lies in CACHE_DIR.
    #[arg(long, env = "CACHE_MB", default_value_t = 0)]
    pub cache_mb: usize,
    /// Something else needs the same cores: leave it one. Also the case for a niced process.
    #[arg(long, env = "SHARE_CORES", default_value_t = false, num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub share_cores: bool,
    /// Published versions to keep, the promoted one and its predecessor among them.
    #[arg(long, env = "KEEP_VERSIONS", default_value_t = 10)]
    pub keep_versions: usize,
    /// Bytes that all versions together may take.
    #[arg(long, env = "KEEP_BYTES")]
    pub keep_bytes: Option<u64>,
}

impl Resources {
    /// Threads of one operation.
    pub fn threads(&self) -> usize {
        if self.threads > 0 {
            return self.threads;
        }
        // All threads of an operation wait for the slowest: one that shares its core with a busy process makes the others wait.
        // On two cores beside a busy thread, niced: 115 images/s with one thread, under 7 with two.
        let shared = self.share_cores || machine::is_niced();
        limits::available_cpus().saturating_sub(usize::from(shared)).max(1)
    }

    /// Threads that make batches.
    pub fn workers(&self) -> usize {
        if self.workers > 0 { self.workers } else { (self.threads() / 4).max(1) }
    }

    /// Memory for decoded pictures, MiB.
    pub fn cache_mb(&self) -> usize {
        // Little: what does not fit lies decoded on disk, where the kernel keeps it in memory as long as nobody else needs that.
        // 480 pictures of 320×240: 32 images/s with 16 MiB, 29 with all of them here, and 56 MiB less at the peak.
        let usual = limits::memory_limit().map_or(16, |bytes| ((bytes / 256) >> 20).clamp(16, 256) as usize);
        if self.cache_mb > 0 { self.cache_mb } else { usual }
    }
}
