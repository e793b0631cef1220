//! Measured engine speeds, kept between starts in one small file.
//!
//! What is remembered only orders the tries: whatever the file says, an engine serves when it has reproduced the version's check
//! file in this process. A file that is missing, foreign or damaged means that is measured again.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::kind::Kind;

/// Format of the file.
const SCHEMA: u32 = 1;
/// Entries that are kept, the youngest: one for each CPU, library version, model family and size of a whole fleet's shared folder.
const MOST_ENTRIES: usize = 64;
/// A larger file is none of ours: 64 entries of a kilobyte.
const MOST_BYTES: u64 = 128 << 10;

/// What a measurement holds for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// [`edgeloop_engine::Cpu::name`].
    pub cpu: String,
    /// Version of each engine's library, or why there is none, by device.
    pub libraries: Vec<(String, String)>,
    /// Model family and scale, such as `yolov8n`.
    pub family: String,
    /// Input side in pixels.
    pub side: u32,
    /// Threads inside a run.
    pub threads: usize,
}

/// How long one run took.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Speed {
    /// Device and precision.
    #[serde(flatten)]
    pub kind: Kind,
    /// Milliseconds of a run that nobody disturbs, as well as that can be told.
    pub ms: f64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    #[serde(flatten)]
    key: Key,
    /// Seconds since 1970.
    measured: u64,
    speeds: Vec<Speed>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Content {
    schema: u32,
    entries: Vec<Entry>,
}

/// The file, and what this process has measured itself where there is none or it cannot be written.
#[derive(Debug)]
pub struct Remembered {
    file: Option<PathBuf>,
    own: Mutex<Vec<Entry>>,
}

impl Remembered {
    /// With a file, or for this process alone.
    #[must_use]
    pub fn new(file: Option<PathBuf>) -> Self {
        Self { file, own: Mutex::default() }
    }

    /// What was measured for `key`, fastest first; `None` if nothing was.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<Vec<Speed>> {
        let own = self.own.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let kept = self.file.as_deref().map(read).unwrap_or_default();
        let found = own.into_iter().chain(kept.entries).find(|entry| entry.key == *key)?;
        let mut speeds: Vec<Speed> = found.speeds.into_iter().filter(|s| s.ms.is_finite() && s.ms > 0.0).collect();
        speeds.sort_by(|a, b| a.ms.total_cmp(&b.ms));
        (!speeds.is_empty()).then_some(speeds)
    }

    /// Keeps what was measured.
    pub fn put(&self, key: Key, speeds: Vec<Speed>) {
        let measured = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let entry = Entry { key, measured, speeds };
        {
            let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
            own.retain(|e| e.key != entry.key);
            own.insert(0, entry.clone());
            own.truncate(MOST_ENTRIES);
        }
        let Some(file) = &self.file else { return };
        // What others have written since is kept.
        let mut content = read(file);
        content.entries.retain(|e| e.key != entry.key);
        content.entries.insert(0, entry);
        content.entries.sort_by_key(|e| std::cmp::Reverse(e.measured));
        content.entries.truncate(MOST_ENTRIES);
        content.schema = SCHEMA;
        if let Err(error) = write(file, &content) {
            // A read-only root is a normal way to run.
            tracing::info!(file = %file.display(), %error, "engine speeds cannot be remembered and are measured at each start; set CACHE_DIR to a folder that can be written");
        }
    }
}

fn read(file: &Path) -> Content {
    match try_read(file) {
        Ok(content) if content.schema == SCHEMA => content,
        Ok(_) => Content::default(),
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(file = %file.display(), %error, "remembered engine speeds cannot be read; they are measured again");
            }
            Content::default()
        }
    }
}

fn try_read(file: &Path) -> io::Result<Content> {
    // No link is followed and no device is waited for: the folder may be shared.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(file)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() > MOST_BYTES {
        return Err(io::Error::other("it is no file of ours"));
    }
    let mut text = Vec::new();
    file.take(MOST_BYTES).read_to_end(&mut text)?;
    serde_json::from_slice(&text).map_err(io::Error::other)
}

fn write(file: &Path, content: &Content) -> io::Result<()> {
    let text = serde_json::to_vec_pretty(content).map_err(io::Error::other)?;
    let folder = file.parent().ok_or_else(|| io::Error::other("it has no folder"))?;
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let staged = folder.join(format!(".engines.{}.tmp", std::process::id()));
    let written = (|| {
        let _ = std::fs::remove_file(&staged);
        let mut out: File = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&staged)?;
        out.write_all(&text)?;
        out.sync_all()?;
        std::fs::rename(&staged, file)
    })();
    if written.is_err() {
        let _ = std::fs::remove_file(&staged);
    }
    written
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use edgeloop_engine::{Device, Precision};

    fn key(side: u32) -> Key {
        Key { cpu: "x".into(), libraries: vec![("cpu".into(), "1".into())], family: "yolov8n".into(), side, threads: 1 }
    }

    fn speeds() -> Vec<Speed> {
        let fast = Kind { device: Device::OpenVino, precision: Precision::Bf16 };
        vec![Speed { kind: Kind::SAFE, ms: 50.0 }, Speed { kind: fast, ms: 27.0 }]
    }

    #[test]
    fn another_process_finds_what_was_measured_fastest_first() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a/b/engines.json");
        Remembered::new(Some(file.clone())).put(key(640), speeds());
        let found = Remembered::new(Some(file.clone())).get(&key(640)).unwrap();
        assert_eq!(found.iter().map(|s| s.ms).collect::<Vec<_>>(), [27.0, 50.0]);
        for other in [key(320), Key { threads: 2, ..key(640) }, Key { libraries: vec![("cpu".into(), "2".into())], ..key(640) }] {
            assert_eq!(Remembered::new(Some(file.clone())).get(&other), None, "{other:?}");
        }
        assert_eq!(std::fs::read_dir(file.parent().unwrap()).unwrap().count(), 1, "nothing else is left there");
    }

    #[test]
    fn the_file_stays_small() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("engines.json");
        let remembered = Remembered::new(Some(file.clone()));
        (0..MOST_ENTRIES as u32 + 20).for_each(|n| remembered.put(key(32 * n), speeds()));
        assert_eq!(read(&file).entries.len(), MOST_ENTRIES);
        assert!(std::fs::metadata(&file).unwrap().len() < MOST_BYTES);
        assert!(Remembered::new(Some(file)).get(&key(32 * (MOST_ENTRIES as u32 + 19))).is_some(), "the youngest is there");
    }

    #[test]
    fn what_is_no_file_of_ours_is_measured_again_and_a_link_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("engines.json");
        for content in [&b"{"[..], b"[]", br#"{"schema": 99, "entries": []}"#, &vec![b' '; 1 << 20]] {
            std::fs::write(&file, content).unwrap();
            assert_eq!(Remembered::new(Some(file.clone())).get(&key(640)), None);
        }
        let victim = dir.path().join("victim");
        std::fs::write(&victim, "mine").unwrap();
        std::fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink(&victim, &file).unwrap();
        let remembered = Remembered::new(Some(file.clone()));
        remembered.put(key(640), speeds());
        assert_eq!(std::fs::read(&victim).unwrap(), b"mine", "the link was replaced, not written through");
        assert!(Remembered::new(Some(file)).get(&key(640)).is_some());
    }

    #[test]
    fn without_a_file_or_where_none_can_be_written_this_process_remembers() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), "").unwrap();
        for file in [None, Some(dir.path().join("file/engines.json"))] {
            let remembered = Remembered::new(file);
            remembered.put(key(640), speeds());
            assert!(remembered.get(&key(640)).is_some());
        }
    }
}
