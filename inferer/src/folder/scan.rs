//! Which images a folder holds, and which of them have not been seen in their present state.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Deeper folders are not looked into: nobody sorts images so deep, and a mount loop must end.
const DEEPEST: usize = 16;
/// More images than this are not remembered: at about 150 bytes each a million takes 150 MB.
pub const MOST_IMAGES: usize = 1_000_000;

/// A file's state: another one means another content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Bytes.
    pub bytes: u64,
    /// Last change.
    pub modified: Option<SystemTime>,
}

/// What is there.
#[derive(Debug, Default)]
pub struct Listing {
    /// Images in the order of their paths.
    pub images: Vec<(PathBuf, Stamp)>,
    /// Whether there were more than [`MOST_IMAGES`].
    pub cut: bool,
}

/// The state of a file now.
///
/// # Errors
/// It has gone, or cannot be looked at.
pub fn stamp(path: &Path) -> io::Result<Stamp> {
    let metadata = path.metadata()?;
    Ok(Stamp { bytes: metadata.len(), modified: metadata.modified().ok() })
}

/// Lists images, nested or flat, without hidden ones. What vanishes or cannot be read while listing is left out.
///
/// # Errors
/// The folder itself cannot be read.
pub fn list(root: &Path) -> io::Result<Listing> {
    let mut listing = Listing::default();
    let mut folders = vec![(root.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if depth == 0 => return Err(error),
            Err(_) => continue,
        };
        for entry in entries.flatten() {
            let Ok(kind) = entry.file_type() else { continue };
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let path = entry.path();
            if kind.is_dir() {
                if depth < DEEPEST {
                    folders.push((path, depth + 1));
                }
            } else if is_image(&path) {
                if listing.images.len() == MOST_IMAGES {
                    listing.cut = true;
                    break;
                }
                // A link to a file counts as a file; a link to a folder has no image's name.
                if let Ok(stamp) = stamp(&path) {
                    listing.images.push((path, stamp));
                }
            }
        }
    }
    listing.images.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    Ok(listing)
}

/// Whether a path has an image's name.
#[must_use]
pub fn is_image(path: &Path) -> bool {
    let extension = path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
    matches!(extension.as_deref(), Some("jpg" | "jpeg" | "png" | "bmp" | "webp"))
}

/// How often an image that cannot be decoded is tried again in the same state before it counts as broken: it may still be
/// in the writing, and a slow writer's pauses are shorter than three passes.
const TRIES: u32 = 3;

/// What has been seen, and in which state.
#[derive(Debug, Default)]
pub struct Seen {
    done: HashMap<PathBuf, Stamp>,
    trying: HashMap<PathBuf, (Stamp, u32)>,
}

impl Seen {
    /// Forgets everything: another model has to see it all.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Whether the image has not been seen in this state.
    #[must_use]
    pub fn is_new(&self, path: &Path, stamp: Stamp) -> bool {
        self.done.get(path) != Some(&stamp)
    }

    /// The image has been dealt with in this state.
    pub fn finish(&mut self, path: &Path, stamp: Stamp) {
        self.trying.remove(path);
        self.done.insert(path.to_owned(), stamp);
    }

    /// The image could not be used in this state; true when that is final.
    pub fn fail(&mut self, path: &Path, stamp: Stamp) -> bool {
        let (last, tries) = self.trying.get(path).copied().unwrap_or((stamp, 0));
        let tries = if last == stamp { tries + 1 } else { 1 };
        if tries >= TRIES {
            self.finish(path, stamp);
            return true;
        }
        self.trying.insert(path.to_owned(), (stamp, tries));
        false
    }

    /// The image stays new and is tried again, however often: the fault is not its own.
    pub fn postpone(&mut self, path: &Path) {
        self.trying.insert(path.to_owned(), (Stamp { bytes: 0, modified: None }, 0));
    }

    /// Forgets images that are no longer there.
    pub fn retain(&mut self, listing: &Listing) {
        let present = |path: &PathBuf| listing.images.binary_search_by(|(p, _)| p.cmp(path)).is_ok();
        if !listing.cut {
            self.done.retain(|path, _| present(path));
            self.trying.retain(|path, _| present(path));
        }
    }

    /// Whether some image is being tried again.
    #[must_use]
    pub fn is_trying(&self) -> bool {
        !self.trying.is_empty()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs;

    #[test]
    fn images_are_found_nested_or_flat_and_hidden_ones_are_not() {
        let dir = tempfile::tempdir().unwrap();
        for file in ["b.jpg", "a.PNG", "x.txt", "sub/deep/c.webp", ".hidden.jpg", ".tmp/d.jpg", "e.jpg.part"] {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        let found: Vec<_> =
            list(dir.path()).unwrap().images.into_iter().map(|(p, _)| p.strip_prefix(dir.path()).unwrap().to_owned()).collect();
        assert_eq!(found, ["a.PNG", "b.jpg", "sub/deep/c.webp"].map(PathBuf::from));
        assert!(list(&dir.path().join("none")).is_err());
    }

    #[test]
    fn an_image_is_new_until_finished_and_again_when_it_changes() {
        let (path, mut seen) = (Path::new("a.jpg"), Seen::default());
        let [first, second] = [1, 2].map(|bytes| Stamp { bytes, modified: None });
        assert!(seen.is_new(path, first));
        seen.finish(path, first);
        assert!(!seen.is_new(path, first) && seen.is_new(path, second));
        seen.clear();
        assert!(seen.is_new(path, first));
    }

    #[test]
    fn a_broken_image_is_given_up_after_three_tries_in_one_state() {
        let (path, mut seen) = (Path::new("a.jpg"), Seen::default());
        let [half, whole] = [1, 2].map(|bytes| Stamp { bytes, modified: None });
        assert!(!seen.fail(path, half) && !seen.fail(path, half));
        assert!(!seen.fail(path, whole), "it grew: counting starts again");
        assert!(!seen.fail(path, whole) && seen.fail(path, whole));
        assert!(!seen.is_new(path, whole) && !seen.is_trying());
    }
}
