//! Pictures side by side with a line of words under each: a contact sheet.

use super::{INK, PAPER};
use crate::{Image, letterbox::resize, text};

/// Puts pictures into rows of `columns`, each within a square of `side` pixels. Pictures keep their aspect.
///
/// # Panics
/// If a picture is not [whole](Image::is_whole).
pub fn sheet(title: &str, pictures: &[(Image, String)], columns: usize, side: u32) -> Image {
    let (columns, side) = (columns.clamp(1, 32), side.clamp(64, 1024));
    let px = (side as f32 * 0.055).clamp(12.0, 22.0);
    let (gap, caption) = (px.round() as u32, (px * 1.6).round() as u32);
    let top = (px * 2.8) as u32;
    let rows = pictures.len().div_ceil(columns).max(1) as u32;
    let shown = columns.min(pictures.len().max(1)) as u32;
    let mut out = Image::filled(gap + shown * (side + gap), top + rows * (side + caption + gap), PAPER);
    text::draw(&mut out, px, px * 0.5 + text::ascent(px * 1.3), px * 1.3, INK, title);
    for (at, (picture, words)) in pictures.iter().enumerate() {
        let scale = (f64::from(side) / f64::from(picture.width)).min(f64::from(side) / f64::from(picture.height));
        let fitted = |length: u32| ((f64::from(length) * scale).round() as u32).clamp(1, side);
        let small = resize(picture, fitted(picture.width), fitted(picture.height));
        let x = gap + (at % columns) as u32 * (side + gap);
        let y = top + (at / columns) as u32 * (side + caption + gap);
        paste(&mut out, &small, x + (side - small.width) / 2, y + (side - small.height) / 2);
        text::draw_within(&mut out, x as f32, (y + side) as f32 + px * 1.1, px, INK, words, side as f32);
    }
    out
}

fn paste(out: &mut Image, picture: &Image, x: u32, y: u32) {
    let row = picture.width as usize * 3;
    for (line, pixels) in picture.data.chunks_exact(row).enumerate() {
        let at = ((y as usize + line) * out.width as usize + x as usize) * 3;
        out.data[at..at + row].copy_from_slice(pixels);
    }
}
