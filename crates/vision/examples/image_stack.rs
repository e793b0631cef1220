//! Measures the candidates for decoding and resizing: `cargo run --release -p edgeloop-vision --example image_stack -- [photo.jpg …]`.
//!
//! Without photos it draws two pictures of its own (720p and 1080p, JPEG quality 90). Times are CPU milliseconds of the one
//! thread, so that a busy machine does not blur them; each figure is the median of [`RUNS`] runs after a warm-up. The results
//! that decided are in docs/decisions/image-stack.md.

use std::hint::black_box;
use std::io::Cursor;

use edgeloop_vision::Image;
use edgeloop_vision::decode::{Limits, decode};
use edgeloop_vision::encode::{encode_jpeg, encode_png};
use edgeloop_vision::letterbox::{Letterbox, letterbox, letterbox_chw};
use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use image::codecs::jpeg::{JpegDecoder, JpegEncoder};
use image::{ExtendedColorType, ImageDecoder, ImageEncoder, RgbImage, imageops};
use rustix::time::{ClockId, clock_gettime};

const RUNS: usize = 15;
/// Side of the network's input.
const INPUT: u32 = 640;

type Failure = Box<dyn std::error::Error>;

fn cpu_ms() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as f64 * 1e3 + now.tv_nsec as f64 / 1e6
}

/// Median CPU milliseconds of one call.
fn time<T>(mut work: impl FnMut() -> T) -> f64 {
    black_box(work());
    let mut runs: Vec<f64> = (0..RUNS)
        .map(|_| {
            let start = cpu_ms();
            black_box(work());
            cpu_ms() - start
        })
        .collect();
    runs.sort_by(f64::total_cmp);
    runs[RUNS / 2]
}

fn row(what: &str, ms: f64) {
    println!("  {what:<58} {ms:8.2} ms");
}

/// Edges, smooth shades and grain, about as hard to code as a photo of a workshop.
fn drawn(width: u32, height: u32) -> Image {
    let mut image = Image::filled(width, height, [0; 3]);
    let mut grain = 0x9E37_79B9u32;
    for (at, pixel) in image.data.as_chunks_mut::<3>().0.iter_mut().enumerate() {
        let (x, y) = ((at as u32 % width) as f32, (at as u32 / width) as f32);
        grain ^= grain << 13;
        grain ^= grain >> 17;
        grain ^= grain << 5;
        let ring = if (((x * x + y * y).sqrt() / 37.0) as u32).is_multiple_of(2) { 50.0 } else { -30.0 };
        let shade = 110.0 + 40.0 * (x / 190.0).sin() + 30.0 * (y / 140.0).cos() + ring + (grain >> 27) as f32 * 0.4;
        *pixel = [shade, shade * 0.95, shade * 0.8 + x * 0.02].map(|v| v.clamp(0.0, 255.0) as u8);
    }
    image
}

fn turbo(bytes: &[u8], factor: turbojpeg::ScalingFactor) -> Result<Image, Failure> {
    let mut decoder = turbojpeg::Decompressor::new()?;
    decoder.set_scaling_factor(factor)?;
    let size = decoder.read_header(bytes)?.scaled(factor);
    let mut data = vec![0; size.width * size.height * 3];
    let format = turbojpeg::PixelFormat::RGB;
    decoder.decompress(
        bytes,
        turbojpeg::Image { pixels: &mut data[..], width: size.width, pitch: size.width * 3, height: size.height, format },
    )?;
    Ok(Image { width: size.width as u32, height: size.height as u32, data })
}

fn zune(bytes: &[u8]) -> Result<Image, Failure> {
    let decoder = JpegDecoder::new(Cursor::new(bytes))?;
    let (width, height) = decoder.dimensions();
    let mut data = vec![0; decoder.total_bytes() as usize];
    decoder.read_image(&mut data)?;
    Ok(Image { width, height, data })
}

fn fir(resizer: &mut Resizer, image: &Image, width: u32, height: u32, antialiased: bool) -> Result<Image, Failure> {
    let algorithm = if antialiased { ResizeAlg::Convolution(FilterType::Bilinear) } else { ResizeAlg::Interpolation(FilterType::Bilinear) };
    let mut out = Image::filled(width, height, [0; 3]);
    let source = TypedImageRef::<U8x3>::from_buffer(image.width, image.height, &image.data)?;
    let mut target = TypedImage::<U8x3>::from_buffer(width, height, &mut out.data)?;
    resizer.resize_typed(&source, &mut target, &ResizeOptions::new().resize_alg(algorithm))?;
    Ok(out)
}

