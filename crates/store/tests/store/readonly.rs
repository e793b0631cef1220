//! An inferer may have the folder mounted read-only: everything that it needs works without writing.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use edgeloop_store::{FileKind, Owner, Store, StoreError};

use super::shelf::Shelf;

const ROOT: &str = "STORE_TEST_READONLY";
/// «nobody»: permissions mean nothing to root, so the reader becomes somebody else.
const NOBODY: u32 = 65534;

fn set_modes(path: &Path, folder: u32, file: u32) {
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            set_modes(&entry.unwrap().path(), folder, file);
        }
        fs::set_permissions(path, Permissions::from_mode(folder)).unwrap();
    } else {
        fs::set_permissions(path, Permissions::from_mode(file)).unwrap();
    }
}

/// The reader's process.
#[test]
fn entry() {
    let Some(root) = std::env::var_os(ROOT) else { return };
    let store = Store::open(&root).unwrap();
    fs::write(Path::new(&root).join("probe"), b"").expect_err("the folder can be written to: this test would show nothing");
    let pointer = store.pointer().unwrap().unwrap();
    for kind in FileKind::ALL {
        assert_eq!(store.read_verified(&pointer.metadata, kind).unwrap()[0], 2);
    }
    store.verify(pointer.version()).unwrap();
    assert_eq!((store.versions().unwrap().len(), store.candidates().unwrap().len()), (2, 1));
    assert_eq!(store.history().unwrap().len(), 6);
    assert_eq!(store.training_status().unwrap(), None);
    // And a writer is told, rather than left waiting.
    assert!(matches!(store.lock_training(&Owner::current("test")), Err(StoreError::Io { .. })));
    assert!(matches!(store.rollback("test", ""), Err(StoreError::Io { .. })));
}

#[test]
fn a_reader_without_the_right_to_write_reads_everything() {
    let shelf = Shelf::new();
    shelf.promoted(1);
    shelf.promoted(2);
    shelf.rejected(3);
    // The binary may lie where only root may look: the reader gets a copy. Made by another process: a test that forks while this
    // one has the copy open for writing would keep it from being started.
    let bin = tempfile::tempdir().unwrap();
    let program = bin.path().join("reader");
    assert!(Command::new("cp").arg(std::env::current_exe().unwrap()).arg(&program).status().unwrap().success());
    set_modes(bin.path(), 0o755, 0o755);
    set_modes(shelf.root(), 0o555, 0o444);

    let mut command = Command::new(&program);
    command.args(["readonly::entry", "--exact", "--nocapture"]).env(ROOT, shelf.root()).current_dir("/");
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    let output = command.output().unwrap();
    set_modes(shelf.root(), 0o755, 0o644);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
