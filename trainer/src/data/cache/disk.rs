//! Decoded, resized pictures in a folder, for what the memory has no room for: reading one costs a tenth of decoding it again
//! (docs/decisions/data-loader.md).
//!
//! Nothing depends on it. A file is used when its length and checksum are right, and is called by the content of the image
//! that it was made from, so that no change of an image can leave an old picture behind. A full disk, a read-only folder, a
//! disk that is slower than decoding: the loader goes on without.

use crate::digest::hex;
use edgeloop_vision::Image;
use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant, SystemTime},
};

/// Changes whenever the same image would give another picture: the resize, or the layout of the file.
const MAGIC: &[u8; 8] = b"ELPIC001";
/// Magic, four sizes, checksum.
const HEADER: usize = 8 + 4 * 4 + 4;
const ENDING: &str = "pic";
const STAGED: &str = "tmp";

/// A staged file older than this was left by a process that is gone.
const ABANDONED: Duration = Duration::from_secs(600);

/// Reads and decodes that are timed before the two are compared.
const TIMED: u64 = 64;

/// Room that is always left for others on the file system.
const SPARE: u64 = 1 << 30;

/// A folder of pictures.
#[derive(Debug)]
pub struct DiskCache {
    dir: PathBuf,
    budget: u64,
    used: AtomicU64,
    full: AtomicBool,
    slow: AtomicBool,
    reads: Clock,
    decodes: Clock,
}

/// How long something took, over many times.
#[derive(Debug, Default)]
struct Clock {
    nanoseconds: AtomicU64,
    times: AtomicU64,
}

impl Clock {
    fn add(&self, since: Instant) {
        self.nanoseconds.fetch_add(u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX >> 16), Ordering::Relaxed);
        self.times.fetch_add(1, Ordering::Relaxed);
    }

    fn mean(&self) -> Option<f64> {
        let times = self.times.load(Ordering::Relaxed);
        (times >= TIMED).then(|| self.nanoseconds.load(Ordering::Relaxed) as f64 / times as f64)
    }
}

/// A picture of the cache.
#[derive(Debug, PartialEq, Eq)]
pub struct Fitted {
    /// The image, resized to fit the input.
    pub image: Image,
    /// Columns of the upright image that it was made from.
    pub src_w: u32,
    /// Rows of it.
    pub src_h: u32,
}

impl DiskCache {
    /// Opens the folder for up to `budget` bytes, and no more than a quarter of what is free. It is made when something is put into it.
    ///
    /// # Errors
    /// When the folder is there and cannot be listed.
    pub fn open(dir: &Path, budget: u64) -> io::Result<Self> {
        let (mut used, now) = (0, SystemTime::now());
        for file in Files::list(dir)? {
            match file.staged {
                true if now.duration_since(file.modified).is_ok_and(|age| age > ABANDONED) => drop(fs::remove_file(&file.path)),
                _ => used += file.bytes,
            }
        }
        let quarter = free_bytes(dir).map_or(budget, |free| used.saturating_add(free / 4));
        Ok(Self {
            dir: dir.to_owned(),
            budget: budget.min(quarter),
            used: AtomicU64::new(used),
            full: AtomicBool::new(false),
            slow: AtomicBool::new(false),
            reads: Clock::default(),
            decodes: Clock::default(),
        })
    }

    /// Makes room for `needed` bytes: pictures that `wanted` does not name go first, the oldest of them first; then, where the
    /// folder is over its budget, wanted ones too.
    pub fn make_room(&self, wanted: &HashSet<String>, needed: u64) {
        let used = self.used.load(Ordering::Relaxed);
        let Ok(mut files) = Files::list(&self.dir) else { return };
        let is_wanted = |file: &File| file.path.file_stem().and_then(|name| name.to_str()).is_some_and(|name| wanted.contains(name));
        files.sort_by_cached_key(|file| (is_wanted(file), file.modified));
        let mut left = used;
        for file in files {
            let target = if is_wanted(&file) { self.budget } else { self.budget.saturating_sub(needed) };
            if left <= target {
                break;
            }
            if fs::remove_file(&file.path).is_ok() {
                left = left.saturating_sub(file.bytes);
            }
        }
        self.used.store(left, Ordering::Relaxed);
    }

    /// What the picture of an image is called: its content and the side of the input.
    pub fn name(content: &[u8; 32], imgsz: u32) -> String {
        // 128 bits of a good hash: no two images of a folder share them.
        format!("{imgsz}-{}", hex(&content[..16]))
    }

    /// Bytes of a picture in the folder.
    pub fn bytes(fit_w: u32, fit_h: u32) -> u64 {
        HEADER as u64 + u64::from(fit_w) * u64::from(fit_h) * 3
    }

