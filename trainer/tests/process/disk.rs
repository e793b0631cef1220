//! A disk that is too small, and one that fills up on the way. A small tmpfs stands for it; where tests may not mount one, this
//! is said and nothing is tested.

use std::{
    ffi::CString,
    fs,
    io::Write,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::channel,
    },
    thread::JoinHandle,
};

use edgeloop_store::Store;
use tempfile::TempDir;

use super::support::{Trainer, images, label, train};

/// A file system of so many MiB.
struct Disk {
    dir: TempDir,
}

impl Disk {
    fn new(mib: u32) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let text = |text: &str| CString::new(text).unwrap();
        let (target, kind, size) = (text(dir.path().to_str().unwrap()), text("tmpfs"), text(&format!("size={mib}m")));
        // SAFETY: all strings are NUL-terminated and live until it returns.
        let result = unsafe { libc::mount(kind.as_ptr(), target.as_ptr(), kind.as_ptr(), 0, size.as_ptr().cast()) };
        if result != 0 {
            eprintln!("not tested: no right to mount a tmpfs ({})", std::io::Error::last_os_error());
            return None;
        }
        Some(Self { dir })
    }

    fn models(&self) -> PathBuf {
        self.dir.path().join("models")
    }

    /// Leaves no byte, and takes what becomes free, until it is dropped.
    fn full(&self) -> Full {
        let (path, stop) = (self.dir.path().join("filler"), Arc::new(AtomicBool::new(false)));
        let (mut file, stopped) = (fs::File::create(&path).unwrap(), stop.clone());
        let (full, is_full) = channel();
        let thread = std::thread::spawn(move || {
            let block = vec![1; 1 << 16];
            while !stopped.load(Ordering::Relaxed) {
                if file.write(&block).is_err() {
                    let _ = full.send(());
                    std::thread::park_timeout(std::time::Duration::from_millis(1));
                }
            }
        });
        is_full.recv().unwrap();
        Full { path, stop, thread: Some(thread) }
    }
}

struct Full {
    path: PathBuf,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Full {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
        fs::remove_file(&self.path).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let target = CString::new(self.dir.path().to_str().unwrap()).unwrap();
        // SAFETY: the string is NUL-terminated and lives until it returns.
        unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) };
    }
}

fn served(models: &Path) -> String {
    let store = Store::open(models).unwrap();
    let version = store.pointer().unwrap().unwrap().metadata.version;
    store.verify(&version).unwrap();
    version.to_string()
}

#[test]
fn a_disk_that_is_too_small_is_refused_before_the_training() {
    let Some(disk) = Disk::new(100) else { return };
    let images = images(14);
    let run = train(images.path(), &disk.models(), &[]);
    run.ends(2, &["MiB free", "this training needs", "for checkpoints", "KEEP_VERSIONS"]);
    assert!(!run.text.contains("\"training\""));
}

#[test]
fn a_disk_that_fills_up_costs_the_training_and_nothing_that_was_published() {
    let Some(disk) = Disk::new(400) else { return };
    let (images, models) = (images(14), disk.models());
    train(images.path(), &models, &[("EPOCHS", "1")]).ends(0, &["\"promoted\""]);
    let first = served(&models);

    label(images.path(), 14..16);
    let more = [("EPOCHS", "12"), ("CHECKPOINT_INTERVAL", "100ms")];
    let mut trainer = Trainer::start(images.path(), &models, &more);
    trainer.event("epoch");
    let full = disk.full();
    // Checkpoints fail and are said to; the training goes on; what it made finds no room.
    let run = trainer.end();
    run.ends(1, &["cannot write the checkpoint", "the training goes on", "No space left on device"]);
    assert_eq!(served(&models), first);
    assert_eq!(Store::open(&models).unwrap().survey().unwrap().broken.len(), 0);

    // With room again it goes on from the last checkpoint that was whole.
    drop(full);
    let mut trainer = Trainer::start(images.path(), &models, &more);
    assert!(trainer.event("training")["epochs_done"].as_u64().unwrap() >= 1);
    trainer.end().ends(0, &[]);
    assert_eq!(Store::open(&models).unwrap().survey().unwrap().broken.len(), 0);
    served(&models);
}
