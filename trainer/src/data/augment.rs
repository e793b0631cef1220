//! Augmentation: four pictures in one (mosaic, from the YOLOv4 paper), an affine map or one with perspective, flips, colour, two
//! pictures over one another (mixup, Zhang et al. 2018), and inputs of several sizes.
//!
//! Cheap because all geometry is one affine map per picture: each output pixel is sampled once, straight from the cached
//! picture into the batch. No mosaic canvas, no warped copy. The colours are changed in place afterwards.

mod affine;
mod colour;
mod draws;
mod mixup;
mod place;
mod projective;
mod side;
mod warp;

use serde::{Deserialize, Serialize};

pub use draws::{Draws, order};
pub use mixup::Mixup;
pub use place::{mosaic, single};
pub use side::side;
pub use warp::Tile;

use super::{Object, Target};

/// Grey of the ground that no picture covers: the letterbox's.
const GREY: u8 = edgeloop_vision::letterbox::PADDING;

/// How much pictures are changed. The defaults are those that the YOLOv8 ecosystem trains with.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Augment {
    /// Share of the pictures that are made of four.
    pub mosaic: f32,
    /// Rotation by up to so many degrees either way.
    pub degrees: f32,
    /// Shift by up to this fraction of the input either way.
    pub translate: f32,
    /// Scale by 1 ± this. Below 1.
    pub scale: f32,
    /// Shear by up to so many degrees either way.
    pub shear: f32,
    /// Hue turned by up to this fraction of the circle either way.
    pub hsv_h: f32,
    /// Saturation times 1 ± this.
    pub hsv_s: f32,
    /// Brightness times 1 ± this.
    pub hsv_v: f32,
    /// Share mirrored left to right.
    pub fliplr: f32,
    /// Share mirrored top to bottom.
    pub flipud: f32,
    /// Tilt by up to this much for each pixel from the middle, either way.
    pub perspective: f32,
    /// Share of the pictures that have another one laid over them.
    pub mixup: f32,
    /// Side of the input times 1 ± this, anew for each batch.
    pub multi_scale: f32,
}

impl Default for Augment {
    fn default() -> Self {
        Self {
            mosaic: 1.0,
            degrees: 0.0,
            translate: 0.1,
            scale: 0.5,
            shear: 0.0,
            hsv_h: 0.015,
            hsv_s: 0.7,
            hsv_v: 0.4,
            fliplr: 0.5,
            flipud: 0.0,
            perspective: 0.0,
            mixup: 0.0,
            multi_scale: 0.0,
        }
    }
}

impl Augment {
    /// Pictures as they are.
    pub const NONE: Self = Self {
        mosaic: 0.0,
        degrees: 0.0,
        translate: 0.0,
        scale: 0.0,
        shear: 0.0,
        hsv_h: 0.0,
        hsv_s: 0.0,
        hsv_v: 0.0,
        fliplr: 0.0,
        flipud: 0.0,
        perspective: 0.0,
        mixup: 0.0,
        multi_scale: 0.0,
    };

    /// The first setting that makes no sense, in words.
    pub fn problem(&self) -> Option<String> {
        let Self { mosaic, degrees, translate, scale, shear, hsv_h, hsv_s, hsv_v, fliplr, flipud, perspective, mixup, multi_scale } = *self;
        let settings = [
            ("mosaic", mosaic, 1.0),
            ("degrees", degrees, 180.0),
            ("translate", translate, 0.9),
            ("scale", scale, 0.95),
            ("shear", shear, 60.0),
            ("hsv_h", hsv_h, 0.5),
            ("hsv_s", hsv_s, 1.0),
            ("hsv_v", hsv_v, 1.0),
            ("fliplr", fliplr, 1.0),
            ("flipud", flipud, 1.0),
            // Four pictures are two inputs wide: at 640 px the far corner is then divided by 1 ± 0.001 · 640 · 2.
            ("perspective", perspective, 0.001),
            ("mixup", mixup, 1.0),
            ("multi_scale", multi_scale, 0.5),
        ];
        let wrong = settings.into_iter().find(|(_, value, most)| !(0.0..=*most).contains(value));
        wrong.map(|(name, value, most)| format!("{name} is {value}; it must be between 0 and {most}"))
    }
}

/// Sides of the input in pixels.
#[derive(Debug, Clone, Copy)]
pub struct Sides {
    /// What cached pictures fit.
    pub base: usize,
    /// What this batch has.
    pub batch: usize,
}

/// Draws one picture of a batch: `pictures` are one, or four for a mosaic. `out` is `[3, side, side]`; boxes go to `targets`.
pub fn render(draws: &Draws, pictures: &[(&Tile, &[Object])], sides: Sides, out: &mut [u8], image: u32, targets: &mut Vec<Target>) {
    out.fill(GREY);
    let Sides { base, batch: side } = sides;
    let sizes: Vec<(usize, usize)> = pictures.iter().map(|(tile, _)| (tile.width, tile.height)).collect();
    let placements = match sizes[..] {
        [a, b, c, d] => mosaic(draws, [a, b, c, d], base).to_vec(),
        [one, ..] => vec![single(draws, one, base)],
        [] => Vec::new(),
    };
    for ((tile, objects), placement) in pictures.iter().zip(placements) {
        let placement = placement.resized(base, side);
        tile.warp(&placement, side, out);
        targets.extend(objects.iter().filter_map(|object| placement.target(object, tile, side, image)));
    }
    colour::change(out, side * side, draws.hue, draws.saturation, draws.value);
}
