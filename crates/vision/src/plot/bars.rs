//! Horizontal bars, one a name: counts of classes.

use super::{INK, PALE, PAPER, SIDE};
use crate::{
    Image,
    boxes::Xyxy,
    draw::{colour, fill},
    encode::{EncodeError, encode_png},
    text,
};

/// Rows that are drawn; the rest is named in one line.
const MAX_ROWS: usize = 60;
/// Colours of the parts of a bar, of those that keep apart on white.
const PARTS: [u32; 4] = [4, 0, 2, 6];

/// Bars made of parts, one below the other.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bars {
    /// Heading.
    pub title: String,
    /// What the parts of every bar are, at most four.
    pub parts: Vec<String>,
    /// Name and the length of each part, which must not be negative.
    pub bars: Vec<(String, Vec<f64>)>,
}

impl Bars {
    /// Draws the bars; the height follows from their number.
    pub fn render(&self, width: u32) -> Image {
        let width = width.clamp(320, SIDE.1);
        let px = (width as f32 / 60.0).clamp(13.0, 24.0);
        let shown = &self.bars[..self.bars.len().min(MAX_ROWS)];
        let line = px * 1.7;
        let top = px * 4.4;
        let more = self.bars.len() - shown.len();
        let height = top + line * (shown.len() + usize::from(more > 0)) as f32 + px;
        let mut image = Image::filled(width, height.ceil() as u32, PAPER);
        text::draw(&mut image, px, px * 0.5 + text::ascent(px * 1.3), px * 1.3, INK, &self.title);
        let mut x = px;
        for (part, name) in self.parts.iter().enumerate() {
            fill(&mut image, Xyxy::new(x, px * 2.6, x + px, px * 3.5), colour(PARTS[part % PARTS.len()]));
            text::draw(&mut image, x + px * 1.4, px * 3.4, px, INK, name);
            x += px * 3.0 + text::width(name, px);
        }
        // A long name must leave room for its bar.
        let names = shown.iter().map(|(name, _)| text::width(name, px)).fold(0.0, f32::max).min(width as f32 * 0.35);
        let total = |parts: &[f64]| parts.iter().filter(|part| part.is_finite()).sum::<f64>();
        let longest = shown.iter().map(|(_, parts)| total(parts)).fold(0.0, f64::max).max(f64::MIN_POSITIVE);
        let (left, room) = (px * 2.0 + names, width as f32 - names - px * 9.0);
        for (row, (name, parts)) in shown.iter().enumerate() {
            let y = top + line * row as f32;
            text::draw_within(&mut image, px, y + px, px, INK, name, names);
            let mut x = left;
            for (part, value) in parts.iter().enumerate().filter(|(_, value)| value.is_finite()) {
                let length = room * (value / longest) as f32;
                fill(&mut image, Xyxy::new(x, y + px * 0.15, x + length, y + px * 1.25), colour(PARTS[part % PARTS.len()]));
                x += length;
            }
            let words: Vec<String> = parts.iter().map(|value| format!("{value:.0}")).collect();
            text::draw(&mut image, x + px * 0.5, y + px, px * 0.9, PALE, &words.join(" + "));
        }
        if more > 0 {
            text::draw(&mut image, px, top + line * shown.len() as f32 + px, px, PALE, &format!("and {more} more"));
        }
        image
    }

    /// [`Bars::render`] as the bytes of a PNG file.
    ///
    /// # Errors
    /// See [`EncodeError`].
    pub fn png(&self, width: u32) -> Result<Vec<u8>, EncodeError> {
        encode_png(&self.render(width))
    }
}
