//! Outlines and shading of bolt, nut and washer, in pixels of the 320-pixel design, their middle at 0, 0.
//!
//! Each function draws one part and says how high it stands over the belt, for its shadow.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use std::f32::consts::TAU;
use tiny_skia::{
    Color, FillRule, GradientStop, LinearGradient, Paint, Path, PathBuilder, Pixmap, Point, Shader, SpreadMode, Stroke, Transform,
};

use super::Metal;

pub(super) struct Pen {
    /// From the part's own axes to the canvas.
    pub place: Transform,
    pub metal: Metal,
    /// Direction of the light in the part's own axes.
    pub sun: f32,
}

impl Pen {
    /// The metal's colour, `tone` times as bright.
    fn colour(&self, tone: f32) -> Color {
        let c = self.metal.colour.map(|c| (c * tone / 255.0).clamp(0.0, 1.0));
        Color::from_rgba(c[0], c[1], c[2], 1.0).unwrap_or(Color::BLACK)
    }

    fn flat(&self, tone: f32) -> Paint<'static> {
        Paint { shader: Shader::SolidColor(self.colour(tone)), anti_alias: true, ..Paint::default() }
    }

    /// Brightness changing from one point to another.
    fn gradient(&self, from: (f32, f32), to: (f32, f32), tones: &[(f32, f32)]) -> Paint<'static> {
        let stops = tones.iter().map(|&(at, tone)| GradientStop::new(at, self.colour(tone))).collect();
        let (from, to) = (Point::from_xy(from.0, from.1), Point::from_xy(to.0, to.1));
        let shader = LinearGradient::new(from, to, stops, SpreadMode::Pad, Transform::identity());
        Paint { shader: shader.unwrap_or(Shader::SolidColor(self.colour(tones[0].1))), anti_alias: true, ..Paint::default() }
    }

    /// How bright a face is whose outward direction is `facing`, around 1.
    fn lit(&self, facing: f32) -> f32 {
        1.0 + 0.38 * self.metal.gloss * (facing - self.sun).cos()
    }

    fn fill(&self, ink: &mut Pixmap, path: &Path, paint: &Paint<'_>) {
        ink.fill_path(path, paint, FillRule::EvenOdd, self.place, None);
    }

    fn line(&self, ink: &mut Pixmap, from: (f32, f32), to: (f32, f32), width: f32, tone: f32) {
        let mut path = PathBuilder::new();
        path.move_to(from.0, from.1);
        path.line_to(to.0, to.1);
        if let Some(path) = path.finish() {
            ink.stroke_path(&path, &self.flat(tone), &Stroke { width, ..Stroke::default() }, self.place, None);
        }
    }

    /// A circle whose brightness follows the light, drawn in 24 pieces: the rim of a chamfer.
    fn rim(&self, ink: &mut Pixmap, radius: f32, width: f32, outward: bool, strength: f32) {
        const PIECES: usize = 24;
        for piece in 0..PIECES {
            let (a, b) = (TAU * piece as f32 / PIECES as f32, TAU * (piece as f32 + 1.15) / PIECES as f32);
            let facing = if outward { (a + b) * 0.5 } else { (a + b) * 0.5 + TAU * 0.5 };
            let tone = 1.0 + (self.lit(facing) - 1.0) * strength;
            self.line(ink, (radius * a.cos(), radius * a.sin()), (radius * b.cos(), radius * b.sin()), width, tone);
        }
    }
}

fn polygon(points: &[(f32, f32)]) -> Option<Path> {
    let mut path = PathBuilder::new();
    for (index, &(x, y)) in points.iter().enumerate() {
        if index == 0 { path.move_to(x, y) } else { path.line_to(x, y) }
    }
    path.close();
    path.finish()
}

fn hexagon(radius: f32) -> [(f32, f32); 6] {
    std::array::from_fn(|i| (radius * (TAU * i as f32 / 6.0).cos(), radius * (TAU * i as f32 / 6.0).sin()))
}

