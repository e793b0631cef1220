//! What is remembered from one scan to the next, and what is not.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use crate::data::testing::write_picture;
use std::{path::PathBuf, time::Duration};
use tempfile::TempDir;

struct Folder {
    images: TempDir,
    memory: TempDir,
    paths: Vec<PathBuf>,
}

impl Folder {
    fn new() -> Self {
        let images = tempfile::tempdir().unwrap();
        let paths = (0..6).map(|number| images.path().join(format!("{number}.png"))).collect();
        (0..6).for_each(|number| write_picture(images.path(), &format!("{number}.png"), number));
        Self { images, memory: tempfile::tempdir().unwrap(), paths }
    }

    fn scan(&self, settled: Duration) -> AllChecked {
        let mut memory = Memory::open(self.memory.path(), self.images.path()).with_settled(settled);
        let paths: Vec<&Path> = self.paths.iter().map(PathBuf::as_path).collect();
        let all = check_all(&paths, 2, &mut memory);
        memory.save();
        all
    }

    fn file(&self) -> PathBuf {
        fs::read_dir(self.memory.path()).unwrap().next().unwrap().unwrap().path()
    }
}

#[test]
fn an_unchanged_image_is_decoded_once_and_a_changed_one_again() {
    let folder = Folder::new();
    let first = folder.scan(Duration::ZERO);
    assert_eq!(first.remembered, 0);
    let second = folder.scan(Duration::ZERO);
    assert_eq!((second.remembered, &second.images), (6, &first.images));

    // The same length and modification time as before, as `cp -p` or rsync leaves them.
    let meta = fs::metadata(&folder.paths[2]).unwrap();
    let mut bytes = fs::read(&folder.paths[2]).unwrap();
    let last = bytes.len() - 20;
    bytes[last] ^= 1;
    fs::write(&folder.paths[2], bytes).unwrap();
    fs::File::options().write(true).open(&folder.paths[2]).unwrap().set_modified(meta.modified().unwrap()).unwrap();
    fs::remove_file(&folder.paths[3]).unwrap();
    let third = folder.scan(Duration::ZERO);
    assert_eq!(third.remembered, 4);
    assert!(third.images[2] != first.images[2] && third.images[3].is_err());
}

#[test]
fn an_image_that_may_still_be_written_to_is_not_remembered() {
    let folder = Folder::new();
    folder.scan(Duration::from_secs(3600));
    assert_eq!(folder.scan(Duration::from_secs(3600)).remembered, 0);
}

#[test]
fn a_damaged_memory_is_no_memory() {
    let folder = Folder::new();
    let first = folder.scan(Duration::ZERO);
    let good = fs::read(folder.file()).unwrap();
    let mut flipped = good.clone();
    flipped[60] ^= 4;
    for bad in [&good[..good.len() - 1], &good[..10], b"", &flipped] {
        fs::write(folder.file(), bad).unwrap();
        let again = folder.scan(Duration::ZERO);
        assert_eq!((again.remembered, &again.images), (0, &first.images));
    }
    assert_eq!(folder.scan(Duration::ZERO).remembered, 6);
}

#[test]
fn a_folder_that_cannot_be_written_to_costs_only_time() {
    let folder = Folder::new();
    let file = folder.memory.path().join("file");
    fs::write(&file, b"").unwrap();
    let mut memory = Memory::open(&file.join("sub"), folder.images.path());
    let all = check_all(&[&folder.paths[0]], 1, &mut memory);
    memory.save();
    assert!(all.images[0].is_ok());
}
