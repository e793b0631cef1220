//! Distribution focal loss (Li et al. 2020): a side's distance is a distribution over whole strides 0..=reg_max − 1, and the
//! two bins around the truth share the cross-entropy by nearness.

use tch::{Kind, Tensor};

/// Expected distance of each distribution: `[…, reg_max]` log-probabilities to `[…]`.
pub fn expectation(log_probabilities: &Tensor) -> Tensor {
    let bins = log_probabilities.size().last().copied().unwrap_or(0);
    let at = Tensor::arange(bins, (Kind::Float, log_probabilities.device()));
    log_probabilities.exp().matmul(&at)
}

/// Loss per row, the mean over its four sides: `[n, 4, reg_max]` log-probabilities and `[n, 4]` distances in strides to
/// `[n]`. Distances are cut to what the bins can say, with a hundredth to spare so that the right-hand bin exists.
pub fn loss(log_probabilities: &Tensor, distances: &Tensor) -> Tensor {
    let bins = log_probabilities.size().last().copied().unwrap_or(0);
    let distances = distances.clamp(0.0, bins as f64 - 1.01);
    let left = distances.floor();
    let right_share = &distances - &left;
    let left = left.to_kind(Kind::Int64).unsqueeze(-1);
    let at = |bin: &Tensor| log_probabilities.gather(-1, bin, false).squeeze_dim(-1);
    let likelihood = at(&left) * (1f64 - &right_share) + at(&(&left + 1)) * right_share;
    -likelihood.mean_dim(-1, false, Kind::Float)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn near(got: f64, want: f64) {
        assert!((got - want).abs() < 1e-5, "{got} is not {want}");
    }

    #[test]
    fn a_flat_distribution_expects_the_middle_and_costs_the_logarithm() {
        let flat = Tensor::zeros([1, 4, 16], (Kind::Float, tch::Device::Cpu)).log_softmax(-1, Kind::Float);
        near(expectation(&flat).double_value(&[0, 0]), 7.5);
        // every bin has probability 1/16, whatever the shares: ln 16
        near(loss(&flat, &Tensor::from_slice(&[0.0f32, 2.3, 7.0, 99.0]).reshape([1, 4])).double_value(&[0]), 16f64.ln());
    }

    #[test]
    fn the_bins_around_the_truth_share_by_nearness() {
        // Three bins with probabilities ½, ¼, ¼; a distance of 0.25 is ¾ bin 0 and ¼ bin 1:
        // ¾ ln 2 + ¼ ln 4 = 1.25 ln 2. A distance of 1.5: ½ ln 4 + ½ ln 4 = 2 ln 2.
        // Over the sides (0.25, 1.5, 0.25, 1.5): 1.625 ln 2. Expectation 0·½ + 1·¼ + 2·¼ = 0.75.
        let one = Tensor::from_slice(&[0.5f32, 0.25, 0.25]).log();
        let rows = one.expand([1, 4, 3], false);
        near(expectation(&rows).double_value(&[0, 3]), 0.75);
        let distances = Tensor::from_slice(&[0.25f32, 1.5, 0.25, 1.5]).reshape([1, 4]);
        near(loss(&rows, &distances).double_value(&[0]), 1.625 * 2f64.ln());
    }

    #[test]
    fn distances_past_the_bins_are_cut_a_hundredth_short_of_the_last() {
        // cut to 1.99: 0.01 of bin 1 and 0.99 of bin 2; negative ones to 0
        let one = Tensor::from_slice(&[0.5f32, 0.25, 0.25]).log();
        let rows = one.expand([1, 4, 3], false);
        let far = Tensor::from_slice(&[50.0f32, 50.0, -3.0, -3.0]).reshape([1, 4]);
        near(loss(&rows, &far).double_value(&[0]), (4f64.ln() + 2f64.ln()) / 2.0);
    }
}
