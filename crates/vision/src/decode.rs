//! From the bytes of a file to an upright [`Image`], within stated limits.
//!
//! Size limits are checked against the header before any pixel buffer exists. The EXIF orientation is applied to JPEG,
//! PNG and WebP, so that every later coordinate is one of the picture as a person sees it. A cut-off file is an error,
//! never half a picture: training on grey rows or serving them would be wrong without a trace.

mod jpeg;
mod other;

use std::fmt;

use image::metadata::Orientation;
use image::{DynamicImage, ImageFormat, RgbImage};

use crate::Image;

/// What a decoder may be asked to swallow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Size of the file.
    pub max_bytes: u64,
    /// Width times height as the header states them.
    pub max_pixels: u64,
}

impl Default for Limits {
    /// 20 MB and 64 megapixels: the largest photo of a common camera. 64 Mpx are 192 MB of RGB; a progressive JPEG of
    /// that size needs another 384 MB of coefficients while it is decoded, a 16-bit RGBA PNG another 512 MB.
    fn default() -> Limits {
        Limits { max_bytes: 20_000_000, max_pixels: 64_000_000 }
    }
}

/// File formats that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Baseline and progressive, grey, YCbCr, RGB, CMYK.
    Jpeg,
    /// All depths; an alpha channel is dropped, not blended, as training tools do.
    Png,
    /// Uncompressed and RLE.
    Bmp,
    /// Lossy and lossless; the first frame of an animation.
    WebP,
}

impl Format {
    /// Which format do these bytes claim to be? Decided by their first bytes, never by a name.
    pub fn of(bytes: &[u8]) -> Result<Format, DecodeError> {
        if bytes.is_empty() {
            return Err(DecodeError::Empty);
        }
        match image::guess_format(bytes) {
            Ok(ImageFormat::Jpeg) => Ok(Format::Jpeg),
            Ok(ImageFormat::Png) => Ok(Format::Png),
            Ok(ImageFormat::Bmp) => Ok(Format::Bmp),
            Ok(ImageFormat::WebP) => Ok(Format::WebP),
            Ok(other) => Err(DecodeError::Unsupported(format!("{} files", other.extensions_str().first().unwrap_or(&"such")))),
            Err(_) => Err(DecodeError::Unsupported("this is no picture file: its first bytes".into())),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Jpeg => "JPEG",
            Format::Png => "PNG",
            Format::Bmp => "BMP",
            Format::WebP => "WebP",
        })
    }
}

/// What the header tells, without decoding a pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// File format.
    pub format: Format,
    /// Columns of the upright picture.
    pub width: u32,
    /// Rows of the upright picture.
    pub height: u32,
}

/// Which limit was passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excess {
    /// The file itself is too big.
    Bytes {
        /// Size of the file.
        bytes: u64,
        /// [`Limits::max_bytes`].
        max: u64,
    },
    /// The picture that it announces is too big.
    Pixels {
        /// Announced columns.
        width: u32,
        /// Announced rows.
        height: u32,
        /// [`Limits::max_pixels`].
        max: u64,
    },
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Excess::Bytes { bytes, max } => write!(f, "{bytes} bytes, the limit is {max}"),
            Excess::Pixels { width, height, max } => write!(f, "{width} x {height} pixels, the limit is {max} pixels"),
        }
    }
}

/// Why there is no picture.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// No bytes at all.
    #[error("the file is empty; send a JPEG, PNG, BMP or WebP picture")]
    Empty,
    /// More than [`Limits`] allow.
    #[error("the picture is too large: {0}; send a smaller one or raise the limit")]
    TooLarge(Excess),
    /// Not a format, or a kind of it, that is read.
    #[error("{0} cannot be read; use JPEG, PNG, BMP or WebP")]
    Unsupported(String),
    /// The file ends before its picture does.
    #[error("the {0} file is cut off: its picture goes on after the last byte; copy or send it again")]
    Truncated(Format),
    /// The file contradicts its own format.
    #[error("the {format} file is damaged: {detail}; copy or send it again")]
    Corrupt {
        /// What the file claims to be.
        format: Format,
        /// The decoder's words.
        detail: String,
    },
}

impl Limits {
    fn check_bytes(&self, bytes: &[u8]) -> Result<(), DecodeError> {
        let bytes = bytes.len() as u64;
        if bytes > self.max_bytes { Err(DecodeError::TooLarge(Excess::Bytes { bytes, max: self.max_bytes })) } else { Ok(()) }
    }

