//! One pair of axes with its lines.

use tiny_skia::{FillRule, LineCap, LineJoin, Paint, PathBuilder, Pixmap, Stroke, Transform};

use super::axis::Axis;
use super::{INK, PALE, Panel};
use crate::boxes::Xyxy;
use crate::{Image, draw, text};

/// Where on the chart a panel may draw.
#[derive(Clone, Copy)]
pub(super) struct Area {
    pub left: f32,
    pub top: f32,
    pub right: f32,
    pub bottom: f32,
}

/// Colours that keep apart on white: the drawing colours without yellow and grey.
const LINES: [u32; 6] = [4, 5, 2, 0, 6, 1];

fn line_colour(index: usize) -> [u8; 3] {
    draw::colour(LINES[index % LINES.len()])
}

pub(super) fn draw(image: &mut Image, panel: &Panel, x_label: &str, area: Area, px: f32) {
    let points = || panel.series.iter().flat_map(|s| s.points.iter().copied()).filter(|p| p.0.is_finite() && p.1.is_finite());
    let x_axis = match panel.x_range {
        Some((low, high)) => Axis::fixed(low, high, 5),
        None => Axis::counting(points().map(|p| p.0), 6),
    };
    let y_axis = match panel.y_range {
        Some((low, high)) => Axis::fixed(low, high, 5),
        None => Axis::over(points().map(|p| p.1), 5),
    };
    let ticks = y_axis.ticks();
    let widest = ticks.iter().map(|(_, words)| text::width(words, px)).fold(0.0, f32::max);
    let legend_top = area.top + px * 1.4;
    let inner = Area {
        left: area.left + px + widest + px * 0.4,
        top: legend_top + px * 1.6,
        right: area.right - px,
        bottom: area.bottom - px * 3.0,
    };
    if inner.right - inner.left < 8.0 || inner.bottom - inner.top < 8.0 {
        return;
    }
    text::draw(image, inner.left, area.top + text::ascent(px), px * 1.05, INK, &panel.title);
    legend(image, panel, inner.left, legend_top, px);

    let x_at = |v: f64| inner.left + (inner.right - inner.left) * x_axis.share(v) as f32;
    let y_at = |v: f64| inner.bottom - (inner.bottom - inner.top) * y_axis.share(v) as f32;
    for (value, words) in ticks {
        let y = y_at(value);
        draw::fill(image, Xyxy::new(inner.left, y, inner.right, y + 1.0), [226, 229, 233]);
        text::draw(image, inner.left - px * 0.4 - text::width(&words, px), y + px * 0.32, px, PALE, &words);
    }
    for (value, words) in x_axis.ticks() {
        let x = x_at(value);
        draw::fill(image, Xyxy::new(x, inner.bottom, x + 1.0, inner.bottom + px * 0.3), PALE);
        text::draw(image, x - text::width(&words, px) * 0.5, inner.bottom + px * 1.2, px, PALE, &words);
    }
    draw::fill(image, Xyxy::new(inner.left, inner.bottom, inner.right, inner.bottom + 1.0), PALE);
    let middle = (inner.left + inner.right - text::width(x_label, px)) * 0.5;
    text::draw(image, middle, inner.bottom + px * 2.3, px, PALE, x_label);
    for (index, series) in panel.series.iter().enumerate() {
        let at: Vec<Option<(f32, f32)>> = series
            .points
            .iter()
            .map(|&(x, y)| (x.is_finite() && y.is_finite()).then(|| (x_at(x), y_at(y).clamp(inner.top, inner.bottom))))
            .collect();
        stroke(image, &at, px * 0.13, line_colour(index));
    }
}

/// Names with their colours in one row; what does not fit is left to the caller's panel width.
fn legend(image: &mut Image, panel: &Panel, left: f32, top: f32, px: f32) {
    let mut x = left;
    for (index, series) in panel.series.iter().enumerate() {
        let y = top + px * 0.5;
        draw::fill(image, Xyxy::new(x, y - px * 0.08, x + px, y + px * 0.12), line_colour(index));
        x += px * 1.3;
        text::draw(image, x, top + px * 0.82, px, INK, &series.name);
        x += text::width(&series.name, px) + px;
    }
}

/// An antialiased line through the points, with gaps at `None`; a lone point becomes a dot.
fn stroke(image: &mut Image, points: &[Option<(f32, f32)>], width: f32, rgb: [u8; 3]) {
    let width = width.max(1.5);
    let (mut lines, mut dots) = (PathBuilder::new(), PathBuilder::new());
    for run in points.split(Option::is_none) {
        let run: Vec<(f32, f32)> = run.iter().flatten().copied().collect();
        match run[..] {
            [] => {}
            [(x, y)] => dots.push_circle(x, y, width * 1.5),
            [(x, y), ref rest @ ..] => {
                lines.move_to(x, y);
                rest.iter().for_each(|&(x, y)| lines.line_to(x, y));
            }
        }
    }
    let Some(mut ink) = Pixmap::new(image.width, image.height) else { return };
    let mut paint = Paint { anti_alias: true, ..Paint::default() };
    paint.set_color_rgba8(rgb[0], rgb[1], rgb[2], 255);
    let style = Stroke { width, line_cap: LineCap::Round, line_join: LineJoin::Round, ..Stroke::default() };
    if let Some(path) = lines.finish() {
        ink.stroke_path(&path, &paint, &style, Transform::identity(), None);
    }
    if let Some(path) = dots.finish() {
        ink.fill_path(&path, &paint, FillRule::Winding, Transform::identity(), None);
    }
    for (at, pixel) in ink.pixels().iter().enumerate().filter(|(_, p)| p.alpha() > 0) {
        let (x, y) = (at as i64 % i64::from(image.width), at as i64 / i64::from(image.width));
        text::blend(image, x, y, rgb, f32::from(pixel.alpha()) / 255.0);
    }
}
