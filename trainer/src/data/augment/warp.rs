//! Sampling a picture through an affine map into one plane per colour.

use super::{affine::Affine, place::Placement, projective::Projective};
use edgeloop_vision::Image;

/// A decoded picture, resized to fit the input; RGB, row-major.
#[derive(Debug)]
pub struct Tile {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Pixels, then one row and one pixel that are never seen: a sample on the last row or column reads its neighbour
    /// with weight 0, and needs no branch for it.
    data: Vec<u8>,
}

/// Fraction bits of a coordinate: 640 steps, each wrong by half a bit, are off by 0.005 px at the end of a row.
const BITS: u32 = 16;
/// Fraction bits of a weight; two weights and a byte fit in 24 bits.
const WEIGHT: u32 = 8;
const ONE: u32 = 1 << WEIGHT;

impl Tile {
    /// Takes a picture over.
    pub fn new(image: Image) -> Self {
        let (width, height) = (image.width as usize, image.height as usize);
        let mut data = image.data;
        let seen = width * height * 3;
        data.reserve_exact(width * 3 + 3);
        data.resize(seen + width * 3 + 3, 0);
        Self { width, height, data }
    }

    /// Memory it takes.
    pub fn bytes(&self) -> usize {
        self.data.len() + size_of::<Self>()
    }

    /// Draws the shown part into `out`, `[3, size, size]`. Pixels whose centre it does not cover are left as they are.
    pub fn warp(&self, placement: &Placement, size: usize, out: &mut [u8]) {
        let Some(back) = placement.map.inverse() else { return };
        let Some(back) = back.affine() else { return self.warp_tilted(&back, placement.shown, size, out) };
        let (red, rest) = out.split_at_mut(size * size);
        let (green, blue) = rest.split_at_mut(size * size);
        for row in 0..size {
            let (from, to) = covered(&back, placement.shown, row, size);
            if from >= to {
                continue;
            }
            let span = row * size + from..row * size + to;
            let (x, y) = back.apply(from as f64 + 0.5, row as f64 + 0.5);
            // Sampling is between pixel centres, hence the half.
            let start = Cursor { x: fixed(x - 0.5), y: fixed(y - 0.5), dx: fixed(back.a), dy: fixed(back.d) };
            self.sample(start, &mut red[span.clone()], &mut green[span.clone()], &mut blue[span]);
        }
    }

    /// The same pixel by pixel: with perspective the steps between samples differ.
    fn warp_tilted(&self, back: &Projective, (left, top, right, bottom): (f64, f64, f64, f64), size: usize, out: &mut [u8]) {
        let (red, rest) = out.split_at_mut(size * size);
        let (green, blue) = rest.split_at_mut(size * size);
        for at in 0..size * size {
            let Some((x, y)) = back.apply((at % size) as f64 + 0.5, (at / size) as f64 + 0.5) else { continue };
            if x >= left && x < right && y >= top && y < bottom {
                let here = Cursor { x: fixed(x - 0.5), y: fixed(y - 0.5), dx: 0, dy: 0 };
                self.sample(here, &mut red[at..=at], &mut green[at..=at], &mut blue[at..=at]);
            }
        }
    }

    /// One row. The release profile checks for overflow; `wrapping_*` keeps those checks out of the innermost loop, where every
    /// value is bounded: coordinates by the clamp, weights by 2^16, sums by 255 · 2^16.
    fn sample(&self, mut at: Cursor, red: &mut [u8], green: &mut [u8], blue: &mut [u8]) {
        let stride = self.width * 3;
        let (right, bottom) = (((self.width - 1) << BITS) as i32, ((self.height - 1) << BITS) as i32);
        for ((red, green), blue) in red.iter_mut().zip(green).zip(blue) {
            let (x, y) = (at.x.clamp(0, right) as u32, at.y.clamp(0, bottom) as u32);
            at.x = at.x.wrapping_add(at.dx);
            at.y = at.y.wrapping_add(at.dy);
            let (fx, fy) = ((x >> (BITS - WEIGHT)) & (ONE - 1), (y >> (BITS - WEIGHT)) & (ONE - 1));
            let offset = ((y >> BITS) as usize).wrapping_mul(stride).wrapping_add(((x >> BITS) as usize).wrapping_mul(3));
            let (Some(above), Some(below)) = (self.data.get(offset..offset + 6), self.data.get(offset + stride..offset + stride + 6))
            else {
                continue;
            };
            let (left, upper) = (ONE - fx, ONE - fy);
            let weights = [left.wrapping_mul(upper), fx.wrapping_mul(upper), left.wrapping_mul(fy), fx.wrapping_mul(fy)];
            let mix = |channel: usize| {
                let corners = [above[channel], above[channel + 3], below[channel], below[channel + 3]];
                let sum = corners
                    .iter()
                    .zip(weights)
                    .fold(1 << 15, |sum: u32, (&corner, weight)| sum.wrapping_add(u32::from(corner).wrapping_mul(weight)));
                (sum >> (2 * WEIGHT)) as u8
            };
            (*red, *green, *blue) = (mix(0), mix(1), mix(2));
        }
    }
}

