//! Reading images: one for the loaders, all of them for the scan.

mod look;
mod memory;

use edgeloop_vision::{
    Image,
    decode::{Limits, decode},
};
use sha2::{Digest, Sha256};
use std::{
    fs,
    io::Read,
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

pub use look::Look;
pub use memory::Memory;
use memory::Stamp;

/// An image that decodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checked {
    /// SHA-256 of the file.
    pub content: [u8; 32],
    /// Columns of the upright image.
    pub width: u32,
    /// Rows of the upright image.
    pub height: u32,
    /// What it looks like, roughly.
    pub look: Look,
}

/// What [`check_all`] found.
pub struct AllChecked {
    /// One for each path, in their order.
    pub images: Vec<Result<Checked, String>>,
    /// How many of them are unchanged since the memory was written, and were not read again.
    pub remembered: usize,
}

/// Decodes every image that `memory` does not know, on a few threads. A header would be cheaper to read, but a photo that is
/// still being copied has a good one. Afterwards `memory` knows these images and no others.
pub fn check_all(paths: &[&Path], threads: usize, memory: &mut Memory) -> AllChecked {
    let results: Vec<Mutex<Done>> = paths.iter().map(|_| Mutex::new(Done::default())).collect();
    let (next, known) = (AtomicUsize::new(0), &*memory);
    let work = || {
        while let Some(at) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|&at| at < paths.len()) {
            *results[at].lock().unwrap_or_else(PoisonError::into_inner) = check(paths[at], known);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.min(paths.len()) {
            scope.spawn(work);
        }
        work();
    });
    let mut all = AllChecked { images: Vec::with_capacity(paths.len()), remembered: 0 };
    memory.clear();
    for (path, done) in paths.iter().zip(results) {
        let Done { stamp, image, remembered } = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        let image = image.unwrap_or_else(|| Err("not read".to_owned()));
        if let (Some(stamp), Ok(checked)) = (stamp, &image) {
            memory.put(path, stamp, *checked);
        }
        all.remembered += usize::from(remembered);
        all.images.push(image);
    }
    all
}

#[derive(Default)]
struct Done {
    stamp: Option<Stamp>,
    image: Option<Result<Checked, String>>,
    remembered: bool,
}

fn check(path: &Path, memory: &Memory) -> Done {
    let stamp = Stamp::of(path);
    if let Some(checked) = stamp.and_then(|stamp| memory.get(path, &stamp)) {
        return Done { stamp, image: Some(Ok(checked)), remembered: true };
    }
    let image = decode_whole(path);
    // Written to while it was read: what was read is good, but belongs to no stamp.
    let stamp = stamp.filter(|stamp| Stamp::of(path).as_ref() == Some(stamp));
    Done { stamp, image: Some(image), remembered: false }
}

fn decode_whole(path: &Path) -> Result<Checked, String> {
    let bytes = read(path)?;
    let image = decode(&bytes, &Limits::default()).map_err(|error| error.to_string())?;
    Ok(Checked { content: Sha256::digest(&bytes).into(), width: image.width, height: image.height, look: Look::of(&image) })
}

/// Reads and decodes one image. The error is in words.
pub fn read_image(path: &Path) -> Result<Image, String> {
    decode(&read(path)?, &Limits::default()).map_err(|error| error.to_string())
}

/// As [`read_image`], with the SHA-256 of the file.
pub fn read_image_and_content(path: &Path) -> Result<(Image, [u8; 32]), String> {
    let bytes = read(path)?;
    let image = decode(&bytes, &Limits::default()).map_err(|error| error.to_string())?;
    Ok((image, Sha256::digest(&bytes).into()))
}

/// Reads a file, but no more of it than the decoder would take: one byte over the limit is enough for it to refuse.
fn read(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(|error| format!("cannot be opened: {error}"))?;
    file.take(Limits::default().max_bytes + 1).read_to_end(&mut bytes).map_err(|error| format!("cannot be read: {error}"))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
