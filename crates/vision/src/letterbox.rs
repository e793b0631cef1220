//! The one resize: training, judging and serving all see pictures through it.
//!
//! Plain bilinear with pixel centres at .5, not antialiased: what OpenCV calls `INTER_LINEAR` and what weights from the
//! YOLO ecosystem were trained with (measured in docs/decisions/image-stack.md). The picture keeps its aspect, stands in
//! the middle, and is padded with grey 114.

mod planes;

use std::cell::RefCell;

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};

use crate::Image;
use crate::boxes::Xyxy;
use crate::decode::Reduced;

/// Grey of the padding, as the ecosystem has it.
pub const PADDING: u8 = 114;

/// How a picture lies in a network's input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Letterbox {
    /// Input pixels a picture pixel. Along an axis the true factor is `fit / src`, which differs by the rounding of `fit`.
    pub scale: f32,
    /// Padding left of the picture, whole pixels.
    pub pad_x: u32,
    /// Padding above the picture, whole pixels.
    pub pad_y: u32,
    /// Columns of the resized picture within the input, at least 1.
    pub fit_w: u32,
    /// Rows of the resized picture within the input, at least 1.
    pub fit_h: u32,
    /// Columns of the picture.
    pub src_w: u32,
    /// Rows of the picture.
    pub src_h: u32,
    /// Columns of the input.
    pub dst_w: u32,
    /// Rows of the input.
    pub dst_h: u32,
}

impl Letterbox {
    /// Where a picture of `src_w` x `src_h` lies in an input of `dst_w` x `dst_h`. Sizes of 0 count as 1.
    pub fn fit(src_w: u32, src_h: u32, dst_w: u32, dst_h: u32) -> Letterbox {
        let (src_w, src_h, dst_w, dst_h) = (src_w.max(1), src_h.max(1), dst_w.max(1), dst_h.max(1));
        let scale = (f64::from(dst_w) / f64::from(src_w)).min(f64::from(dst_h) / f64::from(src_h));
        // 5000 x 1 into 640 x 640 would round to no row at all.
        let fitted = |src: u32, dst: u32| ((f64::from(src) * scale).round() as u32).clamp(1, dst);
        let (fit_w, fit_h) = (fitted(src_w, dst_w), fitted(src_h, dst_h));
        // An odd rest goes right and below.
        let (pad_x, pad_y) = ((dst_w - fit_w) / 2, (dst_h - fit_h) / 2);
        Letterbox { scale: scale as f32, pad_x, pad_y, fit_w, fit_h, src_w, src_h, dst_w, dst_h }
    }

    /// From pixels of the picture to pixels of the input.
    pub fn to_input(&self, b: Xyxy) -> Xyxy {
        let (sx, sy) = (self.fit_w as f32 / self.src_w as f32, self.fit_h as f32 / self.src_h as f32);
        let (px, py) = (self.pad_x as f32, self.pad_y as f32);
        Xyxy::new(b.x1 * sx + px, b.y1 * sy + py, b.x2 * sx + px, b.y2 * sy + py)
    }

    /// From pixels of the input to pixels of the picture, clipped to it.
    pub fn to_image(&self, b: Xyxy) -> Xyxy {
        let (sx, sy) = (self.src_w as f32 / self.fit_w as f32, self.src_h as f32 / self.fit_h as f32);
        let (px, py) = (self.pad_x as f32, self.pad_y as f32);
        Xyxy::new((b.x1 - px) * sx, (b.y1 - py) * sy, (b.x2 - px) * sx, (b.y2 - py) * sy).clip(self.src_w as f32, self.src_h as f32)
    }
}

/// The resizer's tables and the resized picture, kept from call to call: one set a thread, as large as its largest job.
#[derive(Default)]
struct Scratch {
    resizer: Resizer,
    fitted: Vec<u8>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Resizes into `out`, `width * height * 3` bytes. The one place where the resizer is called, and with a pixel type that is known at
/// compile time: each call of its untyped form compiles the whole library again for every pixel type there is.
fn resize_into(resizer: &mut Resizer, image: &Image, width: u32, height: u32, out: &mut [u8]) {
    assert!(image.is_whole(), "{image:?} does not have three bytes for each of at least one pixel");
    let source = TypedImageRef::<U8x3>::from_buffer(image.width, image.height, &image.data).expect("three bytes a pixel were checked");
    let mut target = TypedImage::<U8x3>::from_buffer(width, height, out).expect("the buffer was sized for it");
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Interpolation(FilterType::Bilinear));
    resizer.resize_typed(&source, &mut target, &options).expect("both pictures are RGB8 and not empty");
}

