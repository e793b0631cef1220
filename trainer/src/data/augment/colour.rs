//! Hue, saturation and brightness, by tables.

/// Steps of the hue in a sixth of the circle.
const SIXTH: i32 = 256;
const CIRCLE: i32 = 6 * SIXTH;
/// Fraction bits of the tables that stand for divisions.
const BITS: u32 = 16;

/// `(255 << BITS) / i` and `(SIXTH << BITS) / i`: two divisions a pixel less.
static SATURATION: [u32; 256] = reciprocals(255);
static HUE: [u32; 256] = reciprocals(SIXTH as u32);

const fn reciprocals(of: u32) -> [u32; 256] {
    let mut table = [0; 256];
    let mut i = 1;
    while i < 256 {
        table[i] = ((of << BITS) + i as u32 / 2) / i as u32;
        i += 1;
    }
    table
}

/// Turns the hue by a fraction of the circle and multiplies saturation and brightness, in place. `planes` is `[3, pixels]`.
pub fn change(planes: &mut [u8], pixels: usize, hue: f32, saturation: f32, value: f32) {
    let turn = ((hue * CIRCLE as f32).round() as i32).rem_euclid(CIRCLE);
    let scaled = |factor: f32| -> [u8; 256] { std::array::from_fn(|i| (i as f32 * factor).round().clamp(0.0, 255.0) as u8) };
    let (saturations, values) = (scaled(saturation), scaled(value));
    if turn == 0 && saturation == 1.0 && value == 1.0 {
        return;
    }
    let (red, rest) = planes.split_at_mut(pixels);
    let (green, blue) = rest.split_at_mut(pixels);
    for ((r, g), b) in red.iter_mut().zip(green).zip(blue) {
        (*r, *g, *b) = pixel(*r, *g, *b, turn, &saturations, &values);
    }
}

/// Every intermediate is far below 2^31; `wrapping_*` only keeps the profile's overflow checks out of the loop.
#[inline(always)]
fn pixel(r: u8, g: u8, b: u8, turn: i32, saturations: &[u8; 256], values: &[u8; 256]) -> (u8, u8, u8) {
    let most = r.max(g).max(b);
    let spread = most.wrapping_sub(r.min(g).min(b));
    let value = u32::from(values[usize::from(most)]);
    if spread == 0 {
        return (value as u8, value as u8, value as u8);
    }
    let half = 1 << (BITS - 1);
    let saturation = u32::from(spread).wrapping_mul(SATURATION[usize::from(most)]).wrapping_add(half) >> BITS;
    let saturation = u32::from(saturations[usize::from(saturation as u8)]);
    let (base, ahead, behind) = match most {
        _ if most == r => (0, g, b),
        _ if most == g => (2 * SIXTH, b, r),
        _ => (4 * SIXTH, r, g),
    };
    let difference = i32::from(ahead).wrapping_sub(i32::from(behind));
    let hue =
        base.wrapping_add(difference.wrapping_mul(HUE[usize::from(spread)] as i32).wrapping_add(half as i32) >> BITS).wrapping_add(turn);
    let hue = if hue < 0 { hue.wrapping_add(CIRCLE) } else { hue };
    let hue = (if hue >= CIRCLE { hue.wrapping_sub(CIRCLE) } else { hue }) as u32;
    let fraction = hue & (SIXTH as u32 - 1);
    // value · (1 − saturation · part / 256), rounded; part = 256 is the lowest channel.
    let lowered = |part: u32| -> u8 {
        let all = 255 * SIXTH as u32;
        (value.wrapping_mul(all.wrapping_sub(saturation.wrapping_mul(part))).wrapping_add(all / 2) / all) as u8
    };
    let (low, falling, rising) = (lowered(SIXTH as u32), lowered(fraction), lowered((SIXTH as u32).wrapping_sub(fraction)));
    let value = value as u8;
    match hue / SIXTH as u32 {
        0 => (value, rising, low),
        1 => (falling, value, low),
        2 => (low, value, rising),
        3 => (low, falling, value),
        4 => (rising, low, value),
        _ => (value, low, falling),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn changed(rgb: [u8; 3], hue: f32, saturation: f32, value: f32) -> [u8; 3] {
        let mut planes = rgb;
        change(&mut planes, 1, hue, saturation, value);
        planes
    }

    #[test]
    fn a_third_of_the_circle_turns_red_into_green_into_blue() {
        assert_eq!(changed([200, 0, 0], 1.0 / 3.0, 1.0, 1.0), [0, 200, 0]);
        assert_eq!(changed([0, 200, 0], 1.0 / 3.0, 1.0, 1.0), [0, 0, 200]);
        assert_eq!(changed([0, 0, 200], 1.0 / 3.0, 1.0, 1.0), [200, 0, 0]);
        assert_eq!(changed([200, 0, 0], -1.0 / 3.0, 1.0, 1.0), [0, 0, 200]);
    }

    #[test]
    fn saturation_and_brightness_are_factors() {
        // Saturation 1/2, value 200: halving the saturation lifts the low channels from 100 to 150.
        assert_eq!(changed([200, 100, 100], 0.0, 0.5, 1.0), [200, 150, 150]);
        assert_eq!(changed([200, 100, 50], 0.0, 1.0, 0.5), [100, 50, 25]);
        assert_eq!(changed([200, 200, 200], 0.3, 1.7, 2.0), [255, 255, 255]);
    }

    proptest! {
        #[test]
        fn there_and_back_changes_a_colour_by_little(rgb: [u8; 3]) {
            // A saturation in 256 steps is good to 1/510 of the brightness, the hue to 1/512 of it: 1 each, and rounding.
            // 1.0001 is not 1, so that nothing is skipped.
            let same = changed(rgb, 0.0, 1.0001, 1.0);
            for (before, after) in rgb.into_iter().zip(same) {
                prop_assert!(before.abs_diff(after) <= 2, "{rgb:?} {same:?}");
            }
        }

        #[test]
        fn any_change_of_any_colour_is_a_colour(rgb: [u8; 3], hue in -0.5_f32..0.5, saturation in 0.0_f32..2.0, value in 0.0_f32..2.0) {
            let out = changed(rgb, hue, saturation, value);
            let most = f32::from(*rgb.iter().max().unwrap_or(&0));
            let expected = (most * value).round().clamp(0.0, 255.0) as u8;
            prop_assert_eq!(*out.iter().max().unwrap_or(&0), expected);
        }
    }
}
