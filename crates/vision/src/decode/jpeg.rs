//! JPEG: markers read here (size, orientation), pixels by libjpeg-turbo, CMYK by zune-jpeg.

use image::metadata::Orientation;
use turbojpeg::{Colorspace, Decompressor, PixelFormat, ScalingFactor};

use super::{DecodeError, Format, Limits, orientation_in, other};
use crate::Image;

/// Progressive files may repeat scans without end at a few bytes each; real ones have about ten.
const MAX_SCANS: u32 = 100;

/// What the markers before the first scan say.
pub(super) struct Scan {
    pub width: u32,
    pub height: u32,
    pub orientation: Orientation,
}

fn corrupt(detail: impl Into<String>) -> DecodeError {
    DecodeError::Corrupt { format: Format::Jpeg, detail: detail.into() }
}

/// Walks the segments up to the first scan (ITU T.81, B.1.1): frame size and the EXIF orientation.
pub(super) fn scan(bytes: &[u8]) -> Result<Scan, DecodeError> {
    const CUT: DecodeError = DecodeError::Truncated(Format::Jpeg);
    let mut at = 2;
    let mut size = None;
    let mut orientation = Orientation::NoTransforms;
    loop {
        // Any number of fill bytes 0xFF may stand before a marker; stray bytes between segments are skipped as libjpeg does.
        while *bytes.get(at).ok_or(CUT)? != 0xFF {
            at += 1;
        }
        while *bytes.get(at).ok_or(CUT)? == 0xFF {
            at += 1;
        }
        let marker = bytes[at];
        at += 1;
        match marker {
            0x00 | 0x01 | 0xD0..=0xD8 => continue,
            0xD9 => return Err(corrupt("it ends without a picture")),
            0xDA => break,
            _ => {}
        }
        let length = usize::from(u16::from_be_bytes([*bytes.get(at).ok_or(CUT)?, *bytes.get(at + 1).ok_or(CUT)?]));
        if length < 2 {
            return Err(corrupt(format!("segment FF{marker:02X} claims {length} bytes")));
        }
        let body = bytes.get(at + 2..at + length).ok_or(CUT)?;
        match marker {
            0xC0..=0xCF if !matches!(marker, 0xC4 | 0xC8 | 0xCC) => {
                let frame: [u8; 5] =
                    body.get(..5).and_then(|b| b.try_into().ok()).ok_or_else(|| corrupt("its frame header is too short"))?;
                size = Some((u32::from(u16::from_be_bytes([frame[3], frame[4]])), u32::from(u16::from_be_bytes([frame[1], frame[2]]))));
            }
            0xE1 if body.starts_with(b"Exif\0\0") => orientation = orientation_in(Some(body)),
            _ => {}
        }
        at += length;
    }
    let (width, height) = size.ok_or_else(|| corrupt("its first scan comes before the frame header"))?;
    Ok(Scan { width, height, orientation })
}

/// `fit` is told the stored size and the orientation, and says how much of it is needed, as stored.
pub(super) fn decode(
    bytes: &[u8],
    limits: &Limits,
    fit: impl FnOnce(u32, u32, Orientation) -> (u32, u32),
) -> Result<(Image, Orientation), DecodeError> {
    let found = scan(bytes)?;
    limits.check_pixels(Format::Jpeg, found.width, found.height)?;
    let mut turbo = Decompressor::new().map_err(|e| corrupt(e.to_string()))?;
    turbo.set_scan_limit(MAX_SCANS).map_err(|e| corrupt(e.to_string()))?;
    let header = turbo.read_header(bytes).map_err(|e| judge(&e))?;
    if matches!(header.colorspace, Colorspace::CMYK | Colorspace::YCCK) {
        // libjpeg-turbo hands out the four inks and leaves the colour conversion to the caller; zune-jpeg does it, but it
        // fills the rest of a cut-off file with grey and says nothing.
        if !has_end(bytes) {
            return Err(DecodeError::Truncated(Format::Jpeg));
        }
        let image = other::decode(Format::Jpeg, bytes, limits)?.0;
        fit(image.width, image.height, found.orientation);
        return Ok((image, found.orientation));
    }
    // A file with two frame headers could tell the walk above one size and libjpeg another: the buffer follows libjpeg.
    let (width, height) = (header.width as u32, header.height as u32);
    limits.check_pixels(Format::Jpeg, width, height)?;
    let needed = fit(width, height, found.orientation);
    // Lossless files cannot be scaled.
    let factor = if header.is_lossless { ScalingFactor::ONE } else { reduction((width, height), needed) };
    turbo.set_scaling_factor(factor).map_err(|e| corrupt(e.to_string()))?;
    let (width, height) = (factor.scale(header.width), factor.scale(header.height));
    let mut data = vec![0; width * height * 3];
    let output = turbojpeg::Image { pixels: data.as_mut_slice(), width, pitch: width * 3, height, format: PixelFormat::RGB };
    match turbo.decompress(bytes, output) {
        Ok(()) => {}
        // The picture is complete all the same: the decoder goes on after a warning, and the end marker is there.
        Err(e) if is_harmless(&e) && has_end(bytes) => {}
        Err(e) => return Err(judge(&e)),
    }
    Ok((Image { width: width as u32, height: height as u32, data }, found.orientation))
}

/// The strongest reduction that leaves at least `needed` of `whole`. Only powers of two: libjpeg-turbo has no SIMD for the others.
fn reduction(whole: (u32, u32), needed: (u32, u32)) -> ScalingFactor {
    [ScalingFactor::ONE_EIGHTH, ScalingFactor::ONE_QUARTER, ScalingFactor::ONE_HALF]
        .into_iter()
        .find(|f| f.scale(whole.0 as usize) >= needed.0 as usize && f.scale(whole.1 as usize) >= needed.1 as usize)
        .unwrap_or(ScalingFactor::ONE)
}

/// Warnings that cameras cause in sound pictures (libjpeg's JWRN_EXTRANEOUS_DATA, JWRN_ADOBE_XFORM, JWRN_JFIF_MAJOR).
fn is_harmless(error: &turbojpeg::Error) -> bool {
    let text = error.to_string();
    text.contains("extraneous bytes before marker")
        || text.contains("unknown Adobe color transform")
        || text.contains("unknown JFIF revision")
}

/// libjpeg reports the first warning only, so a harmless one could hide a premature end behind it.
fn has_end(bytes: &[u8]) -> bool {
    let tail = &bytes[bytes.len().saturating_sub(4096)..];
    tail.windows(2).any(|pair| pair == [0xFF, 0xD9])
}

fn judge(error: &turbojpeg::Error) -> DecodeError {
    let text = error.to_string();
    let text = text.strip_prefix("TurboJPEG error: ").unwrap_or(&text);
    if text.contains("Premature end of JPEG file")
        || text.contains("premature end of data segment")
        || text.contains("Premature end of input file")
    {
        DecodeError::Truncated(Format::Jpeg)
    } else if text.contains("Unsupported") || text.contains("not supported") || text.contains("data precision") {
        DecodeError::Unsupported(format!("a JPEG of this kind ({text})"))
    } else {
        corrupt(text)
    }
}
