//! Placement and boxes against cases worked out by hand.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use crate::data::Augment;
use edgeloop_vision::Image;
use proptest::prelude::*;

fn still() -> Draws {
    Draws::new(&Augment::NONE, false, 0, 0, 0)
}

fn tile(width: u32, height: u32) -> Tile {
    Tile::new(Image::filled(width, height, [9, 9, 9]))
}

fn object(cx: f32, cy: f32, w: f32, h: f32) -> Object {
    Object { class: 3, cx, cy, w, h }
}

fn close(target: Target, cx: f32, cy: f32, w: f32, h: f32) {
    let off = [target.cx - cx, target.cy - cy, target.w - w, target.h - h].into_iter().map(f32::abs).fold(0.0, f32::max);
    assert!(off < 1e-5, "{target:?}");
}

#[test]
fn a_wide_picture_is_letterboxed() {
    // 100 × 50 in 100 × 100: 25 px above. The box (10..30, 0..25) becomes (10..30, 25..50).
    let place = single(&still(), (100, 50), 100);
    close(place.target(&object(0.2, 0.25, 0.2, 0.5), &tile(100, 50), 100, 0).unwrap(), 0.2, 0.375, 0.2, 0.25);
}

#[test]
fn flips_mirror_boxes() {
    let place = single(&Draws { fliplr: true, flipud: true, ..still() }, (100, 100), 100);
    close(place.target(&object(0.2, 0.3, 0.2, 0.1), &tile(100, 100), 100, 0).unwrap(), 0.8, 0.7, 0.2, 0.1);
}

#[test]
fn scaling_is_around_the_middle_and_shifting_comes_after() {
    // (40..60) about 50 becomes (30..70), shifted by 10: (40..80).
    let place = single(&Draws { scale: 2.0, translate: [0.1, 0.1], ..still() }, (100, 100), 100);
    close(place.target(&object(0.5, 0.5, 0.2, 0.2), &tile(100, 100), 100, 0).unwrap(), 0.6, 0.6, 0.4, 0.4);
}

#[test]
fn a_quarter_turn_swaps_width_and_height() {
    let place = single(&Draws { angle: 90.0, ..still() }, (100, 100), 100);
    close(place.target(&object(0.5, 0.2, 0.4, 0.1), &tile(100, 100), 100, 0).unwrap(), 0.2, 0.5, 0.1, 0.4);
}

#[test]
fn leftovers_under_two_pixels_or_a_tenth_are_dropped() {
    let shifted = |pixels: f64| single(&Draws { translate: [pixels / 100.0, 0.0], ..still() }, (100, 100), 100);
    let at_the_edge = |w: f32| object(1.0 - w / 2.0, 0.5, w, 0.5);
    let left = |place: Placement, w: f32| place.target(&at_the_edge(w), &tile(100, 100), 100, 0).is_some();
    // 20 px wide: 3 left is 15 %, 1.9 left is under 2 px.
    assert!(left(shifted(17.0), 0.2) && !left(shifted(18.1), 0.2));
    // 80 px wide: 9 left is 11 %, 7 left is under a tenth.
    assert!(left(shifted(71.0), 0.8) && !left(shifted(73.0), 0.8));
}

#[test]
fn four_pictures_meet_at_the_centre() {
    // Canvas 200, centre drawn in the middle (100, 100), input = canvas 50..150. Each 100 × 100 picture fills a quadrant.
    let draws = Draws { mosaic: true, centre: [0.5, 0.5], ..still() };
    let places = mosaic(&draws, [(100, 100); 4], 100);
    // A box of 20 px about the middle of the picture above left, canvas (40..60): input (-10..10), a quarter is left.
    close(places[0].target(&object(0.5, 0.5, 0.2, 0.2), &tile(100, 100), 100, 0).unwrap(), 0.05, 0.05, 0.1, 0.1);
    // The same of the picture below right: canvas (140..160), input (90..110).
    close(places[3].target(&object(0.5, 0.5, 0.2, 0.2), &tile(100, 100), 100, 0).unwrap(), 0.95, 0.95, 0.1, 0.1);
    // Above right: x as below right, y as above left.
    close(places[1].target(&object(0.5, 0.5, 0.2, 0.2), &tile(100, 100), 100, 0).unwrap(), 0.95, 0.05, 0.1, 0.1);
}

#[test]
fn a_picture_over_the_edge_of_the_canvas_is_cut_there() {
    // Centre at (50, 50) of 200: the picture above left shows its right lower quarter only.
    let draws = Draws { mosaic: true, centre: [0.0, 0.0], ..still() };
    assert_eq!(mosaic(&draws, [(100, 100); 4], 100)[0].shown, (50.0, 50.0, 100.0, 100.0));
}

proptest! {
    #[test]
    fn targets_lie_inside_the_input_and_are_large_enough(
        index in 0_usize..10_000, cx in 0.0_f32..1.0, cy in 0.0_f32..1.0, w in 0.001_f32..1.0, h in 0.001_f32..1.0,
        width in 1_usize..=160, height in 1_usize..=160,
    ) {
        let augment = Augment { degrees: 45.0, shear: 10.0, flipud: 0.5, ..Augment::default() };
        let draws = Draws::new(&augment, true, 5, 1, index);
        let tile = tile(width as u32, height as u32);
        let places = mosaic(&draws, [(width, height); 4], 160).into_iter().chain([single(&draws, (width, height), 160)]);
        for target in places.filter_map(|place| place.target(&object(cx, cy, w, h), &tile, 160, 0)) {
            for (middle, side) in [(target.cx, target.w), (target.cy, target.h)] {
                prop_assert!(middle - side / 2.0 > -1e-5 && middle + side / 2.0 < 1.0 + 1e-5 && side * 160.0 >= 1.999);
            }
        }
    }
}

#[test]
fn perspective_makes_what_is_far_smaller() {
    // About the middle of 100 × 100 the box is (10..30, −10..10); with a tilt of 0.01 its left side is divided by 1.1 and its
    // right by 1.3: x from 10 / 1.1 = 9.0909 to 30 / 1.3 = 23.0769, y ∓ 10 / 1.1 = 9.0909, the larger of both sides.
    let place = single(&Draws { perspective: [0.01, 0.0], ..still() }, (100, 100), 100);
    let target = place.target(&object(0.7, 0.5, 0.2, 0.2), &tile(100, 100), 100, 0).unwrap();
    close(target, 0.5 + 0.160_839, 0.5, 0.139_860, 0.181_818);
}

#[test]
fn in_a_larger_input_boxes_are_the_same_fractions() {
    let draws = Draws { scale: 1.5, translate: [0.1, -0.1], angle: 10.0, perspective: [0.001, 0.002], ..still() };
    let place = single(&draws, (100, 60), 100);
    let object = object(0.5, 0.5, 0.3, 0.4);
    let (one, other) = (place.target(&object, &tile(100, 60), 100, 0).unwrap(), place.resized(100, 160));
    close(other.target(&object, &tile(100, 60), 160, 0).unwrap(), one.cx, one.cy, one.w, one.h);
}
