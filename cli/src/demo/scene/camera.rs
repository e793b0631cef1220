//! What a cheap camera under cheap lamps makes of it: uneven light, a tint, blur, noise.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::canvas::{Canvas, convolve, gaussian};

/// Turns the painted scene into what the sensor gives, and says the JPEG quality of this camera.
pub(super) fn shoot(canvas: &mut Canvas, rng: &mut ChaCha8Rng) -> u8 {
    light(canvas, rng);
    blur(canvas, rng);
    noise(canvas, rng);
    rng.random_range(62..=93)
}

fn light(canvas: &mut Canvas, rng: &mut ChaCha8Rng) {
    let side = canvas.side as f32;
    let gain: f32 = rng.random_range(0.72..1.28);
    let tint: [f32; 3] = std::array::from_fn(|_| rng.random_range(0.94..1.06));
    let (slope, turn) = (rng.random_range(0.0..0.4), rng.random_range(0.0..std::f32::consts::TAU));
    let (sin, cos) = turn.sin_cos();
    let vignette: f32 = rng.random_range(0.0..0.35);
    let glare =
        rng.random_bool(0.3).then(|| (rng.random_range(0.0..side), rng.random_range(0.0..side), rng.random_range(0.12..0.3) * side));
    let glow: f32 = rng.random_range(20.0..70.0);
    // A person or a rail between lamp and belt.
    let shade = rng
        .random_bool(0.25)
        .then(|| (rng.random_range(0.0..std::f32::consts::TAU), rng.random_range(0.35..0.65), rng.random_range(0.5..0.8)));
    canvas.each(|x, y, old| {
        let (u, v) = (x / side - 0.5, y / side - 0.5);
        let mut factor = gain * (1.0 + slope * 2.0 * (u * cos + v * sin)) * (1.0 - vignette * 2.0 * (u * u + v * v));
        if let Some((turn, edge, depth)) = shade {
            let across = (u * turn.cos() + v * turn.sin() + 0.5 - edge) * 14.0;
            factor *= depth + (1.0 - depth) * across.clamp(0.0, 1.0);
        }
        let extra = glare.map_or(0.0, |(gx, gy, reach)| glow * (-((x - gx).powi(2) + (y - gy).powi(2)) / (2.0 * reach * reach)).exp());
        std::array::from_fn(|c| old[c] * factor * tint[c] + extra)
    });
}

fn blur(canvas: &mut Canvas, rng: &mut ChaCha8Rng) {
    let kernel = gaussian(rng.random_range(0.35..1.1) * canvas.unit);
    canvas.light = convolve(&canvas.light, canvas.side, false, &kernel);
    canvas.light = convolve(&canvas.light, canvas.side, true, &kernel);
    if rng.random_bool(0.3) {
        // The belt moves while the shutter is open: an even smear of an odd number of pixels.
        let reach = (rng.random_range(0.8..2.6) * canvas.unit).round().max(1.0) as usize;
        let taps = 2 * reach + 1;
        canvas.light = convolve(&canvas.light, canvas.side, rng.random_bool(0.5), &vec![1.0 / taps as f32; taps]);
    }
}

/// Read-out noise plus a part that grows with the light; most of it is grey, some coloured.
fn noise(canvas: &mut Canvas, rng: &mut ChaCha8Rng) {
    let (floor, shot): (f32, f32) = (rng.random_range(1.0..6.0), rng.random_range(0.0..0.45));
    // The sum of three even draws of -1 to 1 has variance 1: near enough to a bell curve, and cheap.
    let mut bell = || (0..3).map(|_| rng.random_range(-1.0f32..1.0)).sum::<f32>();
    canvas.each(|_, _, old| {
        let grey = bell();
        old.map(|v| v + (floor + shot * v.max(0.0).sqrt()) * (0.8 * grey + 0.45 * bell()))
    });
}
