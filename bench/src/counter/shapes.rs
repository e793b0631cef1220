//! The six things on the counter. Each is drawn upright around the origin with a height of about 1, then turned, scaled and moved.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use tiny_skia::{Color, FillRule, LineCap, Paint, Path, PathBuilder, Pixmap, Rect, Stroke, Transform};

/// Paints an object of `class` with its centre at `x`, `y` and about `side` pixels high.
pub(super) fn paint(layer: &mut Pixmap, class: usize, x: f32, y: f32, side: f32, rng: &mut ChaCha8Rng) {
    let turn = if rng.random_bool(0.6) { rng.random_range(-12.0..12.0) } else { rng.random_range(0.0..360.0f32) };
    let stretch = rng.random_range(0.88..1.12f32);
    let place = Transform::from_scale(side * stretch, side / stretch).post_rotate(turn).post_translate(x, y);
    let mut pen = Pen { layer, place };
    let shadow = Color::from_rgba(0.0, 0.0, 0.0, 0.3).unwrap_or(Color::BLACK);
    pen.fill(&oval(0.06, 0.1, 0.42, 0.46), shadow);
    match class {
        0 => apple(&mut pen, rng),
        1 => banana(&mut pen, rng),
        2 => bottle(&mut pen, rng),
        3 => can(&mut pen, rng),
        4 => carton(&mut pen, rng),
        _ => cup(&mut pen, rng),
    }
}

struct Pen<'a> {
    layer: &'a mut Pixmap,
    place: Transform,
}

impl Pen<'_> {
    fn fill(&mut self, path: &Option<Path>, color: Color) {
        let Some(path) = path else { return };
        let mut paint = Paint { anti_alias: true, ..Paint::default() };
        paint.set_color(color);
        self.layer.fill_path(path, &paint, FillRule::Winding, self.place, None);
    }

    fn line(&mut self, path: &Option<Path>, width: f32, color: Color) {
        let Some(path) = path else { return };
        let mut paint = Paint { anti_alias: true, ..Paint::default() };
        paint.set_color(color);
        let stroke = Stroke { width, line_cap: LineCap::Round, ..Stroke::default() };
        self.layer.stroke_path(path, &paint, &stroke, self.place, None);
    }
}

fn oval(cx: f32, cy: f32, rx: f32, ry: f32) -> Option<Path> {
    PathBuilder::from_oval(Rect::from_xywh(cx - rx, cy - ry, 2.0 * rx, 2.0 * ry)?)
}

fn rect(x: f32, y: f32, w: f32, h: f32) -> Option<Path> {
    Some(PathBuilder::from_rect(Rect::from_xywh(x, y, w, h)?))
}

fn polygon(points: &[(f32, f32)]) -> Option<Path> {
    let mut path = PathBuilder::new();
    for (at, &(x, y)) in points.iter().enumerate() {
        if at == 0 { path.move_to(x, y) } else { path.line_to(x, y) }
    }
    path.close();
    path.finish()
}

/// A colour around the given one, opaque.
fn around(rng: &mut ChaCha8Rng, rgb: [f32; 3], spread: f32) -> Color {
    let [r, g, b] = rgb.map(|v| (v + rng.random_range(-spread..spread)).clamp(0.0, 1.0));
    Color::from_rgba(r, g, b, 1.0).unwrap_or(Color::WHITE)
}

fn any(rng: &mut ChaCha8Rng) -> Color {
    around(rng, [0.5; 3], 0.45)
}

fn apple(pen: &mut Pen<'_>, rng: &mut ChaCha8Rng) {
    let skin = if rng.random_bool(0.6) { [0.75, 0.12, 0.1] } else { [0.5, 0.68, 0.15] };
    let skin = around(rng, skin, 0.12);
    pen.fill(&oval(-0.14, 0.05, 0.32, 0.42), skin);
    pen.fill(&oval(0.14, 0.05, 0.32, 0.42), skin);
    pen.fill(&oval(-0.18, -0.12, 0.09, 0.12), around(rng, [0.95, 0.85, 0.75], 0.05));
    let mut stem = PathBuilder::new();
    stem.move_to(0.0, -0.3);
    stem.quad_to(0.02, -0.45, 0.1, -0.5);
    pen.line(&stem.finish(), 0.06, around(rng, [0.3, 0.2, 0.1], 0.08));
}

