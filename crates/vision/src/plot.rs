//! Charts as PNG, for people without any other tool: lines, bars, points, tables of counts, contact sheets.

mod axis;
pub mod bars;
pub mod matrix;
mod panel;
pub mod scatter;
pub mod sheet;

use crate::Image;
use crate::encode::{EncodeError, encode_png};
use crate::text;

/// One line of a panel.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// Name in the legend.
    pub name: String,
    /// Points from left to right. A point that is no number leaves a gap.
    pub points: Vec<(f64, f64)>,
}

/// One pair of axes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Panel {
    /// Heading.
    pub title: String,
    /// Lines, at most eight colours.
    pub series: Vec<Series>,
    /// Lowest and highest value shown; `None` follows the data.
    pub y_range: Option<(f64, f64)>,
    /// Likewise from left to right; `None` follows the data, which is counted (epochs).
    pub x_range: Option<(f64, f64)>,
}

/// Panels side by side under one heading.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chart {
    /// Heading.
    pub title: String,
    /// Words under every horizontal axis.
    pub x_label: String,
    /// From left to right.
    pub panels: Vec<Panel>,
}

pub(crate) const INK: [u8; 3] = [40, 44, 52];
pub(crate) const PALE: [u8; 3] = [110, 116, 126];
const PAPER: [u8; 3] = [255; 3];
/// Smallest and largest side of a chart: below, words cover the lines; above, nobody looks at it whole.
const SIDE: (u32, u32) = (160, 8192);

impl Chart {
    /// Draws the chart. Sides are brought between 160 and 8192 pixels.
    pub fn render(&self, width: u32, height: u32) -> Image {
        let (width, height) = (width.clamp(SIDE.0, SIDE.1), height.clamp(SIDE.0, SIDE.1));
        let mut image = Image::filled(width, height, PAPER);
        let px = (height as f32 / 22.0).clamp(12.0, 40.0);
        let heading = px * 1.3;
        text::draw(&mut image, px, px * 0.5 + text::ascent(heading), heading, INK, &self.title);
        let top = px * 0.5 + heading * 1.2;
        let each = width as f32 / self.panels.len().max(1) as f32;
        for (index, panel) in self.panels.iter().enumerate() {
            let area = panel::Area { left: each * index as f32, top, right: each * (index + 1) as f32, bottom: height as f32 };
            panel::draw(&mut image, panel, &self.x_label, area, px);
        }
        image
    }

    /// [`Chart::render`] as the bytes of a PNG file.
    pub fn png(&self, width: u32, height: u32) -> Result<Vec<u8>, EncodeError> {
        encode_png(&self.render(width, height))
    }
}

#[cfg(test)]
mod tests;
