//! Points over two logarithmic axes: widths and heights of boxes.

use super::{INK, PALE, PAPER, SIDE};
use crate::{
    Image,
    boxes::Xyxy,
    draw::{colour, fill},
    encode::{EncodeError, encode_png},
    text,
};

/// Colours by class that can be seen on white.
const COLOURS: [u32; 7] = [4, 0, 2, 5, 6, 1, 3];
/// Names in the legend.
const MAX_LEGEND: usize = 12;

/// Points from 1 to a largest value along both axes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scatter {
    /// Heading.
    pub title: String,
    /// Words under the horizontal axis.
    pub x_label: String,
    /// Words above the vertical axis.
    pub y_label: String,
    /// Largest value of both axes, above 1.
    pub most: f64,
    /// x, y (at least 1; smaller values are drawn at 1) and the number of a class.
    pub points: Vec<(f64, f64, u32)>,
    /// Names of the classes.
    pub names: Vec<String>,
    /// Values at which both axes have a line with these words.
    pub guides: Vec<(f64, String)>,
}

impl Scatter {
    /// Draws the points, `side` pixels square for the axes and a legend beside them.
    pub fn render(&self, side: u32) -> Image {
        let side = side.clamp(SIDE.0.max(320), 2048) as f32;
        let px = (side / 45.0).clamp(13.0, 24.0);
        let legend = self.names.iter().take(MAX_LEGEND).map(|name| text::width(name, px)).fold(0.0, f32::max).clamp(60.0, 240.0);
        let area = Xyxy::new(px * 4.0, px * 4.5, px * 4.0 + side, px * 4.5 + side);
        let mut image = Image::filled((area.x2 + legend + px * 4.0) as u32, (area.y2 + px * 4.0) as u32, PAPER);
        text::draw(&mut image, px, px * 0.5 + text::ascent(px * 1.3), px * 1.3, INK, &self.title);
        text::draw(&mut image, px, px * 3.4, px, PALE, &self.y_label);
        let middle = (area.x1 + area.x2 - text::width(&self.x_label, px)) * 0.5;
        text::draw(&mut image, middle, area.y2 + px * 3.0, px, PALE, &self.x_label);
        let most = self.most.max(2.0).ln();
        let share = |value: f64| (value.max(1.0).ln() / most).clamp(0.0, 1.0) as f32;
        let (x_at, y_at) = (|value: f64| area.x1 + side * share(value), |value: f64| area.y2 - side * share(value));

        let powers = (0..16).map(|power| f64::from(1u32 << power)).take_while(|value| *value <= self.most);
        for value in powers {
            let words = format!("{value}");
            fill(&mut image, Xyxy::new(x_at(value), area.y1, x_at(value) + 1.0, area.y2), [232, 234, 238]);
            fill(&mut image, Xyxy::new(area.x1, y_at(value), area.x2, y_at(value) + 1.0), [232, 234, 238]);
            text::draw(&mut image, x_at(value) - text::width(&words, px) * 0.5, area.y2 + px * 1.3, px, PALE, &words);
            text::draw(&mut image, area.x1 - px * 0.4 - text::width(&words, px), y_at(value) + px * 0.3, px, PALE, &words);
        }
        // Thousands of points lie on each other: drawn thin, the crowded places come out dark.
        let weight = (2_000.0 / self.points.len().max(1) as f32).clamp(0.12, 0.8);
        for &(x, y, class) in self.points.iter().filter(|(x, y, _)| x.is_finite() && y.is_finite()) {
            dot(&mut image, x_at(x), y_at(y), (px * 0.16).max(1.5), colour(COLOURS[class as usize % COLOURS.len()]), weight);
        }
        for (value, words) in &self.guides {
            for dash in (0..side as u32).step_by(10) {
                let dash = dash as f32;
                fill(&mut image, Xyxy::new(x_at(*value), area.y1 + dash, x_at(*value) + 1.0, area.y1 + dash + 5.0), [190, 40, 40]);
                fill(&mut image, Xyxy::new(area.x1 + dash, y_at(*value), area.x1 + dash + 5.0, y_at(*value) + 1.0), [190, 40, 40]);
            }
            text::draw(&mut image, x_at(*value) + px * 0.3, area.y1 + px, px * 0.9, [190, 40, 40], words);
        }
        for (row, name) in self.names.iter().take(MAX_LEGEND).enumerate() {
            let y = area.y1 + px * 1.6 * row as f32;
            fill(&mut image, Xyxy::new(area.x2 + px, y, area.x2 + px * 1.8, y + px * 0.8), colour(COLOURS[row % COLOURS.len()]));
            text::draw_within(&mut image, area.x2 + px * 2.2, y + px * 0.75, px, INK, name, legend);
        }
        if self.names.len() > MAX_LEGEND {
            let y = area.y1 + px * 1.6 * MAX_LEGEND as f32 + px * 0.75;
            text::draw(&mut image, area.x2 + px, y, px, PALE, &format!("and {} more", self.names.len() - MAX_LEGEND));
        }
        image
    }

    /// [`Scatter::render`] as the bytes of a PNG file.
    ///
    /// # Errors
    /// See [`EncodeError`].
    pub fn png(&self, side: u32) -> Result<Vec<u8>, EncodeError> {
        encode_png(&self.render(side))
    }
}

fn dot(image: &mut Image, x: f32, y: f32, radius: f32, rgb: [u8; 3], weight: f32) {
    let reach = radius.ceil() as i64 + 1;
    for dy in -reach..=reach {
        for dx in -reach..=reach {
            let (px, py) = (x as i64 + dx, y as i64 + dy);
            let far = ((px as f32 + 0.5 - x).powi(2) + (py as f32 + 0.5 - y).powi(2)).sqrt();
            text::blend(image, px, py, rgb, (radius + 0.5 - far).clamp(0.0, 1.0) * weight);
        }
    }
}
