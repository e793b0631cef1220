//! What an image looks like, in 256 bits, for finding near duplicates.

use edgeloop_vision::Image;

/// Columns and rows of the grid; each cell but the last of a row is compared with its right neighbour (a «difference hash»).
const ROWS: usize = 16;
const COLUMNS: usize = 17;

/// Samples along a side of a cell: 64 of a cell say its brightness well enough, whatever the size of the image.
const SAMPLES: usize = 8;

/// A cell must be darker than its neighbour by this, of 255: in a plain sky the noise of a JPEG decides nothing.
const MARGIN: u32 = 2;

/// One bit for each of 16 × 16 places: does it get brighter to the right? Survives scaling, compression and a little light.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Look(pub [u16; ROWS]);

impl Look {
    /// Looks at an image.
    pub fn of(image: &Image) -> Self {
        let mut rows = [0; ROWS];
        for (row, bits) in rows.iter_mut().enumerate() {
            let cells: [u32; COLUMNS] = std::array::from_fn(|column| brightness(image, row, column));
            let brighter = cells.windows(2).enumerate().filter(|(_, pair)| pair[1] > pair[0] + MARGIN);
            *bits = brighter.fold(0, |bits, (at, _)| bits | 1 << at);
        }
        Self(rows)
    }

    /// Places where two images differ, 0 to 256.
    pub fn distance(&self, other: &Self) -> u32 {
        self.0.iter().zip(other.0).map(|(a, b)| (a ^ b).count_ones()).sum()
    }
}

/// Mean of the green channel, the one nearest to brightness, over a grid of samples in one cell.
fn brightness(image: &Image, row: usize, column: usize) -> u32 {
    let (width, height) = (image.width as usize, image.height as usize);
    let mut sum = 0;
    for y in 0..SAMPLES {
        let y = (row * SAMPLES + y) * height / (ROWS * SAMPLES);
        for x in 0..SAMPLES {
            let x = (column * SAMPLES + x) * width / (COLUMNS * SAMPLES);
            sum += u32::from(image.data[(y * width + x) * 3 + 1]);
        }
    }
    sum / (SAMPLES * SAMPLES) as u32
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use edgeloop_vision::{
        decode::{Limits, decode},
        encode::encode_jpeg,
        letterbox::resize,
    };

    /// Soft blobs, another arrangement for every number.
    fn scene(number: u32) -> Image {
        let mut image = Image::filled(240, 160, [0; 3]);
        for (at, pixel) in image.data.chunks_exact_mut(3).enumerate() {
            let (x, y) = ((at % 240) as f32, (at / 240) as f32);
            let wave = |k: f32| ((x * k + number as f32 * 1.7).sin() + (y * k * 0.7 - number as f32).cos()) * 60.0;
            pixel.fill((128.0 + wave(0.05) + wave(0.11) * 0.5).clamp(0.0, 255.0) as u8);
        }
        image
    }

    #[test]
    fn a_smaller_and_compressed_copy_looks_the_same_and_another_scene_does_not() {
        let (one, other) = (scene(1), scene(2));
        let copy = decode(&encode_jpeg(&resize(&one, 180, 120), 60).unwrap(), &Limits::default()).unwrap();
        assert!(Look::of(&one).distance(&Look::of(&copy)) <= 10, "{}", Look::of(&one).distance(&Look::of(&copy)));
        assert!(Look::of(&one).distance(&Look::of(&other)) > 40);
    }

    #[test]
    fn noise_on_a_plain_wall_decides_nothing_and_one_pixel_is_enough() {
        let mut wall = Image::filled(64, 64, [100; 3]);
        wall.data.iter_mut().step_by(7).for_each(|byte| *byte += 1);
        assert_eq!(Look::of(&wall), Look::default());
        assert_eq!(Look::of(&Image::filled(1, 1, [9; 3])), Look::default());
    }
}