/// Lying on its side: head, shaft with thread, along the x axis.
pub(super) fn bolt(ink: &mut Pixmap, pen: &Pen, rng: &mut ChaCha8Rng) -> f32 {
    let shaft: f32 = rng.random_range(13.0..19.0);
    let length = shaft * rng.random_range(2.8..4.6);
    let (head, head_long) = (shaft * rng.random_range(1.75..2.1), shaft * rng.random_range(0.65..0.95));
    let whole = length + head_long;
    let (tip, neck, back) = (whole * 0.5, whole * 0.5 - length, -whole * 0.5);
    let half = shaft * 0.5;
    // A cylinder: dark at the edges, bright where the light meets it; which side depends on the light.
    let bright: f32 = 0.5 + 0.3 * (pen.sun - TAU * 0.25).cos();
    let shine = 1.0 + 0.5 * pen.metal.gloss;
    let round = [(0.0, 0.42), (bright.clamp(0.15, 0.85), shine), (1.0, 0.42)];
    let body = polygon(&[(neck, -half), (tip - 2.5, -half), (tip, -half * 0.6), (tip, half * 0.6), (tip - 2.5, half), (neck, half)]);
    if let Some(path) = body {
        pen.fill(ink, &path, &pen.gradient((0.0, -half), (0.0, half), &round));
    }
    // Thread: leaning dark lines with a bright flank, from the tip on for most of the shaft.
    let (pitch, lean) = (rng.random_range(2.6..3.6), half * 0.28);
    let start = neck + length * rng.random_range(0.02..0.4);
    let mut x = tip - 2.0;
    while x > start + lean {
        pen.line(ink, (x - lean, -half), (x + lean * 0.2, half), 1.1, 0.34);
        pen.line(ink, (x - lean + 1.0, -half * 0.8), (x + lean * 0.2 + 1.0, half * 0.8), 0.6, shine);
        x -= pitch;
    }
    let h = head * 0.5;
    if rng.random_bool(0.6) {
        // Hexagon head from the side: three faces, the middle one twice as wide, and its flange.
        for (low, high, tone) in [(-h, -h * 0.5, 0.62), (-h * 0.5, h * 0.5, 1.12), (h * 0.5, h, 0.5)] {
            let tone = tone * (1.0 + 0.25 * pen.metal.gloss * (pen.sun + TAU * 0.25).cos() * if low < -h * 0.9 { 1.0 } else { -0.4 });
            if let Some(path) = polygon(&[(back, low * 0.93), (neck, low), (neck, high), (back, high * 0.93)]) {
                pen.fill(ink, &path, &pen.flat(tone));
            }
        }
        pen.line(ink, (neck, -h), (neck, h), 1.4, 0.45);
        pen.line(ink, (back + 1.0, -h * 0.9), (back + 1.0, h * 0.9), 1.0, pen.lit(TAU * 0.5) * 1.1);
    } else {
        // Socket cap: a second, wider cylinder with knurled rim.
        if let Some(path) = polygon(&[
            (back, -h * 0.82),
            (back + 2.0, -h * 0.88),
            (neck, -h * 0.88),
            (neck, h * 0.88),
            (back + 2.0, h * 0.88),
            (back, h * 0.82),
        ]) {
            pen.fill(ink, &path, &pen.gradient((0.0, -h), (0.0, h), &round));
        }
        for i in 1..7 {
            let y = -h * 0.88 + h * 1.76 * i as f32 / 7.0;
            pen.line(ink, (back + 2.5, y), (neck - 1.5, y), 0.7, 0.5);
        }
        pen.line(ink, (neck, -h * 0.88), (neck, h * 0.88), 1.2, 0.4);
    }
    h * 0.45
}

/// Flat on the belt: a hexagon with a round threaded hole.
pub(super) fn nut(ink: &mut Pixmap, pen: &Pen, rng: &mut ChaCha8Rng) -> f32 {
    let radius: f32 = rng.random_range(21.0..33.0);
    let hole = radius * rng.random_range(0.40..0.49);
    let corners = hexagon(radius);
    let mut path = PathBuilder::new();
    if let Some(outline) = polygon(&corners) {
        path.push_path(&outline);
    }
    path.push_circle(0.0, 0.0, hole);
    let (sun_x, sun_y) = (pen.sun.cos() * radius, pen.sun.sin() * radius);
    if let Some(path) = path.finish() {
        let sheen = 0.22 * pen.metal.gloss;
        pen.fill(ink, &path, &pen.gradient((sun_x, sun_y), (-sun_x, -sun_y), &[(0.0, 0.92 + sheen), (0.5, 0.9), (1.0, 0.9 - sheen)]));
    }
    // The six chamfered corners fall off outside the inscribed circle.
    for i in 0..6 {
        let (a, b) = (corners[i], corners[(i + 1) % 6]);
        let facing = TAU * (i as f32 + 0.5) / 6.0;
        let inner = |p: (f32, f32)| (p.0 * 0.86, p.1 * 0.86);
        if let Some(face) = polygon(&[a, b, inner(b), inner(a)]) {
            pen.fill(ink, &face, &pen.flat(0.78 * pen.lit(facing)));
        }
    }
    pen.rim(ink, radius * 0.8, 1.2, true, 1.0);
    pen.rim(ink, hole + 1.2, 2.4, false, 1.3);
    for turn in 0..3 {
        let ring = hole - 0.6 - turn as f32 * 1.3;
        if let Some(circle) = PathBuilder::from_circle(0.0, 0.0, ring) {
            ink.stroke_path(&circle, &pen.flat(0.25 + 0.14 * turn as f32), &Stroke { width: 0.8, ..Stroke::default() }, pen.place, None);
        }
    }
    radius * 0.22
}

/// Flat on the belt: a thin ring, some with a split.
pub(super) fn washer(ink: &mut Pixmap, pen: &Pen, rng: &mut ChaCha8Rng) -> f32 {
    let radius: f32 = rng.random_range(20.0..34.0);
    let hole = radius * rng.random_range(0.50..0.66);
    let mut path = PathBuilder::new();
    path.push_circle(0.0, 0.0, radius);
    path.push_circle(0.0, 0.0, hole);
    let (sun_x, sun_y) = (pen.sun.cos() * radius, pen.sun.sin() * radius);
    if let Some(path) = path.finish() {
        let sheen = 0.25 * pen.metal.gloss;
        let tones = [(0.0, 0.95 + sheen), (0.35, 0.95), (0.5, 1.05 + sheen), (0.65, 0.9), (1.0, 0.95 - sheen)];
        pen.fill(ink, &path, &pen.gradient((sun_x, sun_y), (-sun_x, -sun_y), &tones));
    }
    pen.rim(ink, radius - 0.7, 1.4, true, 1.3);
    pen.rim(ink, hole + 0.7, 1.4, false, 1.3);
    if rng.random_bool(0.3) {
        // A spring washer's split.
        pen.line(ink, (hole, 1.5), (radius, -1.5), 1.6, 0.2);
    }
    radius * 0.07
}
