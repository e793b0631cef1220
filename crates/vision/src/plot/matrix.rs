//! A table of counts, coloured by the share of its row: a confusion matrix.

use super::{INK, PALE, PAPER};
use crate::{
    Image,
    boxes::Xyxy,
    draw::fill,
    encode::{EncodeError, encode_png},
    text,
};

/// More rows than this cannot be told apart on a screen; the first ones are drawn.
const MAX_SIDE: usize = 100;

/// Rows and columns with names, and a count in each cell.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matrix {
    /// Heading.
    pub title: String,
    /// What the rows are.
    pub row_label: String,
    /// What the columns are.
    pub column_label: String,
    /// Names of the rows, and of the columns, which are as many.
    pub names: Vec<String>,
    /// Counts, row by row: `names.len()` squared.
    pub cells: Vec<u64>,
}

impl Matrix {
    /// Draws the table; sizes follow from the number of names.
    pub fn render(&self) -> Image {
        let n = self.names.len().min(MAX_SIDE);
        let cell = (900.0 / n.max(1) as f32).clamp(14.0, 84.0).floor();
        let px = (cell * 0.32).clamp(12.0, 20.0);
        let names = self.names[..n].iter().map(|name| text::width(name, px)).fold(0.0, f32::max).clamp(60.0, 220.0);
        // Long names do not fit above a column: they stand one below the other where the columns are narrow.
        let numbered = self.names[..n].iter().any(|name| text::width(name, px * 0.9) > cell - 4.0);
        let label = |at: usize| if numbered { format!("{at}  {}", self.names[at]) } else { self.names[at].clone() };
        let names = if numbered { names + text::width("00  ", px) } else { names };
        let (left, top) = (names + px * 2.0, px * 6.4);
        let title = (text::width(&self.title, px * 1.3) + px * 2.0).clamp(320.0, 1600.0);
        let (width, height) = ((left + cell * n as f32 + px * 1.5).max(title), top + cell * n as f32 + px * 1.5);
        let mut image = Image::filled(width.ceil() as u32, height.ceil() as u32, PAPER);
        text::draw(&mut image, px, px * 0.5 + text::ascent(px * 1.3), px * 1.3, INK, &self.title);
        text::draw(&mut image, px, px * 3.2, px, PALE, &format!("rows: {}   columns: {}", self.row_label, self.column_label));
        for at in 0..n {
            let x = left + cell * at as f32;
            let words = if numbered { at.to_string() } else { self.names[at].clone() };
            let middle = x + (cell - text::width(&words, px * 0.9)) * 0.5;
            text::draw(&mut image, middle, top - px * 0.6, px * 0.9, PALE, &words);
            let y = top + cell * at as f32;
            text::draw_within(&mut image, px, y + cell * 0.5 + px * 0.32, px, INK, &label(at), names);
            self.row(&mut image, at, n, Xyxy::new(left, y, left + cell * n as f32, y + cell), px);
        }
        image
    }

    fn row(&self, image: &mut Image, row: usize, n: usize, area: Xyxy, px: f32) {
        let stride = self.names.len();
        let counts = self.cells.get(row * stride..row * stride + stride).unwrap_or_default();
        let sum = counts.iter().sum::<u64>().max(1);
        let cell = area.y2 - area.y1;
        for (column, &count) in counts.iter().enumerate().take(n) {
            let share = count as f32 / sum as f32;
            let x = area.x1 + cell * column as f32;
            // White to the blue of the drawing colours; right answers and wrong ones alike: the eye looks for the diagonal.
            let shade = |full: f32, at: f32| (255.0 + (full - 255.0) * at.sqrt()) as u8;
            let rgb = [shade(0.0, share), shade(94.0, share), shade(158.0, share)];
            fill(image, Xyxy::new(x + 1.0, area.y1 + 1.0, x + cell - 1.0, area.y2 - 1.0), if count > 0 { rgb } else { [244, 245, 247] });
            let words = count.to_string();
            let wide = text::width(&words, px * 0.95);
            if count > 0 && wide < cell - 2.0 {
                let ink = if share > 0.3 { [255; 3] } else { INK };
                text::draw(image, x + (cell - wide) * 0.5, area.y1 + cell * 0.5 + px * 0.32, px * 0.95, ink, &words);
            }
        }
    }

    /// [`Matrix::render`] as the bytes of a PNG file.
    ///
    /// # Errors
    /// See [`EncodeError`].
    pub fn png(&self) -> Result<Vec<u8>, EncodeError> {
        encode_png(&self.render())
    }
}
