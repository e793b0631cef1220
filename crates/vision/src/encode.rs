//! From an [`Image`] to the bytes of a file.

use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};

use crate::Image;

/// Why a picture could not be written.
#[derive(Debug, thiserror::Error)]
#[error("a picture of {width} x {height} pixels could not be written as {format}: {detail}")]
pub struct EncodeError {
    width: u32,
    height: u32,
    format: &'static str,
    detail: String,
}

fn error(image: &Image, format: &'static str, detail: impl ToString) -> EncodeError {
    EncodeError { width: image.width, height: image.height, format, detail: detail.to_string() }
}

/// A PNG, without loss.
pub fn encode_png(image: &Image) -> Result<Vec<u8>, EncodeError> {
    if !image.is_whole() {
        return Err(error(image, "PNG", format!("it has {} bytes", image.data.len())));
    }
    let mut out = Vec::new();
    PngEncoder::new(&mut out)
        .write_image(&image.data, image.width, image.height, ExtendedColorType::Rgb8)
        .map_err(|e| error(image, "PNG", e))?;
    Ok(out)
}

/// A baseline JPEG with 4:2:0 colour, as cameras write it. `quality` 1 to 100; values outside are brought inside.
pub fn encode_jpeg(image: &Image, quality: u8) -> Result<Vec<u8>, EncodeError> {
    if !image.is_whole() {
        return Err(error(image, "JPEG", format!("it has {} bytes", image.data.len())));
    }
    let view = turbojpeg::Image {
        pixels: image.data.as_slice(),
        width: image.width as usize,
        pitch: image.width as usize * 3,
        height: image.height as usize,
        format: turbojpeg::PixelFormat::RGB,
    };
    let bytes =
        turbojpeg::compress(view, i32::from(quality.clamp(1, 100)), turbojpeg::Subsamp::Sub2x2).map_err(|e| error(image, "JPEG", e))?;
    Ok(bytes.to_vec())
}
