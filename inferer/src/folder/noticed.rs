//! Paths that change notices named, until the loop takes them: a bounded set, and one flag for all that does not fit.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::scan::{is_hidden, is_image};
use crate::reload::Wake;

/// More paths than this are one walk: at 200 bytes each they take 2 MB.
const MOST: usize = 10_000;

/// Clones are the same set.
#[derive(Debug, Clone)]
pub struct Noticed {
    root: Arc<Path>,
    wake: Wake,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    paths: HashSet<PathBuf>,
    everything: bool,
}

impl Noticed {
    /// Nothing noticed yet. `wake` is told of each notice.
    #[must_use]
    pub fn new(root: &Path, wake: Wake) -> Self {
        // As notices name them: absolute.
        let root = std::path::absolute(root).unwrap_or_else(|_| root.to_owned());
        Self { root: root.into(), wake, state: Arc::default() }
    }

    /// A path changed. Images are remembered by name; a folder that came in whole (moved here) has to be walked.
    pub fn path(&self, path: &Path) {
        if path.starts_with(&self.root) && !is_hidden(&self.root, path) && is_image(path) {
            self.again(path.to_owned());
            self.wake.look();
        } else if (path.starts_with(&self.root) && !is_hidden(&self.root, path) || self.root.starts_with(path)) && path.is_dir() {
            self.everything();
        }
    }

    /// Something changed, and nobody knows what.
    pub fn everything(&self) {
        self.state().everything = true;
        self.wake.look();
    }

    /// A path that the loop itself wants to see again, without waking it.
    pub fn again(&self, path: PathBuf) {
        let mut state = self.state();
        if state.paths.len() < MOST {
            state.paths.insert(path);
        } else {
            state.everything = true;
        }
    }

    /// Whether there is any path.
    #[must_use]
    pub fn has_paths(&self) -> bool {
        !self.state().paths.is_empty()
    }

    /// Whether everything has to be walked.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.state().everything
    }

    /// Takes the paths, in their order.
    #[must_use]
    pub fn take_paths(&self) -> Vec<PathBuf> {
        let mut paths: Vec<PathBuf> = std::mem::take(&mut self.state().paths).into_iter().collect();
        paths.sort_unstable();
        paths
    }

    /// A walk begins: it answers all that was noticed before.
    pub fn clear(&self) {
        *self.state() = State::default();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn images_are_remembered_once_and_a_flood_becomes_a_walk() {
        let dir = tempfile::tempdir().unwrap();
        let (wake, looks) = Wake::new();
        let noticed = Noticed::new(dir.path(), wake);
        noticed.path(&dir.path().with_file_name("elsewhere.jpg"));
        for name in ["a.jpg", "a.jpg", "cam/b.png", "notes.txt", ".part.jpg", ".tmp/c.jpg"] {
            noticed.path(&dir.path().join(name));
        }
        assert_eq!(noticed.take_paths(), ["a.jpg", "cam/b.png"].map(|name| dir.path().join(name)));
        assert!(looks.try_recv().is_ok() && !noticed.is_everything());
        (0..MOST + 1).for_each(|n| noticed.path(&dir.path().join(format!("{n}.jpg"))));
        assert!(noticed.is_everything() && noticed.take_paths().len() == MOST);
    }

    #[test]
    fn a_folder_that_was_moved_here_has_to_be_walked() {
        let dir = tempfile::tempdir().unwrap();
        let noticed = Noticed::new(dir.path(), Wake::new().0);
        std::fs::create_dir(dir.path().join("day.1")).unwrap();
        noticed.path(&dir.path().join("day.1"));
        assert!(noticed.is_everything());
        noticed.clear();
        assert!(!noticed.is_everything());
    }
}
