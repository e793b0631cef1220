//! PNG, BMP, WebP (and CMYK JPEG) by the `image` crate's own decoders.

use std::io::{Cursor, ErrorKind};

use image::codecs::{bmp::BmpDecoder, jpeg::JpegDecoder, png::PngDecoder, webp::WebPDecoder};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError};

use super::{DecodeError, Format, Limits, orientation_in};
use crate::Image;

/// Bytes a pixel of the widest kind that a decoder makes, 16-bit RGBA, times two for its own working copy.
const MAX_BYTES_A_PIXEL: u64 = 16;

pub(super) fn header(format: Format, bytes: &[u8]) -> Result<(u32, u32, Orientation), DecodeError> {
    let mut decoder = open(format, bytes)?;
    let (width, height) = decoder.dimensions();
    Ok((width, height, orientation(decoder.as_mut())))
}

pub(super) fn decode(format: Format, bytes: &[u8], limits: &Limits) -> Result<(Image, Orientation), DecodeError> {
    let mut decoder = open(format, bytes)?;
    let (width, height) = decoder.dimensions();
    limits.check_pixels(format, width, height)?;
    let mut inner = image::Limits::no_limits();
    // A small floor: fixed tables of a decoder do not shrink with the picture.
    inner.max_alloc = Some(limits.max_pixels.saturating_mul(MAX_BYTES_A_PIXEL).max(16 << 20));
    decoder.set_limits(inner).map_err(|e| judge(format, &e))?;
    let orientation = orientation(decoder.as_mut());
    let pixels = DynamicImage::from_decoder(decoder).map_err(|e| judge(format, &e))?;
    let image = Image { width, height, data: pixels.into_rgb8().into_raw() };
    Ok((image, orientation))
}

fn open<'a>(format: Format, bytes: &'a [u8]) -> Result<Box<dyn ImageDecoder + 'a>, DecodeError> {
    let reader = Cursor::new(bytes);
    let decoder: Result<Box<dyn ImageDecoder + 'a>, ImageError> = match format {
        Format::Jpeg => JpegDecoder::new(reader).map(|d| Box::new(d) as _),
        Format::Png => PngDecoder::new(reader).map(|d| Box::new(d) as _),
        Format::Bmp => BmpDecoder::new(reader).map(|d| Box::new(d) as _),
        Format::WebP => WebPDecoder::new(reader).map(|d| Box::new(d) as _),
    };
    decoder.map_err(|e| judge(format, &e))
}

/// A broken EXIF block does not spoil the picture.
fn orientation(decoder: &mut dyn ImageDecoder) -> Orientation {
    orientation_in(decoder.exif_metadata().ok().flatten().as_deref())
}

fn judge(format: Format, error: &ImageError) -> DecodeError {
    if is_end_of_file(error) {
        return DecodeError::Truncated(format);
    }
    match error {
        ImageError::Unsupported(e) => DecodeError::Unsupported(format!("a {format} of this kind ({e})")),
        other => DecodeError::Corrupt { format, detail: other.to_string() },
    }
}

/// Decoders wrap «the bytes are used up» in different depths; the io error at the bottom says it.
fn is_end_of_file(error: &ImageError) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(e) = cause {
        if e.downcast_ref::<std::io::Error>().is_some_and(|io| io.kind() == ErrorKind::UnexpectedEof) {
            return true;
        }
        cause = e.source();
    }
    false
}
