//! «Something may have changed in this folder.»
//!
//! Directories are watched, never files: the pointer is replaced by a rename, after which a watch on the file sees nothing.
//! A folder that does not exist yet is waited for at its nearest existing parent. A folder or a link on the way to it may be
//! exchanged as a whole, of which the folder itself tells nothing: the folders that hold those names are watched, too. Notices
//! are only a hint to look now: the owner looks on a timer as well, because network file systems send none, and small nodes run
//! out of inotify instances.

use std::collections::{HashMap, VecDeque};
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};

/// What to call when something changed.
pub type OnChange = Arc<dyn Fn() + Send + Sync>;

/// Device and inode: another folder under the same path has another one.
type Identity = (u64, u64);
/// A folder to watch, and how.
type Target = (Identity, RecursiveMode);

/// Links that are followed on the way to a folder; the kernel gives up at as many.
const MOST_LINKS: usize = 40;

/// Names under which one of the folders is reached: links, and the folders themselves.
#[derive(Debug, Default)]
struct Ways {
    folders: Vec<PathBuf>,
    names: Vec<PathBuf>,
}

impl Ways {
    /// Whether what happens to `path` can put another folder in the place of one of ours.
    fn concern(&self, path: &Path) -> bool {
        self.names.iter().any(|name| name == path) || self.folders.iter().any(|folder| folder.starts_with(path))
    }
}

/// A watch on folders that may come and go.
pub struct Watch {
    what: &'static str,
    mode: RecursiveMode,
    relevant: Arc<dyn Fn(&Path) -> bool + Send + Sync>,
    on_change: OnChange,
    watcher: Option<RecommendedWatcher>,
    armed: HashMap<PathBuf, Identity>,
    /// Where notices of the folders themselves come from.
    places: Vec<PathBuf>,
    ways: Arc<Mutex<Ways>>,
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
        Self {
            what,
            mode,
            relevant,
            on_change,
            watcher: None,
            armed: HashMap::new(),
            places: Vec::new(),
            ways: Arc::default(),
            complained: false,
        }
    }

    /// Whether notices can be expected.
    #[must_use]
    pub fn is_armed(&self) -> bool {
        !self.places.is_empty() && self.places.iter().all(|place| self.armed.contains_key(place))
    }

    /// Watches `folders`, or for each that is missing its nearest existing parent. Cheap when nothing has changed; call it
    /// before each look, so that a folder that was made or replaced in the meantime is seen.
    pub fn arm(&mut self, folders: &[PathBuf]) {
        // A folder may be made between the look for it and the watch on its parent, and of that no notice comes: look again
        // until nothing has moved. A path has few parents; one that keeps changing is left to the next call.
        for _ in 0..16 {
            let wanted = self.wanted(folders);
            self.arm_places(&wanted);
            if self.wanted(folders) == wanted {
                return;
            }
        }
    }

    /// What has to be watched for `folders` as things are now.
    fn wanted(&mut self, folders: &[PathBuf]) -> HashMap<PathBuf, Target> {
        let folders: Vec<PathBuf> = folders.iter().filter_map(|folder| std::path::absolute(folder).ok()).collect();
        let names: Vec<PathBuf> = folders.iter().flat_map(|folder| names_on_the_way(folder)).collect();
        let holders = names.iter().filter_map(|name| name.parent()).filter_map(|holder| {
            let metadata = holder.metadata().ok().filter(|m| m.is_dir())?;
            Some((holder.to_owned(), (identity(&metadata), RecursiveMode::NonRecursive)))
        });
        let mut wanted: HashMap<PathBuf, Target> = holders.collect();
        let places: Vec<(PathBuf, Target)> = folders.iter().filter_map(|folder| self.place(folder)).collect();
        self.places = places.iter().map(|(path, _)| path.clone()).collect();
        // Last: where a folder holds another's name, its own mode counts.
        wanted.extend(places);
        *self.ways.lock().unwrap_or_else(PoisonError::into_inner) = Ways { folders, names };
        wanted
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
                // A holder that may not be read costs the notice of an exchange, no more.
                Err(error) if !self.complained && self.places.contains(path) => {
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
                let (relevant, on_change, ways) = (self.relevant.clone(), self.on_change.clone(), self.ways.clone());
                self.watcher.insert(notify::recommended_watcher(move |event: notify::Result<Event>| {
                    // An error means lost notices: look.
                    if event.map_or(true, |event| counts(&event, &*relevant, &ways.lock().unwrap_or_else(PoisonError::into_inner))) {
                        on_change();
                    }
                })?)
            }
        };
        watcher.watch(path, mode)
    }

    /// The folder itself, or its nearest existing parent without what lies below it.
    fn place(&self, folder: &Path) -> Option<(PathBuf, Target)> {
        folder.ancestors().enumerate().find_map(|(up, path)| {
            let metadata = path.metadata().ok().filter(|m| m.is_dir())?;
            let mode = if up == 0 { self.mode } else { RecursiveMode::NonRecursive };
            Some((path.to_owned(), (identity(&metadata), mode)))
        })
    }
}

