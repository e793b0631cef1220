//! Where each picture lies in the input, and what becomes of its boxes.

use super::{
    super::{Object, Target},
    affine::Affine,
    draws::Draws,
    projective::Projective,
    warp::Tile,
};

/// Leftovers of a box with a side below this, in pixels, teach nothing.
const MIN_SIDE: f64 = 2.0;
/// Nor do boxes of which less than this share is left.
const MIN_LEFT: f64 = 0.1;

/// One picture's place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Placement {
    /// From pixels of the picture to pixels of the input.
    pub map: Projective,
    /// The part of the picture that is shown: `(x1, y1, x2, y2)` in its pixels.
    pub shown: (f64, f64, f64, f64),
}

/// One picture in the middle of the input, as the letterbox puts it, then changed.
pub fn single(draws: &Draws, (width, height): (usize, usize), size: usize) -> Placement {
    // Whole pixels, an odd rest right and below: without changes this is the letterbox to the byte.
    let (left, top) = (size.saturating_sub(width) / 2, size.saturating_sub(height) / 2);
    let map = change(draws, size, size).after(Affine::shift(left as f64, top as f64));
    Placement { map, shown: (0.0, 0.0, width as f64, height as f64) }
}

/// Four pictures around a point of a canvas twice the size: above left, above right, below left, below right. The input is
/// the middle of the changed canvas.
pub fn mosaic(draws: &Draws, sizes: [(usize, usize); 4], size: usize) -> [Placement; 4] {
    let canvas = 2.0 * size as f64;
    // Whole pixels: pictures are not blurred by half a pixel where the scale is 1.
    let [centre_x, centre_y] = draws.centre.map(|at| ((0.25 + 0.5 * at) * canvas).round());
    let change = change(draws, 2 * size, size);
    [0, 1, 2, 3].map(|at| {
        let (width, height) = (sizes[at].0 as f64, sizes[at].1 as f64);
        let left = if at % 2 == 0 { centre_x - width } else { centre_x };
        let top = if at < 2 { centre_y - height } else { centre_y };
        let shown = ((-left).max(0.0), (-top).max(0.0), (canvas - left).min(width), (canvas - top).min(height));
        Placement { map: change.after(Affine::shift(left, top)), shown }
    })
}

/// Around the middle of a canvas of side `from`: tilt, turn, scale, shear; then to the middle of the input of side `to`, shifted, mirrored.
fn change(draws: &Draws, from: usize, to: usize) -> Projective {
    let (from, to) = (from as f64, to as f64);
    let (mirror_x, mirror_y) = (if draws.fliplr { -1.0 } else { 1.0 }, if draws.flipud { -1.0 } else { 1.0 });
    Projective::tilt(draws.perspective)
        .after(Affine::shift(-from / 2.0, -from / 2.0))
        .then(Affine::rotate(draws.angle))
        .then(Affine::scale(draws.scale, draws.scale))
        .then(Affine::shear(draws.shear[0], draws.shear[1]))
        .then(Affine::shift(draws.translate[0] * to, draws.translate[1] * to))
        .then(Affine::scale(mirror_x, mirror_y))
        .then(Affine::shift(to / 2.0, to / 2.0))
}

impl Placement {
    /// The same place in an input of `side` rather than `size` pixels.
    pub fn resized(self, size: usize, side: usize) -> Self {
        if size == side {
            return self;
        }
        let factor = side as f64 / size as f64;
        Self { map: self.map.then(Affine::scale(factor, factor)), ..self }
    }

    /// A box of the picture as a target of the input: cut at the edges of what is shown; `None` when too little is left.
    pub fn target(&self, object: &Object, tile: &Tile, size: usize, image: u32) -> Option<Target> {
        let (width, height, size) = (tile.width as f64, tile.height as f64, size as f64);
        let (cx, cy) = (f64::from(object.cx) * width, f64::from(object.cy) * height);
        let (w, h) = (f64::from(object.w) * width, f64::from(object.h) * height);
        let whole = (cx - w / 2.0, cy - h / 2.0, cx + w / 2.0, cy + h / 2.0);
        let (left, top, right, bottom) = self.shown;
        let shown = (whole.0.max(left), whole.1.max(top), whole.2.min(right), whole.3.min(bottom));
        if shown.0 >= shown.2 || shown.1 >= shown.3 {
            return None;
        }
        let (x1, y1, x2, y2) = self.map.bounds(shown)?;
        let (x1, y1, x2, y2) = (x1.max(0.0), y1.max(0.0), x2.min(size), y2.min(size));
        // Of a box that reaches beyond the horizon, what is shown counts as all of it.
        let before = self.map.bounds(whole).unwrap_or((x1, y1, x2, y2));
        let left = (x2 - x1) * (y2 - y1) / ((before.2 - before.0) * (before.3 - before.1));
        // Written so that what is not a number is left out too.
        if !(x2 - x1 >= MIN_SIDE && y2 - y1 >= MIN_SIDE && left >= MIN_LEFT) {
            return None;
        }
        let fraction = |pixels: f64| (pixels / size) as f32;
        let (cx, cy, w, h) = (fraction((x1 + x2) / 2.0), fraction((y1 + y2) / 2.0), fraction(x2 - x1), fraction(y2 - y1));
        Some(Target { image, class: object.class, cx, cy, w, h })
    }
}

#[cfg(test)]
mod tests;
