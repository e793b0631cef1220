//! What the parts lie on: a belt with weave, wear, stains, scratches, swarf and painted marks.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::canvas::{Canvas, Noise};

/// Belts, trays and tables of an inspection line.
const SURFACES: [[f32; 3]; 7] = [
    [52.0, 55.0, 58.0],
    [38.0, 40.0, 46.0],
    [58.0, 92.0, 78.0],
    [62.0, 80.0, 108.0],
    [142.0, 144.0, 140.0],
    [150.0, 122.0, 92.0],
    [98.0, 88.0, 82.0],
];

pub(super) fn draw(canvas: &mut Canvas, rng: &mut ChaCha8Rng) {
    let unit = canvas.unit;
    let base = SURFACES[rng.random_range(0..SURFACES.len())].map(|c| c * rng.random_range(0.93..1.07));
    let (coarse, fine, stain) = (Noise(rng.random()), Noise(rng.random()), Noise(rng.random()));
    let (depth, grain, stains) = (rng.random_range(0.08..0.28), rng.random_range(0.04..0.16), rng.random_range(0.0..0.45));
    let (pitch, weave) = (rng.random_range(4.0..9.0), if rng.random_bool(0.6) { rng.random_range(0.02..0.09) } else { 0.0 });
    let turn: f32 = rng.random_range(0.0..std::f32::consts::PI);
    let (sin, cos) = turn.sin_cos();
    canvas.each(|px, py, _| {
        let (x, y) = (px / unit, py / unit);
        let (u, v) = (x * cos + y * sin, y * cos - x * sin);
        let wear = 1.0 + depth * (coarse.rough(x / 60.0, y / 60.0, 3) - 0.5) * 2.0;
        // Grain is drawn out along the belt's direction.
        let grain = 1.0 + grain * (fine.rough(u / 5.0, v / 1.6, 2) - 0.5) * 2.0;
        let cloth = 1.0 + weave * ((u / pitch * std::f32::consts::TAU).sin() * (v / pitch * std::f32::consts::TAU).sin());
        let spill = ((stain.rough(x / 42.0 + 9.0, y / 42.0, 3) - 0.62) * 9.0).clamp(0.0, 1.0);
        base.map(|c| c * wear * grain * cloth * (1.0 - stains * spill))
    });
    if rng.random_bool(0.3) {
        painted_line(canvas, rng);
    }
    for _ in 0..rng.random_range(0..10) {
        scratch(canvas, rng);
    }
    for _ in 0..rng.random_range(0..26) {
        swarf(canvas, rng);
    }
}

/// Brightens a soft-edged stroke from `a` to `b`.
fn stroke(canvas: &mut Canvas, a: (f32, f32), b: (f32, f32), half_width: f32, colour: [f32; 3], share: f32) {
    let (side, unit) = (canvas.side as f32, canvas.unit);
    let reach = half_width + unit;
    let span = |p: f32, q: f32| ((p.min(q) - reach).floor().clamp(0.0, side) as usize, (p.max(q) + reach).ceil().clamp(0.0, side) as usize);
    let ((x0, x1), (y0, y1)) = (span(a.0, b.0), span(a.1, b.1));
    let (dx, dy) = (b.0 - a.0, b.1 - a.1);
    let length = (dx * dx + dy * dy).max(1e-6);
    for y in y0..y1 {
        for x in x0..x1 {
            let (px, py) = (x as f32 - a.0, y as f32 - a.1);
            let t = ((px * dx + py * dy) / length).clamp(0.0, 1.0);
            let away = ((px - t * dx).powi(2) + (py - t * dy).powi(2)).sqrt();
            let cover = ((half_width - away) / unit + 0.5).clamp(0.0, 1.0) * share;
            for (old, new) in canvas.light[y * canvas.side + x].iter_mut().zip(colour) {
                *old += (new - *old) * cover;
            }
        }
    }
}

fn anywhere(canvas: &Canvas, rng: &mut ChaCha8Rng) -> (f32, f32) {
    let side = canvas.side as f32;
    (rng.random_range(0.0..side), rng.random_range(0.0..side))
}

fn painted_line(canvas: &mut Canvas, rng: &mut ChaCha8Rng) {
    let (a, b) = (anywhere(canvas, rng), anywhere(canvas, rng));
    let (dx, dy) = (b.0 - a.0, b.1 - a.1);
    let far = |sign: f32| (a.0 + sign * dx * 20.0, a.1 + sign * dy * 20.0);
    let colour = if rng.random_bool(0.5) { [205.0, 185.0, 60.0] } else { [200.0, 200.0, 196.0] };
    stroke(canvas, far(1.0), far(-1.0), rng.random_range(2.0..8.0) * canvas.unit, colour, rng.random_range(0.3..0.75));
}

fn scratch(canvas: &mut Canvas, rng: &mut ChaCha8Rng) {
    let a = anywhere(canvas, rng);
    let (turn, length) = (rng.random_range(0.0..std::f32::consts::TAU), rng.random_range(15.0..120.0) * canvas.unit);
    let b = (a.0 + turn.cos() * length, a.1 + turn.sin() * length);
    let tone = if rng.random_bool(0.6) { 190.0 } else { 20.0 };
    stroke(canvas, a, b, rng.random_range(0.3..0.8) * canvas.unit, [tone; 3], rng.random_range(0.1..0.4));
}

/// Chips of metal: bright like the parts, but much smaller, and nothing to be found.
fn swarf(canvas: &mut Canvas, rng: &mut ChaCha8Rng) {
    let a = anywhere(canvas, rng);
    let (turn, length) = (rng.random_range(0.0..std::f32::consts::TAU), rng.random_range(1.0..8.0) * canvas.unit);
    let b = (a.0 + turn.cos() * length, a.1 + turn.sin() * length);
    let tone: f32 = rng.random_range(120.0..230.0);
    let width = rng.random_range(0.5..1.5) * canvas.unit;
    let (ax, ay) = (a.0 + 1.2 * canvas.unit, a.1 + 1.2 * canvas.unit);
    stroke(canvas, (ax, ay), (b.0 + 1.2 * canvas.unit, b.1 + 1.2 * canvas.unit), width, [12.0; 3], 0.5);
    stroke(canvas, a, b, width, [tone, tone, tone * rng.random_range(0.9..1.02)], 0.85);
}
