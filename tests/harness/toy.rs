//! A data set that a detector learns within seconds: bright squares and dark discs on grey.

use std::{fs, path::Path};

use edgeloop_vision::{Image, encode::encode_jpeg};

const SIZE: u32 = 96;
const PART: u32 = 32;

/// Image number `n` as a JPEG: a square (class 0) and a disc (class 1) at places that depend on `n`.
///
/// # Panics
/// Never: the image is well formed.
pub fn toy_jpeg(n: u32) -> Vec<u8> {
    draw(n).0
}

/// Writes `count` images with YOLO rows beside them, and `classes.txt`.
///
/// # Panics
/// When `dir` cannot be written.
pub fn write_toy_dataset(dir: &Path, count: u32) {
    fs::create_dir_all(dir).expect("the test's folder is writable");
    fs::write(dir.join("classes.txt"), "square\ndisc\n").expect("the test's folder is writable");
    for n in 0..count {
        let (jpeg, rows) = draw(n);
        fs::write(dir.join(format!("{n:04}.jpg")), jpeg).expect("the test's folder is writable");
        fs::write(dir.join(format!("{n:04}.txt")), rows).expect("the test's folder is writable");
    }
}

fn draw(n: u32) -> (Vec<u8>, String) {
    let (square, disc) = ((3 + n * 7 % 29, 5 + n * 11 % 53), (60 - n * 5 % 23, 58 - n * 13 % 51));
    let mut data = vec![0; (SIZE * SIZE * 3) as usize];
    for y in 0..SIZE {
        for x in 0..SIZE {
            let (dx, dy) = (x as i32 - (disc.0 + PART / 2) as i32, y as i32 - (disc.1 + PART / 2) as i32);
            let value = if dx * dx + dy * dy <= ((PART / 2) * (PART / 2)) as i32 {
                [20, 30, 40]
            } else if (square.0..square.0 + PART).contains(&x) && (square.1..square.1 + PART).contains(&y) {
                [240, 220, 60]
            } else {
                [110 + ((x * 7 + y * 3 + n) % 13) as u8; 3]
            };
            let at = ((y * SIZE + x) * 3) as usize;
            data[at..at + 3].copy_from_slice(&value);
        }
    }
    let row = |class: u32, (x, y): (u32, u32)| {
        let centre = |v: u32| (f64::from(v) + f64::from(PART) / 2.0) / f64::from(SIZE);
        let side = f64::from(PART) / f64::from(SIZE);
        format!("{class} {:.6} {:.6} {side:.6} {side:.6}\n", centre(x), centre(y))
    };
    let jpeg = encode_jpeg(&Image { width: SIZE, height: SIZE, data }, 90).expect("a well-formed image encodes");
    (jpeg, row(0, square) + &row(1, disc))
}
