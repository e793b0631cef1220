//! «Something may have changed in this folder.»
//!
//! Directories are watched, never files: the pointer is replaced by a rename, after which a watch on the file sees nothing.
//! A folder that does not exist yet is waited for at its nearest existing parent. Notices are only a hint to look now: the
//! owner looks on a timer as well, because network file systems send none, and small nodes run out of inotify instances.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};

/// What to call when something changed.
pub type OnChange = Arc<dyn Fn() + Send + Sync>;

/// Device and inode: another folder under the same path has another one.
type Identity = (u64, u64);
/// A folder to watch, and how.
type Target = (Identity, RecursiveMode);

/// A watch on folders that may come and go.
pub struct Watch {
    what: &'static str,
    mode: RecursiveMode,
    relevant: Arc<dyn Fn(&Path) -> bool + Send + Sync>,
    on_change: OnChange,
    watcher: Option<RecommendedWatcher>,
    armed: HashMap<PathBuf, Identity>,
    complained: bool,
}

impl Watch {
    /// Watches nothing yet. `what` names the folder in log lines; of the changes only those of `relevant` paths count.
    pub fn new(
        what: &'static str,
        mode: RecursiveMode,
        relevant: impl Fn(&Path) -> bool + Send + Sync + 'static,
        on_change: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        let (relevant, on_change) = (Arc::new(relevant), Arc::new(on_change));
        Self { what, mode, relevant, on_change, watcher: None, armed: HashMap::new(), complained: false }
    }

    /// Whether notices can be expected.
    #[must_use]
    pub fn is_armed(&self) -> bool {
        !self.armed.is_empty()
    }

    /// Watches `folders`, or for each that is missing its nearest existing parent. Cheap when nothing has changed; call it
    /// before each look, so that a folder that was made or replaced in the meantime is seen.
    pub fn arm(&mut self, folders: &[PathBuf]) {
        // A folder may be made between the look for it and the watch on its parent, and of that no notice comes: look again
        // until nothing has moved. A path has few parents; one that keeps changing is left to the next call.
        for _ in 0..16 {
            let wanted: HashMap<PathBuf, Target> = folders.iter().filter_map(|folder| self.place(folder)).collect();
            self.arm_places(&wanted);
            if folders.iter().filter_map(|folder| self.place(folder)).collect::<HashMap<_, _>>() == wanted {
                return;
            }
        }
    }

    fn arm_places(&mut self, wanted: &HashMap<PathBuf, Target>) {
        let gone: Vec<PathBuf> =
            self.armed.iter().filter(|(path, id)| wanted.get(*path).is_none_or(|w| w.0 != **id)).map(|(path, _)| path.clone()).collect();
        for path in gone {
            self.armed.remove(&path);
            if let Some(watcher) = &mut self.watcher {
                // It fails when the folder has gone, and then there is nothing left to do.
                let _ = watcher.unwatch(&path);
            }
        }
        for (path, &(id, mode)) in wanted {
            if self.armed.contains_key(path) {
                continue;
            }
            match self.watch(path, mode) {
                Ok(()) => {
                    self.armed.insert(path.clone(), id);
                    if std::mem::take(&mut self.complained) {
                        tracing::info!(folder = self.what, "change notices work again");
                    }
                }
                Err(error) if !self.complained => {
                    self.complained = true;
                    tracing::warn!(folder = self.what, path = %path.display(), %error, "no change notices: looking on a timer only");
                }
                Err(_) => {}
            }
        }
    }

    fn watch(&mut self, path: &Path, mode: RecursiveMode) -> notify::Result<()> {
        let watcher = match &mut self.watcher {
            Some(watcher) => watcher,
            None => {
                let (relevant, on_change) = (self.relevant.clone(), self.on_change.clone());
                self.watcher.insert(notify::recommended_watcher(move |event: notify::Result<Event>| {
                    // An error means lost notices: look.
                    if event.map_or(true, |event| counts(&event, &*relevant)) {
                        on_change();
                    }
                })?)
            }
        };
        watcher.watch(path, mode)
    }

    /// The folder itself, or its nearest existing parent without what lies below it.
    fn place(&self, folder: &Path) -> Option<(PathBuf, Target)> {
        let absolute = std::path::absolute(folder).ok()?;
        absolute.ancestors().enumerate().find_map(|(up, path)| {
            let metadata = path.metadata().ok().filter(|m| m.is_dir())?;
            let mode = if up == 0 { self.mode } else { RecursiveMode::NonRecursive };
            Some((path.to_owned(), ((metadata.dev(), metadata.ino()), mode)))
        })
    }
}

/// Opening and reading are what we do ourselves; folders coming and going count whatever their names are.
fn counts(event: &Event, relevant: &dyn Fn(&Path) -> bool) -> bool {
    match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => event.paths.iter().any(|path| relevant(path)),
        EventKind::Access(_) => false,
        EventKind::Create(notify::event::CreateKind::Folder) | EventKind::Remove(notify::event::RemoveKind::Folder) => true,
        _ => event.need_rescan() || event.paths.is_empty() || event.paths.iter().any(|path| relevant(path)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs;
    use std::sync::mpsc::{Receiver, channel};
    use std::time::Duration;

    fn watch(mode: RecursiveMode) -> (Watch, Receiver<()>) {
        let (sender, receiver) = channel();
        let watch = Watch::new(
            "test",
            mode,
            |p| p.file_name().is_some_and(|n| n == "pointer"),
            move || {
                let _ = sender.send(());
            },
        );
        (watch, receiver)
    }

    fn noticed(receiver: &Receiver<()>) {
        receiver.recv_timeout(Duration::from_secs(10)).expect("a notice");
        while receiver.recv_timeout(Duration::from_millis(50)).is_ok() {}
    }

    #[test]
    fn a_rename_over_the_pointer_is_noticed_and_reading_it_is_not() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("pointer"), "1").unwrap();
        let (mut watch, notices) = watch(RecursiveMode::NonRecursive);
        watch.arm(&[dir.path().to_owned()]);
        assert!(watch.is_armed());
        for n in 0..3 {
            fs::write(dir.path().join(".new"), format!("{n}")).unwrap();
            fs::rename(dir.path().join(".new"), dir.path().join("pointer")).unwrap();
            noticed(&notices);
        }
        fs::read(dir.path().join("pointer")).unwrap();
        fs::write(dir.path().join("status"), "x").unwrap();
        assert!(notices.recv_timeout(Duration::from_millis(200)).is_err(), "reading, or a file that does not matter, counted");
    }

    #[test]
    fn a_folder_that_comes_later_or_is_replaced_is_watched_too() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("data/models");
        let (mut watch, notices) = watch(RecursiveMode::NonRecursive);
        watch.arm(std::slice::from_ref(&folder));
        fs::create_dir(dir.path().join("data")).unwrap();
        noticed(&notices);
        watch.arm(std::slice::from_ref(&folder));
        for _ in 0..2 {
            fs::create_dir(&folder).unwrap();
            noticed(&notices);
            watch.arm(std::slice::from_ref(&folder));
            fs::write(folder.join("pointer"), "1").unwrap();
            noticed(&notices);
            fs::remove_dir_all(&folder).unwrap();
            noticed(&notices);
            watch.arm(std::slice::from_ref(&folder));
        }
    }
}
