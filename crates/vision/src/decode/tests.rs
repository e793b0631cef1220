#![allow(clippy::unwrap_used)]

use image::codecs::{bmp::BmpEncoder, jpeg::JpegEncoder, png::PngEncoder, webp::WebPEncoder};
use image::{ExtendedColorType, ImageEncoder};
use proptest::prelude::*;
use rstest::rstest;

use super::*;

const ALL: [Format; 4] = [Format::Jpeg, Format::Png, Format::Bmp, Format::WebP];

/// A picture of 8 x 8 blocks, each of its own colour.
fn blocks(columns: u32, rows: u32) -> Image {
    let mut image = Image::filled(columns * 8, rows * 8, [0; 3]);
    for y in 0..rows * 8 {
        for x in 0..columns * 8 {
            let at = ((y * columns * 8 + x) * 3) as usize;
            image.data[at..at + 3].copy_from_slice(&block_colour(x / 8, y / 8));
        }
    }
    image
}

fn block_colour(column: u32, row: u32) -> [u8; 3] {
    [(60 * column) as u8, (100 * row) as u8, (40 + 50 * ((column + row) % 4)) as u8]
}

/// A TIFF block with one entry: orientation.
fn exif(orientation: u8) -> Vec<u8> {
    let mut tiff = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    tiff.extend([orientation, 0, 0, 0, 0, 0, 0]);
    tiff
}

fn encode(format: Format, image: &Image, orientation: Option<u8>) -> Vec<u8> {
    fn write(mut encoder: impl ImageEncoder, image: &Image, orientation: Option<u8>) {
        if let Some(o) = orientation {
            encoder.set_exif_metadata(exif(o)).unwrap();
        }
        encoder.write_image(&image.data, image.width, image.height, ExtendedColorType::Rgb8).unwrap();
    }
    let mut out = Vec::new();
    match format {
        Format::Jpeg => write(JpegEncoder::new_with_quality(&mut out, 95), image, orientation),
        Format::Png => write(PngEncoder::new(&mut out), image, orientation),
        Format::WebP => write(WebPEncoder::new_lossless(&mut out), image, orientation),
        Format::Bmp => write(BmpEncoder::new(&mut out), image, None),
    }
    out
}

fn is_near(a: [u8; 3], b: [u8; 3]) -> bool {
    a.iter().zip(b).all(|(&a, b)| a.abs_diff(b) <= 30)
}

#[rstest]
fn all_eight_orientations_come_out_upright(
    #[values(1, 2, 3, 4, 5, 6, 7, 8)] orientation: u8,
    #[values(Format::Jpeg, Format::Png, Format::WebP)] format: Format,
) {
    let (w, h) = (4u32, 2u32);
    let file = encode(format, &blocks(w, h), Some(orientation));
    let image = decode(&file, &Limits::default()).unwrap();
    let head = header(&file).unwrap();
    assert_eq!((head.format, head.width, head.height), (format, image.width, image.height));
    let turned = orientation >= 5;
    assert_eq!((image.width, image.height), if turned { (h * 8, w * 8) } else { (w * 8, h * 8) });
    for row in 0..h {
        for column in 0..w {
            // EXIF 2.3, 4.6.4 A: which side of the picture the stored row 0 and column 0 are.
            let (x, y) = match orientation {
                1 => (column, row),
                2 => (w - 1 - column, row),
                3 => (w - 1 - column, h - 1 - row),
                4 => (column, h - 1 - row),
                5 => (row, column),
                6 => (h - 1 - row, column),
                7 => (h - 1 - row, w - 1 - column),
                _ => (row, w - 1 - column),
            };
            let (found, wanted) = (image.pixel(x * 8 + 4, y * 8 + 4).unwrap(), block_colour(column, row));
            assert!(is_near(found, wanted), "stored block {column},{row}: {found:?} instead of {wanted:?} at {x},{y}");
        }
    }
}

#[test]
fn a_broken_orientation_leaves_the_picture_as_it_is() {
    for orientation in [0, 9, 255] {
        let image = decode(&encode(Format::Jpeg, &blocks(4, 2), Some(orientation)), &Limits::default()).unwrap();
        assert_eq!((image.width, image.height), (32, 16));
    }
}