    /// The picture of this name; `None` where there is no good one.
    pub fn get(&self, name: &str) -> Option<Fitted> {
        if self.slow.load(Ordering::Relaxed) {
            return None;
        }
        let started = Instant::now();
        let path = self.path(name);
        let bytes = fs::read(&path).ok()?;
        let Some(fitted) = parse(&bytes) else {
            tracing::debug!(path = %path.display(), "a damaged picture is thrown out of the cache");
            if fs::remove_file(&path).is_ok() {
                let _ = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| Some(used.saturating_sub(bytes.len() as u64)));
            }
            return None;
        };
        self.reads.add(started);
        self.give_up_if_slow();
        Some(fitted)
    }

    /// How long an image took to decode and resize, since `started`: what reading is compared with.
    pub fn decoded(&self, started: Instant) {
        self.decodes.add(started);
    }

    /// A card that reads 20 MB/s needs 35 ms for a picture of 640 × 360; decoding it needs 5.
    fn give_up_if_slow(&self) {
        if let (Some(read), Some(decode)) = (self.reads.mean(), self.decodes.mean())
            && read > decode
            && !self.slow.swap(true, Ordering::Relaxed)
        {
            let (read, decode) = (read * 1e-6, decode * 1e-6);
            tracing::info!("the cache on disk is slower ({read:.1} ms a picture) than decoding ({decode:.1} ms): going on without it");
        }
    }

    /// Keeps a picture, if there is room.
    pub fn put(&self, name: &str, fitted: &Fitted) {
        let bytes = Self::bytes(fitted.image.width, fitted.image.height);
        let take = |used: u64| used.checked_add(bytes).filter(|&after| after <= self.budget);
        if self.full.load(Ordering::Relaxed)
            || self.slow.load(Ordering::Relaxed)
            || self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_err()
        {
            return;
        }
        if let Err(error) = self.write(name, fitted) {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
            if !self.full.swap(true, Ordering::Relaxed) {
                tracing::info!(dir = %self.dir.display(), "no more pictures are kept on disk ({error}); the training goes on without");
            }
        }
    }

    fn write(&self, name: &str, fitted: &Fitted) -> io::Result<()> {
        if free_bytes(&self.dir).is_some_and(|free| free < SPARE) {
            return Err(io::Error::other("less than 1 GiB is free on its disk"));
        }
        let path = self.path(name);
        let dir = path.parent().unwrap_or(&self.dir);
        fs::create_dir_all(dir)?;
        // Two workers, or two processes, may write the same picture: each into a file of its own, and the last rename wins.
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let staged = dir.join(format!("{name}-{}-{}.{STAGED}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
        let written = fs::write(&staged, serialise(fitted)).and_then(|()| fs::rename(&staged, &path));
        written.inspect_err(|_| drop(fs::remove_file(&staged)))
    }

    /// 256 folders, so that none has more than some thousand files.
    fn path(&self, name: &str) -> PathBuf {
        let shard = name.get(name.len().saturating_sub(2)..).unwrap_or("00");
        self.dir.join(shard).join(format!("{name}.{ENDING}"))
    }
}

/// Bytes that this user may still write to the file system of `dir`, which need not be there yet.
pub fn free_bytes(dir: &Path) -> Option<u64> {
    let stat = dir.ancestors().find_map(|dir| rustix::fs::statvfs(dir).ok())?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

fn serialise(fitted: &Fitted) -> Vec<u8> {
    let Fitted { image, src_w, src_h } = fitted;
    let mut bytes = Vec::with_capacity(HEADER + image.data.len());
    bytes.extend(MAGIC);
    bytes.extend([image.width, image.height, *src_w, *src_h].into_iter().flat_map(u32::to_le_bytes));
    let mut sum = crc32fast::Hasher::new();
    sum.update(&bytes);
    sum.update(&image.data);
    bytes.extend(sum.finalize().to_le_bytes());
    bytes.extend_from_slice(&image.data);
    bytes
}

fn parse(bytes: &[u8]) -> Option<Fitted> {
    let (header, data) = bytes.split_at_checked(HEADER)?;
    let number = |at: usize| header.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
    let (width, height, src_w, src_h) = (number(8)?, number(12)?, number(16)?, number(20)?);
    let mut sum = crc32fast::Hasher::new();
    sum.update(&header[..HEADER - 4]);
    sum.update(data);
    if !header.starts_with(MAGIC) || number(24)? != sum.finalize() {
        return None;
    }
    let image = Image { width, height, data: data.to_vec() };
    (image.is_whole() && src_w > 0 && src_h > 0).then_some(Fitted { image, src_w, src_h })
}

struct File {
    path: PathBuf,
    bytes: u64,
    modified: SystemTime,
    staged: bool,
}

struct Files;

impl Files {
    /// Our files, and nothing that somebody else has put into the folder.
    fn list(dir: &Path) -> io::Result<Vec<File>> {
        let mut files = Vec::new();
        let shards = match fs::read_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(files),
            shards => shards?,
        };
        for shard in shards.flatten() {
            let is_shard = shard.file_name().to_str().is_some_and(|name| name.len() == 2 && name.bytes().all(|b| b.is_ascii_hexdigit()));
            let Some(entries) = is_shard.then(|| fs::read_dir(shard.path()).ok()).flatten() else { continue };
            for entry in entries.flatten() {
                let path = entry.path();
                let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
                let (true, Ok(meta)) = (ending == ENDING || ending == STAGED, entry.metadata()) else { continue };
                let modified = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                files.push(File { bytes: meta.len(), modified, staged: ending == STAGED, path });
            }
        }
        Ok(files)
    }
}

#[cfg(test)]
mod tests;