/// A place in the picture and the step to the next sample, in units of 2^-16 px.
struct Cursor {
    x: i32,
    y: i32,
    dx: i32,
    dy: i32,
}

fn fixed(value: f64) -> i32 {
    (value * f64::from(1_u32 << BITS)).round() as i32
}

/// The columns of a row whose centres map into `shown`: `from..to`. Half open in the picture as well, so that neighbours in
/// a mosaic neither overlap nor leave a gap.
fn covered(back: &Affine, shown: (f64, f64, f64, f64), row: usize, size: usize) -> (usize, usize) {
    let y = row as f64 + 0.5;
    let (mut low, mut high) = (0.0_f64, size as f64);
    for (slope, offset, from, to) in [(back.a, back.b * y + back.c, shown.0, shown.2), (back.d, back.e * y + back.f, shown.1, shown.3)] {
        if slope.abs() < 1e-12 {
            if offset < from || offset >= to {
                return (0, 0);
            }
            continue;
        }
        let (one, other) = ((from - offset) / slope, (to - offset) / slope);
        low = low.max(one.min(other));
        high = high.min(one.max(other));
    }
    let column = |x: f64| (x - 0.5).ceil().clamp(0.0, size as f64) as usize;
    (column(low), column(high))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use crate::data::{
        Augment,
        augment::{Draws, mosaic, single},
    };
    use edgeloop_vision::letterbox::{letterbox_chw_u8, resize};
    use rand::{RngExt, SeedableRng};

    fn noise(width: u32, height: u32) -> Image {
        let mut image = Image::filled(width, height, [0, 0, 0]);
        rand_chacha::ChaCha8Rng::seed_from_u64(u64::from(width)).fill(&mut image.data[..]);
        image
    }

    fn still() -> Draws {
        Draws::new(&Augment::NONE, false, 0, 0, 0)
    }

    #[test]
    fn without_changes_a_picture_is_the_letterboxed_one_to_the_byte() {
        for (width, height) in [(100, 61), (61, 100), (97, 97)] {
            let image = noise(width * 2, height * 2);
            let (fit_w, fit_h) = (width, height);
            let (size, tile) = (fit_w.max(fit_h) as usize, Tile::new(resize(&image, fit_w, fit_h)));
            let mut ours = vec![114; 3 * size * size];
            tile.warp(&single(&still(), (tile.width, tile.height), size), size, &mut ours);
            let mut theirs = vec![0; 3 * size * size];
            letterbox_chw_u8(&image, size as u32, size as u32, &mut theirs);
            assert!(ours == theirs, "{width} x {height}");
        }
    }

    #[test]
    fn a_flipped_picture_is_mirrored_to_the_byte() {
        let image = noise(40, 40);
        let tile = Tile::new(image.clone());
        let mut out = vec![0; 3 * 1600];
        tile.warp(&single(&Draws { fliplr: true, ..still() }, (40, 40), 40), 40, &mut out);
        for (y, x) in (0..40).flat_map(|y| (0..40).map(move |x| (y, x))) {
            let at = y * 40 + x;
            assert_eq!(Some([out[at], out[1600 + at], out[3200 + at]]), image.pixel(39 - x as u32, y as u32));
        }
    }

    /// How often a mosaic draws each value of the input: its pictures, all of value 1, drawn one at a time and added up.
    fn times_drawn(draws: &Draws) -> Vec<u8> {
        let tile = Tile::new(Image::filled(64, 64, [1, 1, 1]));
        let mut sum = vec![0; 3 * 64 * 64];
        for place in mosaic(draws, [(64, 64); 4], 64) {
            let mut out = vec![0; 3 * 64 * 64];
            tile.warp(&place, 64, &mut out);
            sum.iter_mut().zip(out).for_each(|(sum, drawn)| *sum += drawn);
        }
        sum
    }

    #[test]
    fn four_pictures_cover_the_input_without_gap_or_overlap() {
        for index in 0..50 {
            let augment = Augment { degrees: 20.0, scale: 0.2, translate: 0.0, ..Augment::NONE };
            let draws = Draws { mosaic: true, centre: [0.5, 0.5], ..Draws::new(&augment, true, 3, 0, index) };
            assert!(times_drawn(&draws).iter().all(|&times| times == 1), "{index}");
        }
    }

    #[test]
    fn four_tilted_pictures_leave_no_gap_and_overlap_nowhere() {
        let draws = Draws { mosaic: true, centre: [0.4, 0.6], perspective: [0.002, -0.003], ..still() };
        let sum = times_drawn(&draws);
        // The tilt brings the canvas' far edges into sight at most: what is drawn is drawn once.
        assert!(sum.iter().all(|&times| times <= 1) && sum.iter().filter(|&&times| times == 1).count() > 3 * 64 * 64 * 9 / 10);
    }

    #[test]
    fn a_tilted_picture_shows_its_box_where_the_target_says() {
        // A white square on black: the bounds of what is white are the bounds of the target, to a pixel.
        let mut image = Image::filled(100, 100, [0, 0, 0]);
        for (y, x) in (20..60).flat_map(|y| (30..80).map(move |x| (y, x))) {
            image.data[(y * 100 + x) * 3..][..3].fill(255);
        }
        let tile = Tile::new(image);
        let place = single(&Draws { perspective: [0.004, -0.003], ..still() }, (100, 100), 100);
        let mut out = vec![0; 3 * 100 * 100];
        tile.warp(&place, 100, &mut out);
        let white: Vec<(usize, usize)> = (0..10_000).filter(|&at| out[at] > 127).map(|at| (at % 100, at / 100)).collect();
        let span = |of: fn(&(usize, usize)) -> usize| {
            let (least, most) = (white.iter().map(of).min().unwrap(), white.iter().map(of).max().unwrap());
            (least as f32 / 100.0, (most + 1) as f32 / 100.0)
        };
        let ((left, right), (top, bottom)) = (span(|p| p.0), span(|p| p.1));
        let object = crate::data::Object { class: 0, cx: 0.55, cy: 0.4, w: 0.5, h: 0.4 };
        let target = place.target(&object, &tile, 100, 0).unwrap();
        let of = [target.cx - target.w / 2.0, target.cx + target.w / 2.0, target.cy - target.h / 2.0, target.cy + target.h / 2.0];
        for (said, seen) in of.into_iter().zip([left, right, top, bottom]) {
            assert!((said - seen).abs() <= 0.011, "{of:?} {left} {right} {top} {bottom}");
        }
    }

    #[test]
    fn a_picture_of_one_pixel_can_be_drawn() {
        let tile = Tile::new(Image::filled(1, 1, [7, 8, 9]));
        let mut out = vec![0; 3 * 16];
        tile.warp(&single(&Draws { scale: 4.0, ..still() }, (1, 1), 4), 4, &mut out);
        assert!(out[..16].contains(&7));
    }

    #[test]
    fn halving_a_gradient_keeps_its_slope() {
        let mut image = Image::filled(64, 64, [0, 0, 0]);
        for (at, value) in image.data.iter_mut().enumerate() {
            *value = (at / 3 % 64 * 4) as u8;
        }
        let mut out = vec![0; 3 * 64 * 64];
        Tile::new(image).warp(&single(&Draws { scale: 0.5, ..still() }, (64, 64), 64), 64, &mut out);
        let row = &out[32 * 64 + 16..32 * 64 + 48];
        assert!(row.windows(2).all(|pair| pair[1] - pair[0] == 8), "{row:?}");
    }
}
