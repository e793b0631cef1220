//! Detections drawn onto a picture, for people to look at.

use crate::Image;
use crate::boxes::Xyxy;
use crate::text;

pub use crate::encode::{EncodeError, encode_jpeg, encode_png};

/// One box to draw.
#[derive(Clone, Debug, PartialEq)]
pub struct Annotation {
    /// Where, in pixels of the picture.
    pub bbox: Xyxy,
    /// Words beside the box; may be empty.
    pub label: String,
    /// Shown as a percentage after the words; `None` for labels that people gave.
    pub confidence: Option<f32>,
    /// Decides the colour.
    pub class: u32,
}

/// Eight colours that people with any colour vision tell apart (Okabe and Ito, 2008), black replaced by a light grey.
const COLOURS: [[u8; 3]; 8] =
    [[230, 159, 0], [86, 180, 233], [0, 158, 115], [240, 228, 66], [0, 114, 178], [213, 94, 0], [204, 121, 167], [225, 225, 225]];

/// The colour of a class, here and in charts.
pub fn colour(class: u32) -> [u8; 3] {
    COLOURS[class as usize % COLOURS.len()]
}

/// Draws every box with its words. Weaker ones first where `annotations` are sorted by confidence, so that the surest
/// stays readable. Boxes that are no numbers are left out, the rest is clipped.
pub fn draw_detections(image: &mut Image, annotations: &[Annotation]) {
    let size = (image.width + image.height) as f32 * 0.5;
    let line = (size * 0.004).round().clamp(1.0, 12.0);
    let px = (size * 0.030).clamp(13.0, 64.0);
    for annotation in annotations.iter().rev().filter(|a| a.bbox.is_finite()) {
        let bbox = annotation.bbox.clip(image.width as f32, image.height as f32);
        let rgb = colour(annotation.class);
        frame(image, bbox, line, rgb);
        let words = match annotation.confidence {
            Some(c) => format!("{} {:.0} %", annotation.label, c * 100.0),
            None => annotation.label.clone(),
        };
        let words = words.trim();
        if !words.is_empty() {
            tag(image, bbox, px, rgb, words);
        }
    }
}

fn frame(image: &mut Image, b: Xyxy, line: f32, rgb: [u8; 3]) {
    fill(image, Xyxy::new(b.x1, b.y1, b.x2, b.y1 + line), rgb);
    fill(image, Xyxy::new(b.x1, b.y2 - line, b.x2, b.y2), rgb);
    fill(image, Xyxy::new(b.x1, b.y1, b.x1 + line, b.y2), rgb);
    fill(image, Xyxy::new(b.x2 - line, b.y1, b.x2, b.y2), rgb);
}

/// Words on a filled strip above the box; inside it where there is no room above; moved left at the right edge.
fn tag(image: &mut Image, b: Xyxy, px: f32, rgb: [u8; 3], words: &str) {
    let margin = (px * 0.2).round();
    let (width, height) = (text::width(words, px) + 2.0 * margin, px);
    let x = b.x1.min(image.width as f32 - width).max(0.0).round();
    let y = if b.y1 >= height { b.y1 - height } else { b.y1 }.round();
    fill(image, Xyxy::new(x, y, x + width, y + height), rgb);
    // Rec. 601 luma decides which ink is readable on the strip.
    let luma = 0.299 * f32::from(rgb[0]) + 0.587 * f32::from(rgb[1]) + 0.114 * f32::from(rgb[2]);
    let ink = if luma > 128.0 { [0; 3] } else { [255; 3] };
    text::draw(image, x + margin, y + text::ascent(px), px, ink, words);
}

/// Fills a box, rounded to whole pixels and clipped.
pub(crate) fn fill(image: &mut Image, b: Xyxy, rgb: [u8; 3]) {
    let (width, height) = (image.width as usize, image.height as usize);
    let edge = |v: f32, max: usize| (v.round().max(0.0) as usize).min(max);
    let (x1, x2) = (edge(b.x1, width), edge(b.x2, width));
    if x1 >= x2 {
        return;
    }
    for y in edge(b.y1, height)..edge(b.y2, height) {
        for pixel in image.data[(y * width + x1) * 3..(y * width + x2) * 3].as_chunks_mut::<3>().0 {
            *pixel = rgb;
        }
    }
}

#[cfg(test)]
mod tests;
