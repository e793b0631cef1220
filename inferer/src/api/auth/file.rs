//! The file of tokens, read again when it changes.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use edgeloop_service::shutdown::Shutdown;
use tokio::time::sleep;

use super::{Auth, Tokens};

/// How often the file is looked at: one `stat`.
const LOOK: Duration = Duration::from_secs(1);
/// A thousand tokens and their names fit many times.
const LARGEST: u64 = 1 << 20;

/// Why the tokens cannot be had. Nothing of the file's content is in it.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The system refuses.
    #[error("AUTH_TOKENS_FILE: cannot read {path}: {cause}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// Its content makes no sense.
    #[error("AUTH_TOKENS_FILE: {path}: {reason}")]
    Bad {
        /// The file.
        path: PathBuf,
        /// Which line, and why.
        reason: String,
    },
}

/// What changes with every change of the file: device, inode, length, and when content and inode were changed.
type Stamp = (u64, u64, u64, i64, i64, i64, i64);

/// The file behind an [`Auth`].
#[derive(Debug)]
pub struct TokenFile {
    path: PathBuf,
    tokens: Arc<ArcSwap<Tokens>>,
    seen: Option<Stamp>,
    complaint: Option<String>,
}

impl TokenFile {
    /// Reads it for the first time.
    ///
    /// # Errors
    /// It cannot be read, or makes no sense: a server that was told to want tokens must not start without any.
    pub fn open(path: &Path) -> Result<(Auth, Self), AuthError> {
        let (tokens, seen) = read(path)?;
        if tokens.is_empty() {
            tracing::warn!(path = %path.display(), "there is no token in AUTH_TOKENS_FILE: nobody may ask for anything");
        }
        let tokens = Arc::new(ArcSwap::from_pointee(tokens));
        let auth = Auth { tokens: Some(tokens.clone()) };
        Ok((auth, Self { path: path.to_owned(), tokens, seen: Some(seen), complaint: None }))
    }

    /// Looks at it until shutdown.
    pub async fn watch(mut self, shutdown: Shutdown) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = sleep(LOOK) => {}
            }
            // A file system that hangs holds one blocking thread, and nobody's request.
            match tokio::task::spawn_blocking(move || {
                self.look();
                self
            })
            .await
            {
                Ok(this) => self = this,
                Err(_) => return,
            }
        }
    }

    /// One look. What cannot be used is said once and changes nothing: the tokens that were in force stay so.
    pub fn look(&mut self) {
        match std::fs::metadata(&self.path) {
            Ok(metadata) if Some(stamp(&metadata)) == self.seen => return,
            _ => {}
        }
        let complaint = match read(&self.path) {
            Ok((tokens, seen)) => {
                tracing::info!(path = %self.path.display(), tokens = tokens.len(), "tokens read again");
                self.seen = Some(seen);
                self.tokens.store(Arc::new(tokens));
                None
            }
            Err(error) => Some(error.to_string()),
        };
        if complaint != self.complaint
            && let Some(reason) = &complaint
        {
            tracing::error!(reason, "the tokens that were read before stay in force");
        }
        self.complaint = complaint;
    }
}

fn read(path: &Path) -> Result<(Tokens, Stamp), AuthError> {
    let unreadable = |cause| AuthError::Unreadable { path: path.to_owned(), cause };
    let bad = |reason: String| AuthError::Bad { path: path.to_owned(), reason };
    let file = File::open(path).map_err(unreadable)?;
    // Taken before the content: a write in between leaves another stamp, and is seen at the next look.
    let stamp = stamp(&file.metadata().map_err(unreadable)?);
    let mut text = String::new();
    file.take(LARGEST + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > LARGEST {
        return Err(bad(format!("it is larger than {LARGEST} bytes")));
    }
    Ok((Tokens::parse(&text).map_err(bad)?, stamp))
}

fn stamp(metadata: &std::fs::Metadata) -> Stamp {
    let m = metadata;
    (m.dev(), m.ino(), m.len(), m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn holds(file: &TokenFile, token: &str) -> bool {
        file.tokens.load().find(token.as_bytes()).is_some()
    }

    #[test]
    fn a_change_counts_and_a_file_that_makes_no_sense_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens");
        std::fs::write(&path, "a infer first-token-00001").unwrap();
        let (_auth, mut file) = TokenFile::open(&path).unwrap();
        assert!(holds(&file, "first-token-00001"));
        // As Kubernetes does it: another file behind the same path.
        std::fs::write(dir.path().join("new"), "a infer other-token-00002").unwrap();
        std::fs::rename(dir.path().join("new"), &path).unwrap();
        file.look();
        assert!(holds(&file, "other-token-00002") && !holds(&file, "first-token-00001"));
        std::fs::write(&path, "a infer other-token-00002\nhalf a li").unwrap();
        file.look();
        assert!(holds(&file, "other-token-00002") && file.complaint.is_some());
        std::fs::remove_file(&path).unwrap();
        file.look();
        assert!(holds(&file, "other-token-00002"), "a file that has gone must not lock everybody out, nor let anybody in");
        std::fs::write(&path, "# nobody any more").unwrap();
        file.look();
        assert!(!holds(&file, "other-token-00002") && file.complaint.is_none());
    }

    #[test]
    fn a_file_that_cannot_be_used_is_no_start() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(TokenFile::open(&dir.path().join("none")), Err(AuthError::Unreadable { .. })));
        let path = dir.path().join("tokens");
        std::fs::write(&path, "a infer secretly").unwrap();
        let error = TokenFile::open(&path).unwrap_err();
        assert!(matches!(error, AuthError::Bad { .. }) && !format!("{error:?}").contains("secretly"), "{error:?}");
    }
}
