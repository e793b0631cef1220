#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

fn random_image(width: u32, height: u32, seed: u32) -> Image {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 24) as u8
    };
    Image { width, height, data: (0..width * height * 3).map(|_| next()).collect() }
}

#[test]
fn a_wide_picture_is_halved_and_padded_above_and_below() {
    let place = Letterbox::fit(1280, 720, 640, 640);
    assert_eq!((place.scale, place.fit_w, place.fit_h, place.pad_x, place.pad_y), (0.5, 640, 360, 0, 140));
    assert_eq!(place.to_input(Xyxy::new(0.0, 0.0, 1280.0, 720.0)), Xyxy::new(0.0, 140.0, 640.0, 500.0));
    assert_eq!(place.to_image(Xyxy::new(320.0, 140.0, 640.0, 320.0)), Xyxy::new(640.0, 0.0, 1280.0, 360.0));
}

#[test]
fn boxes_from_the_padding_are_clipped_to_the_picture() {
    let place = Letterbox::fit(1280, 720, 640, 640);
    assert_eq!(place.to_image(Xyxy::new(-9.0, 0.0, 700.0, 640.0)), Xyxy::new(0.0, 0.0, 1280.0, 720.0));
}

#[test]
fn extreme_shapes_keep_at_least_one_pixel() {
    let wide = Letterbox::fit(5000, 1, 640, 640);
    assert_eq!((wide.fit_w, wide.fit_h, wide.pad_y), (640, 1, 319));
    let tall = Letterbox::fit(1, 5000, 640, 320);
    assert_eq!((tall.fit_w, tall.fit_h, tall.pad_x), (1, 320, 319));
    for (w, h) in [(1, 1), (5000, 1), (1, 5000), (3, 2)] {
        let (out, place) = letterbox(&Image::filled(w, h, [10, 20, 30]), 64, 32);
        assert!(out.is_whole());
        assert_eq!(out.pixel(place.pad_x, place.pad_y), Some([10, 20, 30]), "{w} x {h}");
    }
}

#[test]
fn the_padding_is_grey_114_and_the_picture_is_untouched_where_nothing_is_resized() {
    let image = random_image(32, 16, 7);
    let (out, place) = letterbox(&image, 32, 32);
    assert_eq!(place.pad_y, 8);
    assert_eq!(out.data[8 * 32 * 3..24 * 32 * 3], image.data[..]);
    assert!(out.data[..8 * 32 * 3].iter().chain(&out.data[24 * 32 * 3..]).all(|&b| b == 114));
}

/// Bilinear with pixel centres at .5 and repeated edges, one pixel at a time.
fn bilinear(image: &Image, width: u32, height: u32) -> Vec<f32> {
    let mut out = Vec::new();
    let tap = |v: f32, max: u32| {
        (v.floor().clamp(0.0, max as f32 - 1.0) as u32, (v.floor() + 1.0).clamp(0.0, max as f32 - 1.0) as u32, v - v.floor())
    };
    for y in 0..height {
        for x in 0..width {
            let (x0, x1, fx) = tap((x as f32 + 0.5) * image.width as f32 / width as f32 - 0.5, image.width);
            let (y0, y1, fy) = tap((y as f32 + 0.5) * image.height as f32 / height as f32 - 0.5, image.height);
            for c in 0..3 {
                let p = |x, y| f32::from(image.pixel(x, y).unwrap()[c]);
                let (top, low) = (p(x0, y0) * (1.0 - fx) + p(x1, y0) * fx, p(x0, y1) * (1.0 - fx) + p(x1, y1) * fx);
                out.push(top * (1.0 - fy) + low * fy);
            }
        }
    }
    out
}

#[test]
fn the_resize_is_plain_bilinear_both_ways() {
    for (w, h, to_w, to_h) in [(97, 61, 32, 20), (20, 15, 64, 48), (64, 64, 64, 31), (1, 9, 5, 3)] {
        let image = random_image(w, h, w * 31 + h);
        let out = resize(&image, to_w, to_h);
        let worst = out.data.iter().zip(bilinear(&image, to_w, to_h)).map(|(&a, b)| (f32::from(a) - b).abs()).fold(0.0, f32::max);
        // Half a step for the rounding to bytes, and as much for the resizer's fixed-point weights on each axis.
        assert!(worst <= 1.5, "{w} x {h} to {to_w} x {to_h}: {worst} off");
    }
}

