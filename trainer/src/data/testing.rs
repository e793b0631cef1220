//! Small data sets for the tests of this module.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use edgeloop_vision::{Image, encode::encode_png};
use rand::{Rng, SeedableRng};
use std::{fs, path::Path};
use tempfile::TempDir;

/// A picture of its own for every number.
pub fn picture(number: u64, width: u32, height: u32) -> Image {
    let mut image = Image::filled(width, height, [0, 0, 0]);
    rand_chacha::ChaCha8Rng::seed_from_u64(number).fill_bytes(&mut image.data);
    image
}

/// Writes a file and the folders above it.
pub fn write(dir: &Path, name: &str, bytes: impl AsRef<[u8]>) {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Writes a PNG of 48 × 32.
pub fn write_picture(dir: &Path, name: &str, number: u64) {
    write(dir, name, encode_png(&picture(number, 48, 32)).unwrap());
}

/// A flat folder of labelled pictures `000.png` …, one box each, two classes.
pub fn flat(count: u64) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for number in 0..count {
        write_picture(dir.path(), &format!("{number:03}.png"), number);
        write(dir.path(), &format!("{number:03}.txt"), format!("{} 0.5 0.5 0.25 0.{}\n", number % 2, 25 + number));
    }
    write(dir.path(), "classes.txt", "bolt\nnut\n");
    dir
}
