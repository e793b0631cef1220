//! Folders that it cannot train on: exit status, and what the person reading the log is told.

use std::{fs, path::Path};

use edgeloop_store::{OutcomeKind, Store};
use tempfile::TempDir;

use super::support::{self, Run, images, outcome, write};

fn train(images: &Path) -> (Run, TempDir) {
    let models = tempfile::tempdir().unwrap();
    (support::train(images, models.path(), &[("EPOCHS", "1"), ("GATE_MIN_MAP50", "0.1")]), models)
}

/// Trains, and nothing is promoted.
fn ends(images: &Path, code: i32, says: &[&str]) -> TempDir {
    let (run, models) = train(images);
    run.ends(code, says);
    assert!(!models.path().join("latest_metadata.json").exists());
    models
}

#[test]
fn no_folder_and_no_images_end_with_2() {
    let dir = tempfile::tempdir().unwrap();
    ends(dir.path(), 2, &["no images", dir.path().to_str().unwrap()]);
    ends(&dir.path().join("gone"), 2, &["gone", "cannot read"]);
}

#[test]
fn unreadable_images_end_with_2() {
    let dir = tempfile::tempdir().unwrap();
    for number in 0..3 {
        write(dir.path(), &format!("{number}.jpg"), b"no picture at all");
        write(dir.path(), &format!("{number}.txt"), "0 0.5 0.5 0.5 0.5");
    }
    ends(dir.path(), 2, &["0 of 3 images", "1.jpg"]);
}

#[test]
fn broken_rows_and_classes_out_of_range_end_with_2_and_name_file_and_line() {
    let dir = images(6);
    write(dir.path(), "02.txt", "0 0.5 0.5 0.5 0.5\n0 0.5 oops 0.5 0.5\n");
    write(dir.path(), "04.txt", "7 0.5 0.5 0.5 0.5\n");
    ends(dir.path(), 2, &["02.txt:2: `oops` is not a number", "04.txt:1: class 7 is out of range"]);
}

#[test]
fn images_without_labels_wait_for_them_and_end_with_0() {
    let dir = images(3);
    (0..3).for_each(|number| fs::remove_file(dir.path().join(format!("{number:02}.txt"))).unwrap());
    let models = ends(dir.path(), 0, &["waiting_for_labels"]);
    assert_eq!(outcome(models.path()), OutcomeKind::WaitingForLabels);
}

#[test]
fn one_bad_image_among_many_is_skipped_and_reported() {
    let dir = images(12);
    write(dir.path(), "05.png", b"half a pic");
    // One epoch teaches nothing: the gate rejects the model, which is no failure.
    let models = ends(dir.path(), 0, &["\"skipped\":1", "image skipped: ", "05.png"]);
    let candidates = Store::open(models.path()).unwrap().candidates().unwrap();
    assert_eq!(candidates.first().map(|metadata| metadata.dataset.skipped), Some(1));
}