fn identity(metadata: &std::fs::Metadata) -> Identity {
    (metadata.dev(), metadata.ino())
}

/// Every link that is followed from `/` to `folder`, and what the folder is really called.
fn names_on_the_way(folder: &Path) -> Vec<PathBuf> {
    let parts = |path: &Path| path.components().map(|part| part.as_os_str().to_owned()).collect::<Vec<OsString>>();
    let mut rest: VecDeque<OsString> = parts(folder).into();
    let (mut at, mut names) = (PathBuf::new(), Vec::new());
    while let Some(part) = rest.pop_front() {
        match Path::new(&part).components().next() {
            Some(Component::RootDir) => at = PathBuf::from("/"),
            Some(Component::ParentDir) => {
                at.pop();
            }
            Some(Component::Normal(name)) => {
                at.push(name);
                let Some(target) = std::fs::read_link(&at).ok().filter(|_| names.len() < MOST_LINKS) else { continue };
                names.push(at.clone());
                at.pop();
                parts(&target).into_iter().rev().for_each(|part| rest.push_front(part));
            }
            Some(Component::CurDir | Component::Prefix(_)) | None => {}
        }
    }
    names.push(at);
    names
}

/// Opening and reading are what we do ourselves. Below a folder of ours other folders that come and go count whatever they are
/// called; beside it only what is on the way to it.
fn counts(event: &Event, relevant: &dyn Fn(&Path) -> bool, ways: &Ways) -> bool {
    let below = |path: &Path| ways.folders.iter().any(|folder| path.starts_with(folder));
    match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => event.paths.iter().any(|path| relevant(path)),
        EventKind::Access(_) => false,
        _ if event.need_rescan() || event.paths.is_empty() || event.paths.iter().any(|path| ways.concern(path)) => true,
        EventKind::Create(notify::event::CreateKind::Folder) | EventKind::Remove(notify::event::RemoveKind::Folder) => {
            event.paths.iter().any(|path| below(path))
        }
        _ => event.paths.iter().any(|path| relevant(path) && below(path)),
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

    #[test]
    fn a_folder_or_a_link_on_the_way_that_is_exchanged_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for folder in ["one", "two", "three", "plain"] {
            fs::create_dir_all(at(folder).join("models")).unwrap();
        }
        // As Kubernetes mounts a ConfigMap: the folder is a link to a folder behind a link.
        std::os::unix::fs::symlink("one", at("now")).unwrap();
        std::os::unix::fs::symlink("now/models", at("models")).unwrap();
        let (mut linked, notices) = watch(RecursiveMode::NonRecursive);
        linked.arm(&[at("models")]);
        let point = |to: &str| {
            std::os::unix::fs::symlink(to, at("next")).unwrap();
            fs::rename(at("next"), at("now")).unwrap();
        };
        for folder in ["two", "three"] {
            point(folder);
            noticed(&notices);
            linked.arm(&[at("models")]);
            fs::write(at(folder).join("models/pointer"), "1").unwrap();
            noticed(&notices);
        }
        fs::create_dir(at("somewhere else")).unwrap();
        assert!(notices.recv_timeout(Duration::from_millis(200)).is_err(), "a folder that is not on the way counted");

        let (mut plain, notices) = watch(RecursiveMode::NonRecursive);
        plain.arm(&[at("plain/models")]);
        fs::rename(at("plain/models"), at("plain/old")).unwrap();
        noticed(&notices);
        plain.arm(&[at("plain/models")]);
        fs::create_dir(at("fresh")).unwrap();
        fs::rename(at("fresh"), at("plain/models")).unwrap();
        noticed(&notices);
        plain.arm(&[at("plain/models")]);
        fs::write(at("plain/models/pointer"), "1").unwrap();
        noticed(&notices);
    }

    #[test]
    fn links_that_lead_nowhere_or_round_in_circles_are_given_up() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("round", dir.path().join("round")).unwrap();
        assert!(names_on_the_way(&dir.path().join("round")).len() <= MOST_LINKS + 1);
        assert_eq!(names_on_the_way(Path::new("/no/such")), [Path::new("/no/such")]);
    }
}
