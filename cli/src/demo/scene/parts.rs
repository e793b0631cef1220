//! The things to find. Each is drawn alone, then laid onto the belt with its shadow.

mod shapes;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use tiny_skia::{Pixmap, Transform};

use super::canvas::{Canvas, Noise, convolve, gaussian};

/// Surface of a metal: its colour and how strongly it reflects.
#[derive(Clone, Copy)]
pub(super) struct Metal {
    pub colour: [f32; 3],
    pub gloss: f32,
}

/// Blank steel, galvanised, yellow zinc, brass, black oxide.
const METALS: [Metal; 5] = [
    Metal { colour: [176.0, 180.0, 184.0], gloss: 1.0 },
    Metal { colour: [148.0, 154.0, 160.0], gloss: 0.6 },
    Metal { colour: [186.0, 166.0, 104.0], gloss: 0.9 },
    Metal { colour: [178.0, 140.0, 74.0], gloss: 0.9 },
    Metal { colour: [78.0, 80.0, 86.0], gloss: 0.5 },
];

/// A drawn part: colour where it is, and how much it covers.
pub(super) struct Part {
    ink: Pixmap,
    side: usize,
    height: f32,
}

impl Part {
    /// Draws a part of this class with its middle at `at`, in a size, turn, tilt and metal of its own.
    pub fn draw(class: u32, canvas: &Canvas, at: (f32, f32), sun: f32, rng: &mut ChaCha8Rng) -> Part {
        let side = canvas.side;
        let metal = METALS[rng.random_range(0..METALS.len())];
        let shade: f32 = rng.random_range(0.9..1.1);
        let metal = Metal { colour: metal.colour.map(|c| c * shade * rng.random_range(0.97..1.03)), ..metal };
        let turn = rng.random_range(0.0..360.0);
        // The camera does not look straight down: one direction is shortened.
        let tilt = Transform::from_rotate(rng.random_range(0.0..360.0)).pre_scale(1.0, rng.random_range(0.84..1.0));
        let place = Transform::from_translate(at.0, at.1).pre_scale(canvas.unit, canvas.unit).pre_concat(tilt).pre_rotate(turn);
        // Where the light comes from, seen from the part's own axes.
        let pen = shapes::Pen { place, metal, sun: sun - turn.to_radians() };
        let mut ink = Pixmap::new(side as u32, side as u32).expect("the canvas has at least one pixel");
        let height = match class {
            0 => shapes::bolt(&mut ink, &pen, rng),
            1 => shapes::nut(&mut ink, &pen, rng),
            _ => shapes::washer(&mut ink, &pen, rng),
        };
        Part { ink, side, height }
    }

    /// Pixels that the part covers by half or more, as positions on the canvas.
    pub fn solid(&self) -> impl Iterator<Item = usize> + '_ {
        self.ink.pixels().iter().enumerate().filter(|(_, p)| p.alpha() >= 128).map(|(at, _)| at)
    }

    /// Lays shadow and part onto the canvas.
    pub fn stamp(&self, canvas: &mut Canvas, sun: f32, rng: &mut ChaCha8Rng) {
        let unit = canvas.unit;
        self.shade(canvas, sun, rng.random_range(0.25..0.6));
        let (dirt, brush) = (Noise(rng.random()), Noise(rng.random()));
        let (worn, strength) = (rng.random_range(0.04..0.2), rng.random_range(0.02..0.1));
        let turn: f32 = rng.random_range(0.0..std::f32::consts::PI);
        let (sin, cos) = turn.sin_cos();
        for (at, pixel) in self.ink.pixels().iter().enumerate().filter(|(_, p)| p.alpha() > 0) {
            let (x, y) = ((at % self.side) as f32 / unit, (at / self.side) as f32 / unit);
            let stain = 1.0 - worn * 2.0 * (dirt.rough(x / 11.0, y / 11.0, 3) - 0.35).max(0.0);
            let lines = 1.0 + strength * 2.0 * (brush.at((x * cos + y * sin) / 9.0, (y * cos - x * sin) / 0.9) - 0.5);
            let cover = f32::from(pixel.alpha()) / 255.0;
            // Colours of a pixmap are multiplied by their coverage already.
            let colour = [pixel.red(), pixel.green(), pixel.blue()].map(|c| f32::from(c) * stain * lines);
            for (old, new) in canvas.light[at].iter_mut().zip(colour) {
                *old = *old * (1.0 - cover) + new;
            }
        }
    }

    /// The part's outline, moved away from the light by its height and softened. Only the part's own surroundings are
    /// looked at: the rest of the canvas lies outside the shadow.
    fn shade(&self, canvas: &mut Canvas, sun: f32, depth: f32) {
        let kernel = gaussian((0.35 * self.height).max(0.8) * canvas.unit);
        let offset = |direction: f32| (-direction * self.height * canvas.unit).round() as i64;
        let (dx, dy) = (offset(sun.cos()), offset(sun.sin()));
        let Some((x1, y1, x2, y2)) = self.bounds(kernel.len() / 2) else { return };
        let width = x2 - x1;
        let outline: Vec<f32> = (y1 * width..y2 * width)
            .map(|at| f32::from(self.ink.pixels()[at / width * self.side + x1 + at % width].alpha()) / 255.0)
            .collect();
        let soft = convolve(&convolve(&outline, width, false, &kernel), width, true, &kernel);
        for (at, shadow) in soft.iter().enumerate() {
            let (x, y) = ((x1 + at % width) as i64 + dx, (y1 + at / width) as i64 + dy);
            if (0..self.side as i64).contains(&x) && (0..self.side as i64).contains(&y) {
                let light = &mut canvas.light[y as usize * self.side + x as usize];
                *light = light.map(|c| c * (1.0 - depth * shadow));
            }
        }
    }

    /// Left, top, right, bottom of everything drawn, and `around` pixels more where the canvas has them.
    fn bounds(&self, around: usize) -> Option<(usize, usize, usize, usize)> {
        let drawn = self.ink.pixels().iter().enumerate().filter(|(_, p)| p.alpha() > 0).map(|(at, _)| (at % self.side, at / self.side));
        let (x1, y1, x2, y2) =
            drawn.fold((self.side, self.side, 0, 0), |(x1, y1, x2, y2), (x, y)| (x1.min(x), y1.min(y), x2.max(x + 1), y2.max(y + 1)));
        (x1 < x2)
            .then(|| (x1.saturating_sub(around), y1.saturating_sub(around), (x2 + around).min(self.side), (y2 + around).min(self.side)))
    }
}
