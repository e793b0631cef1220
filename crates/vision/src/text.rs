//! One font, drawn straight into a picture.

use std::sync::LazyLock;

use ab_glyph::{Font, FontRef, PxScale, ScaleFont, point};

use crate::Image;

static FONT: LazyLock<FontRef<'static>> =
    LazyLock::new(|| FontRef::try_from_slice(include_bytes!("../assets/dejavu-sans.ttf")).expect("the font in the program is a font"));

/// Longest text that is drawn; class names come from other people's files.
const MAX_CHARS: usize = 80;

/// `px` is the distance from line to line; a capital is about 0.63 of it high.
fn scale(px: f32) -> PxScale {
    PxScale::from(px)
}

/// How far above the base line the tallest letters reach.
pub(crate) fn ascent(px: f32) -> f32 {
    FONT.as_scaled(scale(px)).ascent()
}

/// Width of a line of text in pixels.
pub(crate) fn width(text: &str, px: f32) -> f32 {
    let font = FONT.as_scaled(scale(px));
    text.chars().take(MAX_CHARS).map(|c| font.h_advance(font.glyph_id(c))).sum()
}

/// Draws one line with its left end at `x` and its base line at `y`; what falls outside is cut off.
pub(crate) fn draw(image: &mut Image, x: f32, y: f32, px: f32, rgb: [u8; 3], text: &str) {
    let font = FONT.as_scaled(scale(px));
    let mut pen = x;
    for c in text.chars().take(MAX_CHARS) {
        let id = font.glyph_id(c);
        if let Some(outline) = FONT.outline_glyph(id.with_scale_and_position(scale(px), point(pen, y))) {
            let bounds = outline.px_bounds();
            outline.draw(|gx, gy, coverage| {
                blend(image, bounds.min.x as i64 + i64::from(gx), bounds.min.y as i64 + i64::from(gy), rgb, coverage)
            });
        }
        pen += font.h_advance(id);
    }
}

/// As [`draw`], cut short with an ellipsis where it would be wider than `most`.
pub(crate) fn draw_within(image: &mut Image, x: f32, y: f32, px: f32, rgb: [u8; 3], text: &str, most: f32) {
    if width(text, px) <= most {
        return draw(image, x, y, px, rgb, text);
    }
    let mut short: Vec<char> = text.chars().take(MAX_CHARS).collect();
    let words = |short: &[char]| short.iter().chain(&['…']).collect::<String>();
    while !short.is_empty() && width(&words(&short), px) > most {
        short.pop();
    }
    draw(image, x, y, px, rgb, &words(&short));
}

/// Mixes a colour into one pixel; outside the picture nothing happens.
pub(crate) fn blend(image: &mut Image, x: i64, y: i64, rgb: [u8; 3], share: f32) {
    if x < 0 || y < 0 || x >= i64::from(image.width) || y >= i64::from(image.height) {
        return;
    }
    let share = share.clamp(0.0, 1.0);
    let at = (y as usize * image.width as usize + x as usize) * 3;
    for (old, new) in image.data[at..at + 3].iter_mut().zip(rgb) {
        *old = (f32::from(*old) * (1.0 - share) + f32::from(new) * share).round() as u8;
    }
}
