//! Where decoded pictures are kept that have no room in memory.

use std::path::PathBuf;

use clap::Args;

use crate::data::DiskOptions;

/// Settings of the cache on disk.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Cache on disk")]
pub struct Keep {
    /// Folder for decoded pictures that CACHE_MB has no room for; by default `edgeloop/pictures` in the user's cache folder.
    #[arg(long, env = "CACHE_DIR")]
    pub cache_dir: Option<PathBuf>,
    /// What they may take there, MiB, and never more than a quarter of what is free; 0: nothing is kept on disk.
    #[arg(long, env = "CACHE_DISK_MB", default_value_t = 2048)]
    pub cache_disk_mb: u64,
}

impl Keep {
    /// The folder and its size; `None` where there is none.
    pub fn options(&self) -> Option<DiskOptions> {
        let usual = || {
            let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|dir| dir.is_absolute());
            let home = || std::env::var_os("HOME").map(PathBuf::from).filter(|dir| dir.is_absolute()).map(|home| home.join(".cache"));
            cache.or_else(home).map(|cache| cache.join("edgeloop/pictures"))
        };
        let dir = self.cache_dir.clone().or_else(usual)?;
        (self.cache_disk_mb > 0).then(|| DiskOptions { dir, bytes: self.cache_disk_mb.saturating_mul(1 << 20) })
    }
}
