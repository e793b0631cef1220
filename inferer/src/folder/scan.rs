//! Which images a folder holds, found one by one, and which of them have not been seen in their present state.

use std::collections::HashMap;
use std::ffi::OsString;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use std::vec::IntoIter;

/// Deeper folders are not looked into: nobody sorts images so deep, and a mount loop must end.
const DEEPEST: usize = 16;
/// More images than this are not remembered: at 25 to 50 bytes each a million takes 25 to 50 MB.
pub const MOST_IMAGES: usize = 1_000_000;

/// A file's state: another one means another content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// Bytes.
    pub bytes: u64,
    /// Last change.
    pub modified: Option<SystemTime>,
}

/// The state of a file now.
///
/// # Errors
/// It has gone, or cannot be looked at.
pub fn stamp(path: &Path) -> io::Result<Stamp> {
    let metadata = path.metadata()?;
    if !metadata.is_file() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    Ok(Stamp { bytes: metadata.len(), modified: metadata.modified().ok() })
}

/// Whether a path has an image's name, and none of its parts below `root` is hidden.
#[must_use]
pub fn is_image(path: &Path) -> bool {
    let extension = path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
    matches!(extension.as_deref(), Some("jpg" | "jpeg" | "png" | "bmp" | "webp"))
}

/// Whether a part of the path below `root` is hidden: somebody's half-written file, or another program's business.
#[must_use]
pub fn is_hidden(root: &Path, path: &Path) -> bool {
    let below = path.strip_prefix(root).unwrap_or(path);
    below.components().any(|part| part.as_os_str().as_encoded_bytes().starts_with(b"."))
}

/// A way through all images of a folder, nested or flat, without hidden ones, a folder after the other. Only the names of one
/// folder are in memory. What vanishes or cannot be read on the way is left out.
#[derive(Debug)]
pub struct Walk {
    folder: PathBuf,
    names: IntoIter<OsString>,
    later: Vec<(PathBuf, usize)>,
}

impl Walk {
    /// Begins.
    ///
    /// # Errors
    /// The folder itself cannot be read.
    pub fn begin(root: &Path) -> io::Result<Self> {
        let mut walk = Self { folder: root.to_owned(), names: Vec::new().into_iter(), later: Vec::new() };
        walk.enter(root, 0)?;
        Ok(walk)
    }

    fn enter(&mut self, folder: &Path, depth: usize) -> io::Result<()> {
        let (mut names, mut folders) = (Vec::new(), Vec::new());
        for entry in std::fs::read_dir(folder)?.flatten() {
            let name = entry.file_name();
            let Ok(kind) = entry.file_type() else { continue };
            if name.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            if kind.is_dir() {
                if depth < DEEPEST {
                    folders.push(entry.path());
                }
            } else if is_image(Path::new(&name)) && names.len() < MOST_IMAGES {
                // A link to a file counts as a file; a link to a folder has no image's name.
                names.push(name);
            }
        }
        names.sort_unstable();
        // Taken from the end: the first folder last.
        folders.sort_unstable_by(|a, b| b.cmp(a));
        self.later.extend(folders.into_iter().map(|folder| (folder, depth + 1)));
        (self.folder, self.names) = (folder.to_owned(), names.into_iter());
        Ok(())
    }
}

impl Iterator for Walk {
    type Item = PathBuf;

    fn next(&mut self) -> Option<PathBuf> {
        loop {
            if let Some(name) = self.names.next() {
                return Some(self.folder.join(name));
            }
            let (folder, depth) = self.later.pop()?;
            let _ = self.enter(&folder, depth);
        }
    }
}

/// How often an image that cannot be decoded is tried again in the same state before it counts as broken: it may still be
/// in the writing, and a slow writer's pauses are shorter than three passes.
const TRIES: u8 = 3;

/// What has been seen, and in which state: 24 bytes an image. Paths and states are kept as keyed 64-bit digests; of a million
/// images two are mistaken for each other with a chance of 3 in 100 million.
#[derive(Debug, Default)]
pub struct Seen {
    keys: RandomState,
    round: u32,
    images: HashMap<u64, Image>,
}

#[derive(Debug, Clone, Copy)]
struct Image {
    state: u64,
    /// The last walk that met it.
    round: u32,
    /// Tries in this state that failed; `DONE` when nothing is left to do.
    tries: u8,
}

const DONE: u8 = u8::MAX;