#[test]
fn a_jpeg_cut_off_anywhere_is_an_error() {
    let file = encode(Format::Jpeg, &blocks(6, 5), None);
    assert!(decode(&file, &Limits::default()).is_ok());
    for length in 0..file.len() {
        assert!(decode(&file[..length], &Limits::default()).is_err(), "{length} of {} bytes gave a picture", file.len());
    }
    assert_eq!(decode(&file[..file.len() / 2], &Limits::default()), Err(DecodeError::Truncated(Format::Jpeg)));
}

#[rstest]
fn other_files_cut_in_half_are_errors(#[values(Format::Png, Format::Bmp, Format::WebP)] format: Format) {
    let file = encode(format, &blocks(6, 5), None);
    let error = decode(&file[..file.len() / 2], &Limits::default()).unwrap_err();
    assert!(matches!(error, DecodeError::Truncated(_) | DecodeError::Corrupt { .. }), "{error:?}");
}

#[rstest]
fn one_pixel_is_a_picture(#[values(Format::Jpeg, Format::Png, Format::Bmp, Format::WebP)] format: Format) {
    let image = decode(&encode(format, &Image::filled(1, 1, [200, 40, 90]), None), &Limits::default()).unwrap();
    assert_eq!((image.width, image.height), (1, 1));
    assert!(is_near(image.pixel(0, 0).unwrap(), [200, 40, 90]));
}

#[test]
fn lossless_files_keep_every_byte() {
    let picture = blocks(5, 3);
    for format in [Format::Png, Format::Bmp, Format::WebP] {
        assert_eq!(decode(&encode(format, &picture, None), &Limits::default()).unwrap(), picture, "{format}");
    }
}

#[test]
fn a_file_over_the_byte_limit_is_refused_by_its_size() {
    let mut file = encode(Format::Jpeg, &blocks(2, 2), None);
    file.resize(30_000_000, 0);
    let error = decode(&file, &Limits::default()).unwrap_err();
    assert_eq!(error, DecodeError::TooLarge(Excess::Bytes { bytes: 30_000_000, max: 20_000_000 }));
    assert!(error.to_string().contains("30000000 bytes, the limit is 20000000"), "{error}");
}

#[test]
fn exactly_the_limit_is_allowed() {
    let file = encode(Format::Png, &blocks(2, 2), None);
    let limits = Limits { max_bytes: file.len() as u64, max_pixels: 256 };
    assert!(decode(&file, &limits).is_ok());
    assert!(decode(&file, &Limits { max_pixels: 255, ..limits }).is_err());
    assert!(decode(&file, &Limits { max_bytes: limits.max_bytes - 1, ..limits }).is_err());
}

#[test]
fn grey_and_cmyk_jpegs_become_rgb() {
    let pixels = vec![120u8; 24 * 16];
    let mut grey = Vec::new();
    JpegEncoder::new(&mut grey).write_image(&pixels, 24, 16, ExtendedColorType::L8).unwrap();
    let image = decode(&grey, &Limits::default()).unwrap();
    assert!(is_near(image.pixel(12, 8).unwrap(), [120; 3]), "{:?}", image.pixel(12, 8));

    let inks = [255u8; 24 * 16 * 4];
    let view = turbojpeg::Image { pixels: &inks[..], width: 24, pitch: 96, height: 16, format: turbojpeg::PixelFormat::CMYK };
    let cmyk = turbojpeg::compress(view, 95, turbojpeg::Subsamp::None).unwrap();
    let image = decode(&cmyk, &Limits::default()).unwrap();
    assert!(image.is_whole() && image.width == 24);
    assert_eq!(decode(&cmyk[..cmyk.len() - 20], &Limits::default()), Err(DecodeError::Truncated(Format::Jpeg)));
}

#[test]
fn stray_bytes_before_the_end_marker_do_not_spoil_a_jpeg() {
    let file = encode(Format::Jpeg, &blocks(6, 5), None);
    let mut stray = file[..file.len() - 2].to_vec();
    stray.extend([0x00, 0x11, 0x22, 0xFF, 0xD9]);
    assert_eq!(decode(&stray, &Limits::default()), decode(&file, &Limits::default()));
}

#[test]
fn a_jpeg_with_a_hole_is_an_error_though_its_end_marker_is_there() {
    let file = encode(Format::Jpeg, &blocks(6, 5), None);
    // The coded picture is well over 30 bytes long.
    let mut hole = file[..file.len() - 30].to_vec();
    hole.extend([0xFF, 0xD9]);
    assert_eq!(decode(&hole, &Limits::default()), Err(DecodeError::Truncated(Format::Jpeg)));
}

