//! Reading images: one for the loaders, all of them once for the scan.

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

/// An image that decodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checked {
    /// SHA-256 of the file.
    pub content: [u8; 32],
    /// Columns of the upright image.
    pub width: u32,
    /// Rows of the upright image.
    pub height: u32,
}

/// Decodes every image on a few threads. A header would be cheaper to read, but a photo that is still being copied has a
/// good one; a decode of each is a fraction of what one epoch costs.
pub fn check_all(paths: &[&Path], threads: usize) -> Vec<Result<Checked, String>> {
    let results: Vec<Mutex<Result<Checked, String>>> = paths.iter().map(|_| Mutex::new(Err("not read".to_owned()))).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(at) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|&at| at < paths.len()) {
            *results[at].lock().unwrap_or_else(PoisonError::into_inner) = check(paths[at]);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.min(paths.len()) {
            scope.spawn(work);
        }
        work();
    });
    results.into_iter().map(|result| result.into_inner().unwrap_or_else(PoisonError::into_inner)).collect()
}

fn check(path: &Path) -> Result<Checked, String> {
    let bytes = read(path)?;
    let image = decode(&bytes, &Limits::default()).map_err(|error| error.to_string())?;
    Ok(Checked { content: Sha256::digest(&bytes).into(), width: image.width, height: image.height })
}

/// Reads and decodes one image. The error is in words.
pub fn read_image(path: &Path) -> Result<Image, String> {
    decode(&read(path)?, &Limits::default()).map_err(|error| error.to_string())
}

/// Reads a file, but no more of it than the decoder would take: one byte over the limit is enough for it to refuse.
fn read(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(|error| format!("cannot be opened: {error}"))?;
    file.take(Limits::default().max_bytes + 1).read_to_end(&mut bytes).map_err(|error| format!("cannot be read: {error}"))?;
    Ok(bytes)
}
