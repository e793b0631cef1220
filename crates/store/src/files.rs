//! The few ways in which the store touches files: write and fsync, rename over, read with a bound, hash, list.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use sha2::{Digest, Sha256};

use crate::{SCHEMA, StoreError};

/// A JSON file of the store is some kB; a training status of 100,000 epochs is 20 MB. Beyond this it is not ours.
const LARGEST_JSON: u64 = 32 << 20;

/// NFS answers ESTALE when the server replaced a file between look-up and read: opening by name again finds the new one.
const STALE_TRIES: usize = 5;

pub(crate) fn make_dir(path: &Path) -> Result<(), StoreError> {
    fs::create_dir_all(path).map_err(StoreError::io("create folder", path))
}

/// Writes a file that must not exist yet, and waits until it is on the disk.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(StoreError::io("write", path))
}

/// Puts `bytes` in place of `path`, whole or not at all. `staged` is on the same file system.
pub(crate) fn replace(staged: &Path, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let write = || {
        let mut file = File::create(staged)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(StoreError::io("write", staged))?;
    rename(staged, path)
}

pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    fs::rename(from, to).map_err(StoreError::io("move into place", to))
}

/// A copy with its own inode; shares blocks where the file system can (`copy_file_range`). Never a link: people write through
/// links.
pub(crate) fn copy_new(from: &Path, to: &Path) -> Result<(), StoreError> {
    let copy = || {
        let mut source = open_regular(from)?;
        let mut target = OpenOptions::new().write(true).create_new(true).open(to)?;
        io::copy(&mut source, &mut target)?;
        target.sync_all()
    };
    copy().map_err(StoreError::io("copy to", to))
}

/// Makes the renames in a folder last. Some network and FUSE file systems refuse to fsync a folder: there it is their matter.
pub(crate) fn sync_dir(path: &Path) -> Result<(), StoreError> {
    match File::open(path).and_then(|dir| dir.sync_all()) {
        Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => Ok(()),
        other => other.map_err(StoreError::io("fsync folder", path)),
    }
}

/// Removes a file; one that is not there is as good.
pub(crate) fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(StoreError::io("remove", path)(error)),
        _ => Ok(()),
    }
}

pub(crate) fn remove_dir(path: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(StoreError::io("remove folder", path)(error)),
        _ => Ok(()),
    }
}

/// The names in a folder that are valid UTF-8 (ours all are), sorted. A folder that is not there has none.
pub(crate) fn names(path: &Path) -> Result<Vec<String>, StoreError> {
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(StoreError::io("list", path))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(StoreError::io("list", path))?;
        names.extend(entry.file_name().into_string());
    }
    names.sort_unstable();
    Ok(names)
}

/// Opens for reading without ever blocking on a FIFO, and refuses what is not a regular file.
fn open_regular(path: &Path) -> io::Result<File> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("not a regular file")) }
}

/// Runs `read` on a freshly opened file, and again from the start when the server says that the handle is stale.
pub(crate) fn with_open<T>(path: &Path, mut read: impl FnMut(File) -> io::Result<T>) -> io::Result<T> {
    for _ in 1..STALE_TRIES {
        match open_regular(path).and_then(&mut read) {
            Err(error) if error.kind() == ErrorKind::StaleNetworkFileHandle => {}
            done => return done,
        }
    }
    open_regular(path).and_then(&mut read)
}

/// At most `limit` bytes; `None` when the file is not there.
pub(crate) fn read_bounded(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, StoreError> {
    let read = with_open(path, |file| {
        let mut bytes = Vec::new();
        file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
        Ok(bytes)
    });
    match read {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreError::io("read", path)(error)),
        Ok(bytes) if bytes.len() as u64 > limit => {
            Err(StoreError::BadFile { path: path.to_owned(), reason: format!("it has more than {limit} bytes") })
        }
        Ok(bytes) => Ok(Some(bytes)),
    }
}

/// A JSON file; `None` when it is not there.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StoreError> {
    let Some(bytes) = read_bounded(path, LARGEST_JSON)? else { return Ok(None) };
    parse(path, &bytes).map(Some)
}

/// A JSON file with a schema number, which is looked at first: a newer one may have changed anything else.
pub(crate) fn read_versioned<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StoreError> {
    #[derive(Deserialize)]
    struct Numbered {
        schema: u64,
    }
    let Some(bytes) = read_bounded(path, LARGEST_JSON)? else { return Ok(None) };
    let Numbered { schema } = parse(path, &bytes)?;
    if schema > u64::from(SCHEMA) {
        return Err(StoreError::FutureSchema { path: path.to_owned(), found: schema, supported: SCHEMA });
    }
    if schema == 0 {
        return Err(StoreError::BadFile { path: path.to_owned(), reason: "its schema is 0; the first one is 1".to_owned() });
    }
    parse(path, &bytes).map(Some)
}

fn parse<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T, StoreError> {
    if bytes.is_empty() {
        return Err(StoreError::BadFile { path: path.to_owned(), reason: "it is empty".to_owned() });
    }
    serde_json::from_slice(bytes).map_err(|error| StoreError::BadFile { path: path.to_owned(), reason: error.to_string() })
}

/// Indented JSON with a newline at its end: people read these files.
pub(crate) fn to_json(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(value).expect("the store's types have string keys and serialise into memory");
    bytes.push(b'\n');
    bytes
}

/// JSON has no NaN: `null` stands for it in both directions (serde_json writes a non-finite number as `null`).
pub(crate) fn number_or_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::<f64>::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

/// SHA-256 as 64 lower-case hexadecimal digits.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Length and SHA-256 of a file, read once, one MiB at a time.
pub(crate) fn digest(path: &Path) -> io::Result<(u64, String)> {
    with_open(path, |mut file| {
        let mut hash = Sha256::new();
        let mut block = vec![0; 1 << 20];
        let mut length = 0;
        loop {
            let read = match file.read(&mut block) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                other => other?,
            };
            if read == 0 {
                return Ok((length, hex(&hash.finalize())));
            }
            hash.update(&block[..read]);
            length += read as u64;
        }
    })
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing into a String cannot fail");
        text
    })
}
