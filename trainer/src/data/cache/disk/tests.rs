//! What is kept, what is not believed, and what is thrown out.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use crate::data::testing::picture;
use tempfile::TempDir;

fn fitted(number: u64) -> Fitted {
    Fitted { image: picture(number, 20, 10), src_w: 200, src_h: 101 }
}

fn name(number: u8) -> String {
    DiskCache::name(&[number; 32], 64)
}

fn open(dir: &TempDir, pictures: u64) -> DiskCache {
    DiskCache::open(dir.path(), pictures * DiskCache::bytes(20, 10)).unwrap()
}

#[test]
fn a_picture_comes_back_as_it_was_also_for_the_next_process() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(&dir, 9);
    assert_eq!(cache.get(&name(1)), None);
    cache.put(&name(1), &fitted(1));
    assert_eq!(cache.get(&name(1)), Some(fitted(1)));
    assert_eq!(open(&dir, 9).get(&name(1)), Some(fitted(1)));
    assert_ne!(DiskCache::name(&[1; 32], 64), DiskCache::name(&[1; 32], 96), "another size is another picture");
}

#[test]
fn a_damaged_picture_is_thrown_out() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(&dir, 9);
    let path = cache.path(&name(1));
    for damage in 0..4 {
        cache.put(&name(1), &fitted(1));
        let mut bytes = fs::read(&path).unwrap();
        match damage {
            0 => bytes.truncate(bytes.len() - 1),
            1 => bytes[HEADER + 5] ^= 1,
            2 => bytes[9] ^= 1,
            _ => bytes.clear(),
        }
        fs::write(&path, bytes).unwrap();
        assert_eq!(cache.get(&name(1)), None, "damage {damage}");
        assert!(!path.exists());
    }
}

#[test]
fn the_budget_holds_and_room_is_made_where_nobody_wants_the_old() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(&dir, 3);
    (0..5).for_each(|number| cache.put(&name(number), &fitted(u64::from(number))));
    let there = |cache: &DiskCache| (0..5).filter(|&number| cache.get(&name(number)).is_some()).collect::<Vec<_>>();
    assert_eq!(there(&cache), [0, 1, 2]);

    let cache = open(&dir, 3);
    cache.make_room(&HashSet::from([name(1), name(4)]), DiskCache::bytes(20, 10));
    cache.put(&name(4), &fitted(4));
    assert_eq!(there(&cache).len(), 3);
    assert!(there(&cache).contains(&1) && there(&cache).contains(&4));

    // Somebody made the budget smaller.
    let smaller = open(&dir, 1);
    smaller.make_room(&HashSet::from([name(1), name(4)]), 0);
    assert_eq!(there(&smaller).len(), 1);
}

#[test]
fn a_folder_that_vanishes_costs_nothing_but_time() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(&dir, 9);
    fs::remove_dir_all(dir.path()).unwrap();
    fs::write(dir.path(), b"a file where the folder was").unwrap();
    cache.put(&name(1), &fitted(1));
    assert_eq!(cache.get(&name(1)), None);
    fs::remove_file(dir.path()).unwrap();
    let nowhere = DiskCache::open(Path::new("/proc/nowhere"), 1 << 20).unwrap();
    nowhere.put(&name(1), &fitted(1));
    assert_eq!(nowhere.get(&name(1)), None);
}

#[test]
fn a_folder_that_is_not_needed_is_not_made() {
    let dir = tempfile::tempdir().unwrap();
    let cache = DiskCache::open(&dir.path().join("a/b"), 1 << 20).unwrap();
    assert!(cache.get(&name(1)).is_none() && !dir.path().join("a").exists());
    cache.put(&name(1), &fitted(1));
    assert!(cache.get(&name(1)).is_some());
}

#[test]
fn what_others_have_in_the_folder_stays() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("aa")).unwrap();
    for file in ["notes.txt", "aa/notes.txt", "holiday.pic"] {
        fs::write(dir.path().join(file), vec![0; 4096]).unwrap();
    }
    let cache = open(&dir, 1);
    cache.make_room(&HashSet::new(), 0);
    cache.put(&name(1), &fitted(1));
    assert!(cache.get(&name(1)).is_some());
    assert!(["notes.txt", "aa/notes.txt", "holiday.pic"].into_iter().all(|file| dir.path().join(file).exists()));
}

#[test]
fn a_disk_slower_than_decoding_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(&dir, 9);
    cache.put(&name(1), &fitted(1));
    cache.decodes.times.store(TIMED, Ordering::Relaxed);
    cache.reads.times.store(TIMED, Ordering::Relaxed);
    cache.reads.nanoseconds.store(u64::MAX >> 8, Ordering::Relaxed);
    assert!(cache.get(&name(1)).is_some());
    assert_eq!(cache.get(&name(1)), None);
}
