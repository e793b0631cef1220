#![allow(clippy::unwrap_used)]

use super::*;

fn annotation(bbox: Xyxy, label: &str) -> Annotation {
    Annotation { bbox, label: label.into(), confidence: Some(0.876), class: 1 }
}

#[test]
fn a_box_is_framed_in_its_colour_and_its_inside_is_left_alone() {
    let mut image = Image::filled(200, 100, [1, 2, 3]);
    draw_detections(&mut image, &[annotation(Xyxy::new(50.0, 40.0, 120.0, 90.0), "")]);
    for (x, y) in [(50, 60), (119, 60), (85, 89)] {
        assert_eq!(image.pixel(x, y), Some(colour(1)), "at {x}, {y}");
    }
    assert_eq!(image.pixel(90, 70), Some([1, 2, 3]));
    assert_eq!(image.pixel(10, 10), Some([1, 2, 3]));
}

#[test]
fn words_are_written_with_their_percentage() {
    let plain = |words| {
        let mut image = Image::filled(200, 100, [0; 3]);
        draw_detections(&mut image, &[annotation(Xyxy::new(50.0, 40.0, 120.0, 90.0), words)]);
        image.data.as_chunks::<3>().0.iter().filter(|p| **p != [0; 3]).count()
    };
    assert!(plain("bolt") > plain(""), "a name adds to the strip");
}

#[test]
fn boxes_outside_and_boxes_that_are_none_and_any_words_are_survived() {
    for (w, h) in [(1, 1), (3, 200), (64, 48)] {
        let mut image = Image::filled(w, h, [9; 3]);
        draw_detections(
            &mut image,
            &[
                annotation(Xyxy::new(f32::NAN, 0.0, 1.0, 1.0), "nan"),
                annotation(Xyxy::new(-50.0, -50.0, 1e9, 1e9), "Schraube äöü Гайка 螺母 \u{1F529}\n"),
                annotation(Xyxy::new(30.0, 30.0, 10.0, 10.0), &"long ".repeat(1000)),
                annotation(Xyxy::new(-9.0, -9.0, -5.0, -5.0), "out"),
            ],
        );
        assert!(image.is_whole());
    }
}