fn banana(pen: &mut Pen<'_>, rng: &mut ChaCha8Rng) {
    let mut arc = PathBuilder::new();
    arc.move_to(-0.42, -0.25);
    arc.cubic_to(-0.35, 0.3, 0.3, 0.35, 0.45, -0.2);
    let arc = arc.finish();
    let peel = around(rng, [0.93, 0.8, 0.2], 0.08);
    pen.line(&arc, 0.24, peel);
    pen.line(&arc, 0.05, around(rng, [0.75, 0.6, 0.12], 0.06));
    pen.fill(&oval(0.45, -0.24, 0.05, 0.07), around(rng, [0.25, 0.2, 0.08], 0.05));
}

fn bottle(pen: &mut Pen<'_>, rng: &mut ChaCha8Rng) {
    let glass = if rng.random_bool(0.5) { [0.1, 0.42, 0.2] } else { [0.35, 0.55, 0.75] };
    let glass = around(rng, glass, 0.15);
    pen.fill(&rect(-0.17, -0.12, 0.34, 0.62), glass);
    pen.fill(&polygon(&[(-0.17, -0.11), (-0.07, -0.3), (0.07, -0.3), (0.17, -0.11)]), glass);
    pen.fill(&rect(-0.07, -0.45, 0.14, 0.18), glass);
    pen.fill(&rect(-0.08, -0.5, 0.16, 0.08), any(rng));
    pen.fill(&rect(-0.17, 0.06, 0.34, 0.22), any(rng));
    pen.fill(&rect(-0.12, -0.08, 0.05, 0.5), around(rng, [0.85; 3], 0.1));
}

fn can(pen: &mut Pen<'_>, rng: &mut ChaCha8Rng) {
    pen.fill(&rect(-0.28, -0.4, 0.56, 0.8), any(rng));
    pen.fill(&oval(0.0, 0.4, 0.28, 0.09), around(rng, [0.55; 3], 0.1));
    pen.fill(&rect(-0.28, -0.15, 0.56, 0.2), any(rng));
    pen.fill(&oval(0.0, -0.4, 0.28, 0.1), around(rng, [0.78; 3], 0.1));
    pen.fill(&oval(0.03, -0.4, 0.08, 0.03), around(rng, [0.35; 3], 0.1));
}

fn carton(pen: &mut Pen<'_>, rng: &mut ChaCha8Rng) {
    let [r, g, b] = [rng.random_range(0.3..0.95), rng.random_range(0.3..0.95), rng.random_range(0.3..0.95)];
    let face = |k: f32| Color::from_rgba(r * k, g * k, b * k, 1.0).unwrap_or(Color::WHITE);
    pen.fill(&rect(-0.36, -0.25, 0.5, 0.7), face(1.0));
    pen.fill(&polygon(&[(0.14, -0.25), (0.36, -0.42), (0.36, 0.25), (0.14, 0.45)]), face(0.65));
    pen.fill(&polygon(&[(-0.36, -0.25), (-0.12, -0.42), (0.36, -0.42), (0.14, -0.25)]), face(0.85));
    pen.fill(&rect(-0.3, -0.08, 0.38, 0.14), any(rng));
    pen.fill(&rect(-0.3, 0.2, 0.24, 0.05), around(rng, [0.15; 3], 0.1));
}

fn cup(pen: &mut Pen<'_>, rng: &mut ChaCha8Rng) {
    let body = any(rng);
    pen.line(&oval(0.3, 0.02, 0.15, 0.18), 0.08, body);
    pen.fill(&polygon(&[(-0.36, -0.32), (0.32, -0.32), (0.22, 0.45), (-0.26, 0.45)]), body);
    pen.fill(&oval(-0.02, -0.32, 0.34, 0.12), around(rng, [0.92; 3], 0.06));
    pen.fill(&oval(-0.02, -0.31, 0.27, 0.08), around(rng, [0.3, 0.18, 0.1], 0.08));
}
