//! Which images were decoded before and have not changed since: 50,000 of them cost four minutes of a core to look through,
//! and a fraction of a second to recognise.
//!
//! The file is a help and never a truth: one that is missing, cut short or damaged means that images are decoded again.

use super::{Checked, Look};
use crate::digest::hex;
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    fs,
    io::{self, Write},
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

const MAGIC: &[u8; 20] = b"edgeloop checked 001";
/// Key, stamp, content, width, height, look.
const RECORD: usize = 16 + 32 + 32 + 4 + 4 + 32;
const DIGEST: usize = 32;

/// More images than any scan takes: 120 MB.
const MAX_RECORDS: usize = 1_000_000;

/// A file changed within this time before a scan may change again within the same tick of its clock (2 s on FAT): it is not remembered.
const SETTLED: Duration = Duration::from_secs(2);

/// What tells that a file is still the one that was read. The time of the inode's change is set by the system alone: a tool
/// that restores the modification time cannot hide a change from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    bytes: u64,
    modified: i64,
    changed: i64,
    inode: u64,
}

impl Stamp {
    /// The stamp of a file; `None` where there is none.
    pub fn of(path: &Path) -> Option<Self> {
        let meta = fs::metadata(path).ok()?;
        let nanoseconds = |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
        Some(Self {
            bytes: meta.len(),
            modified: nanoseconds(meta.mtime(), meta.mtime_nsec()),
            changed: nanoseconds(meta.ctime(), meta.ctime_nsec()),
            inode: meta.ino(),
        })
    }

    fn settled(&self, began: i64, within: Duration) -> bool {
        let border = began.saturating_sub(i64::try_from(within.as_nanos()).unwrap_or(i64::MAX));
        self.modified <= border && self.changed <= border
    }
}

/// Images by path, with their stamps.
pub struct Memory {
    file: Option<PathBuf>,
    records: HashMap<[u8; 16], (Stamp, Checked)>,
    settled: Duration,
    /// When this scan began, in nanoseconds since 1970: images are read after it.
    began: i64,
}

impl Memory {
    /// Remembers nothing and writes nothing.
    pub fn none() -> Self {
        Self { file: None, records: HashMap::new(), settled: SETTLED, began: now() }
    }

    /// What the last scan of `images_dir` left in the folder `dir`: a file for each folder of images.
    pub fn open(dir: &Path, images_dir: &Path) -> Self {
        let real = fs::canonicalize(images_dir).unwrap_or_else(|_| images_dir.to_owned());
        let file = dir.join(format!("checked-{}.bin", hex(&key(&real)[..8])));
        let records = match read(&file) {
            Ok(records) => records,
            Err(error) if error.kind() == io::ErrorKind::NotFound => HashMap::new(),
            Err(error) => {
                tracing::info!(path = %file.display(), "what was checked before cannot be used ({error}): images are decoded again");
                HashMap::new()
            }
        };
        Self { file: Some(file), records, settled: SETTLED, began: now() }
    }

    #[cfg(test)]
    pub fn with_settled(self, settled: Duration) -> Self {
        Self { settled, ..self }
    }

    pub(super) fn get(&self, path: &Path, stamp: &Stamp) -> Option<Checked> {
        self.records.get(&key(path)).filter(|(known, _)| known == stamp).map(|(_, checked)| *checked)
    }

    pub(super) fn put(&mut self, path: &Path, stamp: Stamp, checked: Checked) {
        self.records.insert(key(path), (stamp, checked));
    }

    pub(super) fn clear(&mut self) {
        self.records.clear();
    }

    /// Writes the file anew, whole or not at all. What cannot be written is decoded again the next time.
    pub fn save(&self) {
        let Some(file) = &self.file else { return };
        if let Err(error) = self.write(file) {
            tracing::info!(path = %file.display(), "what was checked cannot be remembered ({error})");
            let _ = fs::remove_file(file.with_extension("tmp"));
        }
    }

    fn write(&self, file: &Path) -> io::Result<()> {
        let records = self.records.iter().filter(|(_, (stamp, _))| stamp.settled(self.began, self.settled)).take(MAX_RECORDS);
        let mut bytes = Vec::with_capacity(MAGIC.len() + self.records.len().min(MAX_RECORDS) * RECORD + DIGEST);
        bytes.extend(MAGIC);
        for (key, (stamp, checked)) in records {
            bytes.extend(key);
            bytes.extend(stamp.bytes.to_le_bytes());
            bytes.extend([stamp.modified, stamp.changed].into_iter().flat_map(i64::to_le_bytes));
            bytes.extend(stamp.inode.to_le_bytes());
            bytes.extend(checked.content);
            bytes.extend([checked.width, checked.height].into_iter().flat_map(u32::to_le_bytes));
            bytes.extend(checked.look.0.into_iter().flat_map(u16::to_le_bytes));
        }
        let digest = Sha256::digest(&bytes);
        bytes.extend(digest);
        let dir = file.parent().ok_or_else(|| io::Error::other("no folder"))?;
        fs::create_dir_all(dir)?;
        let staged = file.with_extension("tmp");
        let mut out = fs::File::create(&staged)?;
        out.write_all(&bytes)?;
        // No fsync: a file torn by a power cut fails its digest.
        drop(out);
        fs::rename(staged, file)
    }
}

fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_nanos()).unwrap_or(i64::MAX)
}

fn key(path: &Path) -> [u8; 16] {
    let mut key = [0; 16];
    key.copy_from_slice(&Sha256::digest(path.as_os_str().as_bytes())[..16]);
    key
}

fn read(file: &Path) -> io::Result<HashMap<[u8; 16], (Stamp, Checked)>> {
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let length = fs::metadata(file)?.len();
    if length > (MAGIC.len() + MAX_RECORDS * RECORD + DIGEST) as u64 {
        return Err(wrong("it is too large"));
    }
    let bytes = fs::read(file)?;
    let (body, digest) = bytes.split_last_chunk::<DIGEST>().ok_or_else(|| wrong("it is too short"))?;
    if Sha256::digest(body)[..] != digest[..] {
        return Err(wrong("its checksum is wrong"));
    }
    let records = body.strip_prefix(MAGIC).ok_or_else(|| wrong("another version wrote it"))?;
    let parsed = records.chunks(RECORD).map(record).collect::<Option<HashMap<_, _>>>();
    parsed.ok_or_else(|| wrong("its records are cut"))
}

fn record(bytes: &[u8]) -> Option<([u8; 16], (Stamp, Checked))> {
    let mut rest = bytes;
    let key = *take::<16>(&mut rest)?;
    let stamp = Stamp {
        bytes: u64::from_le_bytes(*take(&mut rest)?),
        modified: i64::from_le_bytes(*take(&mut rest)?),
        changed: i64::from_le_bytes(*take(&mut rest)?),
        inode: u64::from_le_bytes(*take(&mut rest)?),
    };
    let content = *take::<32>(&mut rest)?;
    let (width, height) = (u32::from_le_bytes(*take(&mut rest)?), u32::from_le_bytes(*take(&mut rest)?));
    let mut look = Look::default();
    for row in &mut look.0 {
        *row = u16::from_le_bytes(*take(&mut rest)?);
    }
    Some((key, (stamp, Checked { content, width, height, look })))
}

fn take<'a, const N: usize>(bytes: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (first, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(first)
}