impl Seen {
    /// Forgets everything: another model has to see it all.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Images that are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.images.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.images.is_empty()
    }

    /// A walk begins.
    pub fn begin_walk(&mut self) {
        self.round = self.round.wrapping_add(1);
    }

    /// A walk has met everything that is there: what it has not met has gone.
    pub fn end_walk(&mut self) {
        let round = self.round;
        self.images.retain(|_, image| image.round == round);
        self.images.shrink_to(self.images.len() * 2);
    }

    /// Meets an image; true when there is something to do about it.
    pub fn meet(&mut self, path: &Path, stamp: Stamp) -> bool {
        let (state, round) = (self.keys.hash_one(stamp), self.round);
        match self.images.get_mut(&self.keys.hash_one(path)) {
            Some(image) => {
                image.round = round;
                image.tries != DONE || image.state != state
            }
            None => self.images.len() < MOST_IMAGES,
        }
    }

    /// The image has been dealt with in this state.
    pub fn finish(&mut self, path: &Path, stamp: Stamp) {
        self.set(path, stamp, DONE);
    }

    /// The image could not be used in this state; true when that is final.
    pub fn fail(&mut self, path: &Path, stamp: Stamp) -> bool {
        let before =
            self.images.get(&self.keys.hash_one(path)).filter(|image| image.tries != DONE && image.state == self.keys.hash_one(stamp));
        let tries = before.map_or(0, |image| image.tries) + 1;
        let last = tries >= TRIES;
        self.set(path, stamp, if last { DONE } else { tries });
        last
    }

    /// The image has gone.
    pub fn forget(&mut self, path: &Path) {
        self.images.remove(&self.keys.hash_one(path));
    }

    fn set(&mut self, path: &Path, stamp: Stamp, tries: u8) {
        let image = Image { state: self.keys.hash_one(stamp), round: self.round, tries };
        self.images.insert(self.keys.hash_one(path), image);
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
        for file in ["b.jpg", "a.PNG", "x.txt", "sub/deep/c.webp", "sub/a.bmp", "zoo/d.jpeg", ".hidden.jpg", ".tmp/d.jpg", "e.jpg.part"] {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        let found: Vec<_> = Walk::begin(dir.path()).unwrap().map(|path| path.strip_prefix(dir.path()).unwrap().to_owned()).collect();
        assert_eq!(found, ["a.PNG", "b.jpg", "sub/a.bmp", "sub/deep/c.webp", "zoo/d.jpeg"].map(PathBuf::from));
        assert!(Walk::begin(&dir.path().join("none")).is_err());
        assert!(is_hidden(dir.path(), &dir.path().join(".tmp/d.jpg")) && !is_hidden(dir.path(), &dir.path().join("sub/a.bmp")));
    }

    #[test]
    fn an_image_is_new_until_finished_and_again_when_it_changes() {
        let (path, mut seen) = (Path::new("a.jpg"), Seen::default());
        let [first, second] = [1, 2].map(|bytes| Stamp { bytes, modified: None });
        assert!(seen.meet(path, first));
        seen.finish(path, first);
        assert!(!seen.meet(path, first) && seen.meet(path, second));
        seen.clear();
        assert!(seen.meet(path, first));
    }

    #[test]
    fn a_broken_image_is_given_up_after_three_tries_in_one_state() {
        let (path, mut seen) = (Path::new("a.jpg"), Seen::default());
        let [half, whole] = [1, 2].map(|bytes| Stamp { bytes, modified: None });
        assert!(!seen.fail(path, half) && !seen.fail(path, half));
        assert!(!seen.fail(path, whole), "it grew: counting starts again");
        assert!(seen.meet(path, whole));
        assert!(!seen.fail(path, whole) && seen.fail(path, whole));
        assert!(!seen.meet(path, whole));
    }

    #[test]
    fn what_a_walk_does_not_meet_is_forgotten() {
        let mut seen = Seen::default();
        let stamp = Stamp { bytes: 1, modified: None };
        ["a.jpg", "b.jpg"].iter().for_each(|name| seen.finish(Path::new(name), stamp));
        seen.begin_walk();
        seen.meet(Path::new("a.jpg"), stamp);
        // Came by a notice while the walk was under way.
        seen.finish(Path::new("c.jpg"), stamp);
        seen.end_walk();
        assert_eq!(seen.len(), 2);
        assert!(seen.meet(Path::new("b.jpg"), stamp) && !seen.meet(Path::new("c.jpg"), stamp));
    }
}