    fn check_pixels(&self, format: Format, width: u32, height: u32) -> Result<(), DecodeError> {
        if width == 0 || height == 0 {
            return Err(DecodeError::Corrupt { format, detail: format!("its header says {width} x {height} pixels") });
        }
        if u64::from(width) * u64::from(height) > self.max_pixels {
            return Err(DecodeError::TooLarge(Excess::Pixels { width, height, max: self.max_pixels }));
        }
        Ok(())
    }
}

/// Reads format and upright size. Allocates no pixels and needs no whole file, but the bytes up to the picture data.
pub fn header(bytes: &[u8]) -> Result<Header, DecodeError> {
    let format = Format::of(bytes)?;
    let (width, height, orientation) = match format {
        Format::Jpeg => {
            let found = jpeg::scan(bytes)?;
            (found.width, found.height, found.orientation)
        }
        _ => other::header(format, bytes)?,
    };
    let (width, height) = if is_turned(orientation) { (height, width) } else { (width, height) };
    Ok(Header { format, width, height })
}

/// Decodes a whole file into an upright RGB picture.
///
/// # Errors
/// See [`DecodeError`]; [`DecodeError::TooLarge`] is decided before any memory is asked for.
pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Image, DecodeError> {
    limits.check_bytes(bytes)?;
    let format = Format::of(bytes)?;
    let (image, orientation) = match format {
        Format::Jpeg => jpeg::decode(bytes, limits, |width, height, _| (width, height))?,
        _ => other::decode(format, bytes, limits)?,
    };
    Ok(upright(image, orientation))
}

/// A picture that may have been decoded smaller than it is.
#[derive(Debug)]
pub struct Reduced {
    /// The pixels, upright: a half, a quarter or an eighth of each side, or all.
    pub image: Image,
    /// Columns of the whole upright picture.
    pub width: u32,
    /// Rows of the whole upright picture.
    pub height: u32,
}

/// As [`decode`], for somebody who needs the picture only as large as `fit` says of its whole upright size: a JPEG is then
/// decoded at the smallest of 1/1, 1/2, 1/4 and 1/8 that is no smaller, which costs less than all of it.
///
/// Width or height is rounded up. What is left out are high frequencies, which a resize without a filter would fold into the
/// picture; what that does to accuracy is measured in docs/decisions/reduced-decode.md.
///
/// # Errors
/// As [`decode`].
pub fn decode_reduced(bytes: &[u8], limits: &Limits, fit: impl FnOnce(u32, u32) -> (u32, u32)) -> Result<Reduced, DecodeError> {
    limits.check_bytes(bytes)?;
    let format = Format::of(bytes)?;
    if format != Format::Jpeg {
        let (image, orientation) = other::decode(format, bytes, limits)?;
        let image = upright(image, orientation);
        let (width, height) = (image.width, image.height);
        // Told the size all the same: who asks learns it by this.
        fit(width, height);
        return Ok(Reduced { image, width, height });
    }
    let mut whole = (0, 0);
    let (image, orientation) = jpeg::decode(bytes, limits, |width, height, orientation| {
        let turned = is_turned(orientation);
        whole = if turned { (height, width) } else { (width, height) };
        let (fit_w, fit_h) = fit(whole.0, whole.1);
        if turned { (fit_h, fit_w) } else { (fit_w, fit_h) }
    })?;
    Ok(Reduced { image: upright(image, orientation), width: whole.0, height: whole.1 })
}

/// Does this orientation swap width and height?
fn is_turned(orientation: Orientation) -> bool {
    matches!(orientation, Orientation::Rotate90 | Orientation::Rotate270 | Orientation::Rotate90FlipH | Orientation::Rotate270FlipH)
}

/// The orientation in an EXIF block, with or without the JPEG prefix; no or broken EXIF means «as stored».
fn orientation_in(exif: Option<&[u8]>) -> Orientation {
    let Some(exif) = exif else { return Orientation::NoTransforms };
    let tiff = exif.strip_prefix(b"Exif\0\0").unwrap_or(exif);
    Orientation::from_exif_chunk(tiff).unwrap_or(Orientation::NoTransforms)
}

fn upright(image: Image, orientation: Orientation) -> Image {
    if orientation == Orientation::NoTransforms {
        return image;
    }
    let buffer = RgbImage::from_raw(image.width, image.height, image.data).expect("a decoded picture has three bytes a pixel");
    let mut turned = DynamicImage::ImageRgb8(buffer);
    turned.apply_orientation(orientation);
    let (width, height) = (turned.width(), turned.height());
    Image { width, height, data: turned.into_rgb8().into_raw() }
}

#[cfg(test)]
mod tests;