proptest! {
    #[test]
    fn boxes_round_trip(
        src in (1u32..6000, 1u32..6000), dst in (1u32..1300, 1u32..1300),
        x in (0.0f32..1.0, 0.0f32..1.0), y in (0.0f32..1.0, 0.0f32..1.0),
    ) {
        let place = Letterbox::fit(src.0, src.1, dst.0, dst.1);
        prop_assert!(place.fit_w >= 1 && place.pad_x + place.fit_w <= dst.0);
        prop_assert!(place.fit_h >= 1 && place.pad_y + place.fit_h <= dst.1);
        prop_assert!(place.fit_w == dst.0 || place.fit_h == dst.1);
        let (w, h) = (src.0 as f32, src.1 as f32);
        let bbox = Xyxy::new(x.0.min(x.1) * w, y.0.min(y.1) * h, x.0.max(x.1) * w, y.0.max(y.1) * h);
        let there = place.to_input(bbox);
        prop_assert!(there.x1 >= -1e-3 && there.y1 >= -1e-3 && there.x2 <= dst.0 as f32 + 1e-3 && there.y2 <= dst.1 as f32 + 1e-3);
        let back = place.to_image(there);
        // One step of a 32-bit float around 1300 input pixels is 1.2e-4, enlarged by up to src / fit on the way back.
        let slack = |src: u32, fit: u32| 4e-4 * (src as f32 / fit as f32).max(1.0) + 1e-3;
        let (sx, sy) = (slack(src.0, place.fit_w), slack(src.1, place.fit_h));
        prop_assert!((back.x1 - bbox.x1).abs() <= sx && (back.x2 - bbox.x2).abs() <= sx, "{bbox:?} {back:?} {place:?}");
        prop_assert!((back.y1 - bbox.y1).abs() <= sy && (back.y2 - bbox.y2).abs() <= sy, "{bbox:?} {back:?} {place:?}");
    }

    #[test]
    fn the_three_forms_hold_the_same_picture(w in 1u32..70, h in 1u32..70, to_w in 1u32..70, to_h in 1u32..70, seed in any::<u32>()) {
        let image = random_image(w, h, seed);
        let (canvas, place) = letterbox(&image, to_w, to_h);
        let plane = (to_w * to_h) as usize;
        let (mut floats, mut bytes) = (vec![f32::NAN; 3 * plane], vec![0u8; 3 * plane]);
        prop_assert_eq!(letterbox_chw(&image, to_w, to_h, &mut floats), place);
        prop_assert_eq!(letterbox_chw_u8(&image, to_w, to_h, &mut bytes), place);
        for at in 0..plane {
            for c in 0..3 {
                let byte = canvas.data[at * 3 + c];
                prop_assert_eq!(bytes[c * plane + at], byte);
                prop_assert_eq!(floats[c * plane + at], f32::from(byte) / 255.0);
            }
        }
    }
}

#[test]
fn a_reduced_picture_lies_where_the_whole_one_does() {
    // 1280 x 720, decoded at half: the same place, and pixels that no resize has touched.
    let image = random_image(640, 360, 5);
    let reduced = Reduced { image, width: 1280, height: 720 };
    let mut out = vec![f32::NAN; 3 * 384 * 640];
    let place = letterbox_reduced_chw(&reduced, 640, 384, &mut out);
    assert_eq!(place, Letterbox::fit(1280, 720, 640, 384));
    assert_eq!(place.to_image(Xyxy::new(0.0, 12.0, 640.0, 372.0)), Xyxy::new(0.0, 0.0, 1280.0, 720.0));
    for (x, y) in [(0, 0), (639, 359), (17, 200)] {
        let at = (y + 12) * 640 + x;
        let pixel = reduced.image.pixel(x as u32, y as u32).unwrap();
        let found = [out[at], out[384 * 640 + at], out[2 * 384 * 640 + at]];
        assert_eq!(found, pixel.map(|byte| f32::from(byte) / 255.0));
    }
    assert!(out[..12 * 640].iter().all(|v| *v == 114.0 / 255.0));
}

#[test]
fn the_shipped_and_the_baseline_code_write_the_same() {
    let place = Letterbox::fit(67, 41, 96, 64);
    let fitted = random_image(place.fit_w, place.fit_h, 3).data;
    let (mut fast, mut plain) = (vec![0.0f32; 3 * 96 * 64], vec![1.0f32; 3 * 96 * 64]);
    planes::split(&fitted, &place, &mut fast, 0.5, unit);
    planes::split_plain(&fitted, &place, &mut plain, 0.5, unit);
    assert_eq!(fast, plain);
}