/// Resizes to exactly `width` x `height` (at least 1), aspect not kept: [`letterbox`] without the padding.
///
/// # Panics
/// If `image` is not [whole](Image::is_whole).
pub fn resize(image: &Image, width: u32, height: u32) -> Image {
    let (width, height) = (width.max(1), height.max(1));
    if (width, height) == (image.width, image.height) {
        return image.clone();
    }
    let mut out = Image::filled(width, height, [0; 3]);
    SCRATCH.with_borrow_mut(|s| resize_into(&mut s.resizer, image, width, height, &mut out.data));
    out
}

/// Resizes and pads into a picture of `width` x `height`.
///
/// # Panics
/// If `image` is not [whole](Image::is_whole).
pub fn letterbox(image: &Image, width: u32, height: u32) -> (Image, Letterbox) {
    let place = Letterbox::fit(image.width, image.height, width, height);
    let fitted = resize(image, place.fit_w, place.fit_h);
    let mut canvas = Image::filled(place.dst_w, place.dst_h, [PADDING; 3]);
    let (row_bytes, canvas_row) = (place.fit_w as usize * 3, place.dst_w as usize * 3);
    let left = place.pad_x as usize * 3;
    let lines = canvas.data.chunks_exact_mut(canvas_row).skip(place.pad_y as usize);
    for (line, row) in lines.zip(fitted.data.chunks_exact(row_bytes)) {
        line[left..left + row_bytes].copy_from_slice(row);
    }
    (canvas, place)
}

/// Resizes and pads into `out`: `[3, height, width]`, RGB, 0 to 1 (`byte / 255`), ready for an engine.
///
/// # Panics
/// If `image` is not [whole](Image::is_whole) or `out` is not `3 * height * width` long.
pub fn letterbox_chw(image: &Image, width: u32, height: u32, out: &mut [f32]) -> Letterbox {
    planar(image, Letterbox::fit(image.width, image.height, width, height), out, unit(PADDING), unit)
}

/// As [`letterbox_chw`] for a picture that may have been decoded smaller than it is; boxes map to the whole picture.
///
/// # Panics
/// If the picture is not [whole](Image::is_whole) or `out` is not `3 * height * width` long.
pub fn letterbox_reduced_chw(reduced: &Reduced, width: u32, height: u32, out: &mut [f32]) -> Letterbox {
    planar(&reduced.image, Letterbox::fit(reduced.width, reduced.height, width, height), out, unit(PADDING), unit)
}

/// As [`letterbox_chw`], in bytes 0 to 255: for training, which converts on the device.
///
/// # Panics
/// If `image` is not [whole](Image::is_whole) or `out` is not `3 * height * width` long.
pub fn letterbox_chw_u8(image: &Image, width: u32, height: u32, out: &mut [u8]) -> Letterbox {
    planar(image, Letterbox::fit(image.width, image.height, width, height), out, PADDING, |byte| byte)
}

/// 0 to 1, rounded once, as a tensor division gives it. A division rather than a table: it is done for 16 bytes at a time.
#[inline(always)]
fn unit(byte: u8) -> f32 {
    f32::from(byte) / 255.0
}

fn planar<T: Copy>(image: &Image, place: Letterbox, out: &mut [T], padding: T, value: impl Fn(u8) -> T + Copy) -> Letterbox {
    let (dst_w, dst_h) = (place.dst_w as usize, place.dst_h as usize);
    assert!(image.is_whole(), "{image:?} does not have three bytes for each of at least one pixel");
    assert_eq!(out.len(), 3 * dst_w * dst_h, "the input buffer must hold [3, {dst_h}, {dst_w}]");
    SCRATCH.with_borrow_mut(|scratch| {
        let fitted: &[u8] = if (place.fit_w, place.fit_h) == (image.width, image.height) {
            &image.data
        } else {
            scratch.fitted.resize(place.fit_w as usize * place.fit_h as usize * 3, 0);
            resize_into(&mut scratch.resizer, image, place.fit_w, place.fit_h, &mut scratch.fitted);
            &scratch.fitted
        };
        planes::split(fitted, &place, out, padding, value);
    });
    place
}

#[cfg(test)]
mod tests;