#[test]
fn what_is_no_picture_is_named() {
    assert_eq!(decode(b"", &Limits::default()), Err(DecodeError::Empty));
    assert_eq!(header(b""), Err(DecodeError::Empty));
    let gif = decode(b"GIF89a\x01\0\x01\0\0\0\0;", &Limits::default()).unwrap_err();
    assert!(gif.to_string().starts_with("gif files cannot be read"), "{gif}");
    assert!(matches!(decode(b"hello, this is text", &Limits::default()), Err(DecodeError::Unsupported(_))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn damaged_files_give_errors_or_pictures_but_never_panic(
        format in 0usize..4,
        hits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut file = encode(ALL[format], &blocks(3, 2), Some(6));
        for (at, byte) in hits {
            let at = at.index(file.len());
            file[at] = byte;
        }
        file.truncate(cut.index(file.len()) + 1);
        let limits = Limits { max_bytes: 1 << 20, max_pixels: 1 << 16 };
        if let Ok(image) = decode(&file, &limits) {
            prop_assert!(image.is_whole());
        }
        let _ = header(&file);
    }
}

#[rstest]
#[case::exactly_half((640, 320), (320, 160), (320, 160))]
#[case::one_pixel_more_than_half((640, 320), (321, 160), (640, 320))]
#[case::a_third_takes_the_half((960, 480), (320, 160), (480, 240))]
#[case::quarter((640, 320), (160, 80), (160, 80))]
#[case::never_less_than_an_eighth((640, 320), (1, 1), (80, 40))]
#[case::odd_sides_are_rounded_up((648, 328), (321, 161), (324, 164))]
#[case::larger_than_it_is((640, 320), (1280, 640), (640, 320))]
fn a_jpeg_is_decoded_no_larger_than_needed(#[case] whole: (u32, u32), #[case] fit: (u32, u32), #[case] expected: (u32, u32)) {
    let file = encode(Format::Jpeg, &blocks(whole.0 / 8, whole.1 / 8), None);
    let mut told = None;
    let reduced = decode_reduced(&file, &Limits::default(), |w, h| {
        told = Some((w, h));
        fit
    })
    .unwrap();
    assert_eq!((reduced.width, reduced.height), whole);
    assert_eq!(told, Some(whole));
    assert_eq!((reduced.image.width, reduced.image.height), expected);
    assert!(reduced.image.is_whole());
}

#[rstest]
fn a_reduced_picture_is_the_same_picture_upright(#[values(1, 3, 6, 8)] orientation: u8) {
    let file = encode(Format::Jpeg, &blocks(4, 2), Some(orientation));
    let whole = decode(&file, &Limits::default()).unwrap();
    let reduced = decode_reduced(&file, &Limits::default(), |w, h| (w / 2, h / 2)).unwrap();
    assert_eq!((reduced.width, reduced.height), (whole.width, whole.height));
    assert_eq!((reduced.image.width, reduced.image.height), (whole.width / 2, whole.height / 2));
    // Blocks of one colour are blocks of the same colour in half the size; looked at in their middle.
    for (x, y) in (0..whole.width / 8).flat_map(|x| (0..whole.height / 8).map(move |y| (x, y))) {
        let (large, small) = (whole.pixel(x * 8 + 4, y * 8 + 4).unwrap(), reduced.image.pixel(x * 4 + 2, y * 4 + 2).unwrap());
        assert!(is_near(large, small), "block {x}, {y}: {large:?}, {small:?}");
    }
}

#[rstest]
fn other_formats_and_broken_files_are_as_without_reduction(#[values(Format::Png, Format::Bmp, Format::WebP)] format: Format) {
    let file = encode(format, &blocks(4, 2), None);
    let reduced = decode_reduced(&file, &Limits::default(), |_, _| (1, 1)).unwrap();
    assert_eq!((reduced.image.width, reduced.image.height, reduced.width), (32, 16, 32));
    let jpeg = encode(Format::Jpeg, &blocks(40, 40), None);
    for cut in [jpeg.len() / 2, jpeg.len() - 10] {
        let error = decode_reduced(&jpeg[..cut], &Limits::default(), |_, _| (1, 1)).unwrap_err();
        assert_eq!(error, DecodeError::Truncated(Format::Jpeg), "cut at {cut} of {}", jpeg.len());
    }
    let small = Limits { max_pixels: 1000, ..Limits::default() };
    let refused = decode_reduced(&jpeg, &small, |_, _| panic!("nobody is asked for what is refused"));
    assert!(matches!(refused, Err(DecodeError::TooLarge(_))));
}
