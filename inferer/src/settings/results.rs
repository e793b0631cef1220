//! Where the images folder's results are kept beside standard output.

use std::path::PathBuf;

use clap::Args;

/// Flatten into the settings.
#[derive(Debug, Clone, Args)]
pub struct ResultsArgs {
    /// Folder for the lines of the images folder, besides standard output. Made when it is missing.
    #[arg(long, env = "RESULTS_DIR")]
    pub results_dir: Option<PathBuf>,
    /// Bytes of one file there; the next line begins another.
    #[arg(long, env = "RESULTS_FILE_BYTES", default_value = "16000000", value_parser = clap::value_parser!(u64).range(1_000..=100_000_000_000))]
    pub results_file_bytes: u64,
    /// Files that are kept there; the oldest goes first.
    #[arg(long, env = "RESULTS_FILES", default_value = "8", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub results_files: u32,
}