fn difference(a: &Image, b: &Image) -> (f64, u8) {
    let steps = a.data.iter().zip(&b.data).map(|(a, b)| a.abs_diff(*b));
    let (sum, max) = steps.fold((0u64, 0u8), |(sum, max), d| (sum + u64::from(d), max.max(d)));
    (sum as f64 / a.data.len() as f64, max)
}

fn measure(name: &str, jpeg: &[u8]) -> Result<(), Failure> {
    let image = decode(jpeg, &Limits::default())?;
    let place = Letterbox::fit(image.width, image.height, INPUT, INPUT);
    let (w, h) = (place.fit_w, place.fit_h);
    println!("{name}: {} x {}, {} kB, to {w} x {h}", image.width, image.height, jpeg.len() / 1000);

    turbo(jpeg, turbojpeg::ScalingFactor::ONE)?;
    zune(jpeg)?;
    row("JPEG, libjpeg-turbo", time(|| turbo(jpeg, turbojpeg::ScalingFactor::ONE).map(|i| i.width).unwrap_or(0)));
    row("JPEG, zune-jpeg (the image crate's)", time(|| zune(jpeg).map(|i| i.width).unwrap_or(0)));
    row("JPEG, libjpeg-turbo at half size", time(|| turbo(jpeg, turbojpeg::ScalingFactor::ONE_HALF).map(|i| i.width).unwrap_or(0)));
    let (mean, max) = difference(&turbo(jpeg, turbojpeg::ScalingFactor::ONE)?, &zune(jpeg)?);
    println!("  the two full-size decodes differ by {mean:.3} on average, {max} at most");

    let cuts: Vec<&[u8]> = (50..100).map(|percent| &jpeg[..jpeg.len() * percent / 100]).collect();
    let accepted = |ok: &dyn Fn(&[u8]) -> bool| cuts.iter().filter(|cut| ok(cut)).count();
    let one = turbojpeg::ScalingFactor::ONE;
    println!(
        "  of {} cut-off copies libjpeg-turbo takes {} for whole, zune-jpeg {}",
        cuts.len(),
        accepted(&|c| turbo(c, one).is_ok()),
        accepted(&|c| zune(c).is_ok())
    );
    row("writing the JPEG, libjpeg-turbo", time(|| encode_jpeg(&image, 90).is_ok()));
    let pixels = |out: &mut Vec<u8>| {
        JpegEncoder::new_with_quality(out, 90).write_image(&image.data, image.width, image.height, ExtendedColorType::Rgb8)
    };
    row("writing the JPEG, image crate", time(|| pixels(&mut Vec::new()).is_ok()));

    let mut resizer = Resizer::new();
    let plain = fir(&mut resizer, &image, w, h, false)?;
    let (mean, max) = difference(&plain, &fir(&mut resizer, &image, w, h, true)?);
    row("resize, fast_image_resize, plain bilinear", time(|| fir(&mut resizer, &image, w, h, false).map(|i| i.width).unwrap_or(0)));
    row("resize, fast_image_resize, antialiased bilinear", time(|| fir(&mut resizer, &image, w, h, true).map(|i| i.width).unwrap_or(0)));
    println!("  plain and antialiased differ by {mean:.3} on average, {max} at most");
    let buffer = RgbImage::from_raw(image.width, image.height, image.data.clone()).ok_or("the picture is not whole")?;
    row("resize, image crate, antialiased bilinear (Triangle)", time(|| imageops::resize(&buffer, w, h, imageops::FilterType::Triangle)));

    let mut input = vec![0.0; (3 * INPUT * INPUT) as usize];
    row("letterbox to RGB bytes", time(|| letterbox(&image, INPUT, INPUT)));
    row("letterbox_chw: resize, pad, planes, 0 to 1", time(|| letterbox_chw(&image, INPUT, INPUT, &mut input)));
    row(
        "decode and letterbox_chw, as a request",
        time(|| decode(jpeg, &Limits::default()).map(|i| letterbox_chw(&i, INPUT, INPUT, &mut input)).is_ok()),
    );
    let png = encode_png(&image)?;
    row("PNG of the same picture, image crate", time(|| decode(&png, &Limits::default()).is_ok()));
    Ok(())
}

fn main() -> Result<(), Failure> {
    let photos: Vec<String> = std::env::args().skip(1).collect();
    for path in &photos {
        measure(path, &std::fs::read(path)?)?;
    }
    if photos.is_empty() {
        measure("drawn 720p", &encode_jpeg(&drawn(1280, 720), 90)?)?;
        measure("drawn 1080p", &encode_jpeg(&drawn(1920, 1080), 90)?)?;
    }
    Ok(())
}
