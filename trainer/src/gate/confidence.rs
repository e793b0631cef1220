//! How large a share of the draws makes a drop certain.
//!
//! Two corrections of the plain 90 %. *Several looks*: a candidate is looked at as a whole and class by class, beside the
//! promoted model and beside the best of ten; equally good ones would be rejected by some look far more often than one time in
//! ten. The looks of a kind share the allowance (Bonferroni). *Few images*: a bootstrap of n images is too narrow by
//! √((n − 1) / n) and has normal instead of Student tails; the share is widened to make up for both (the expanded percentile
//! interval: Hesterberg, «What Teachers Should Know About the Bootstrap», The American Statistician 69, 2015).

/// The share of draws from which on a drop is certain: `allowance` (0 to 0.5) is the chance of being wrong that all `looks`
/// together may have, `images` how many images the figure rests on.
pub fn needed(allowance: f64, looks: usize, images: usize) -> f64 {
    let Some(freedom) = images.checked_sub(1).filter(|&freedom| freedom > 0) else { return 1.0 };
    let (n, freedom) = (images as f64, freedom as f64);
    let z = upper_normal(allowance / looks.max(1) as f64);
    (1.0 - above((n / freedom).sqrt() * student(z, freedom))).clamp(0.5, 1.0)
}

/// Student's quantile from the normal one: the first terms of the expansion in 1 / freedom (Abramowitz and Stegun 26.7.5).
fn student(z: f64, freedom: f64) -> f64 {
    let z3 = z.powi(3);
    let (z5, z7) = (z3 * z * z, z3 * z3 * z);
    let terms = [(z3 + z) / 4.0, (5.0 * z5 + 16.0 * z3 + 3.0 * z) / 96.0, (3.0 * z7 + 19.0 * z5 + 17.0 * z3 - 15.0 * z) / 384.0];
    terms.iter().rev().fold(0.0, |sum, term| (sum + term) / freedom) + z
}

/// Where the normal distribution has `share` above. By halves: the function that it inverts falls.
fn upper_normal(share: f64) -> f64 {
    let (mut low, mut high) = (0.0, 9.0);
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if above(middle) > share { low = middle } else { high = middle }
    }
    (low + high) / 2.0
}

/// The share of the normal distribution above z ≥ 0, to 1e-7 (Abramowitz and Stegun 26.2.17).
fn above(z: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * z);
    let sum = [0.319_381_530, -0.356_563_782, 1.781_477_937, -1.821_255_978, 1.330_274_429].iter().rev().fold(0.0, |sum, b| (sum + b) * t);
    (-z * z / 2.0).exp() / std::f64::consts::TAU.sqrt() * sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f64, b: f64, by: f64) {
        assert!((a - b).abs() < by, "{a} is not {b}");
    }

    #[test]
    fn quantiles_are_those_of_the_tables() {
        near(upper_normal(0.1), 1.281_55, 1e-4);
        near(upper_normal(0.001), 3.090_2, 1e-3);
        near(student(1.281_55, 9.0), 1.383, 1e-3);
        near(student(2.326_35, 19.0), 2.539, 2e-3);
    }

    #[test]
    fn many_images_and_one_look_need_the_plain_share() {
        near(needed(0.1, 1, 100_000), 0.9, 1e-4);
        near(needed(0.1, 10, 100_000), 0.99, 1e-4);
    }

    #[test]
    fn few_images_and_more_looks_need_more() {
        assert!(needed(0.1, 1, 10) > needed(0.1, 1, 30) && needed(0.1, 1, 30) > 0.905);
        assert!(needed(0.1, 6, 100) > needed(0.1, 2, 100));
        for (looks, images) in [(1, 0), (1, 1), (1, 2), (100_000, 2), (100_000, 1_000_000)] {
            let share = needed(0.1, looks, images);
            assert!((0.9..=1.0).contains(&share), "{share}");
        }
    }
}
