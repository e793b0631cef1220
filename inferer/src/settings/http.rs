//! Settings of the serving port beyond its address: batches, deadlines, slow clients, tokens.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::seconds;

/// Flatten into the settings.
#[derive(Debug, Clone, Args)]
pub struct HttpArgs {
    /// Most images of one request; each takes a place of QUEUE.
    #[arg(long, env = "MAX_BATCH", default_value = "16", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub max_batch: u32,
    /// Seconds from a request's arrival in which it is answered, or refused with 504. A request may ask for less (timeout_ms).
    #[arg(long, env = "REQUEST_TIMEOUT", default_value = "60", value_parser = seconds)]
    pub request_timeout: Duration,
    /// Bytes of request bodies in memory at once; a request that does not fit is refused with 429. At least MAX_BODY_BYTES.
    #[arg(long, env = "BODY_MEMORY", default_value = "128000000", value_parser = clap::value_parser!(u64).range(1..))]
    pub body_memory: u64,
    /// Seconds in which a request's head must arrive; an idle connection is closed after them, too.
    #[arg(long, env = "HEAD_TIMEOUT", default_value = "30", value_parser = seconds)]
    pub head_timeout: Duration,
    /// Seconds that a client may leave an answer unread.
    #[arg(long, env = "WRITE_TIMEOUT", default_value = "20", value_parser = seconds)]
    pub write_timeout: Duration,
    /// File of bearer tokens, a line each: name, scopes (infer, admin), token or sha256:<hex>. Read again when it changes.
    /// Without it everybody may infer and nobody may promote or roll back.
    #[arg(long, env = "AUTH_TOKENS_FILE")]
    pub auth_tokens_file: Option<PathBuf>,
}

impl HttpArgs {
    /// Memory for bodies: one body of the largest size must fit.
    #[must_use]
    pub fn memory(&self, max_body_bytes: u64) -> u64 {
        self.body_memory.max(max_body_bytes)
    }
}
