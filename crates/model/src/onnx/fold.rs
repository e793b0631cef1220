//! Batch norm folded into the convolution before it.

use crate::network::Conv;
use crate::weights::Weights;
use crate::{NORM_EPS, network::Role};

/// Kernel and bias of a convolution that does what convolution and norm did:
/// `w' = w · γ / √(σ² + ε)`, `b' = β − μ · γ / √(σ² + ε)`, computed in f64 and rounded once.
///
/// `None` when the weights lack an array; [`Weights::check`] has excluded that for an emitter.
pub(super) fn folded(conv: &Conv, weights: &Weights) -> Option<(Vec<f32>, Vec<f32>)> {
    let params = conv.params();
    let array = |role: Role| {
        let spec = params.iter().find(|spec| spec.role == role)?;
        weights.get(&spec.name)?.as_f32()
    };
    let kernel = array(Role::Weight)?;
    if !conv.norm {
        return Some((kernel.to_vec(), array(Role::Bias)?.to_vec()));
    }
    let (gamma, beta) = (array(Role::NormWeight)?, array(Role::NormBias)?);
    let (mean, var) = (array(Role::RunningMean)?, array(Role::RunningVar)?);
    let factor = |channel: usize| f64::from(gamma[channel]) / (f64::from(var[channel]) + NORM_EPS).sqrt();
    let per_output = kernel.len() / conv.outputs;
    let weight = kernel
        .chunks_exact(per_output)
        .enumerate()
        .flat_map(|(channel, values)| {
            let factor = factor(channel);
            values.iter().map(move |&value| (f64::from(value) * factor) as f32)
        })
        .collect();
    let bias = (0..conv.outputs).map(|channel| (f64::from(beta[channel]) - f64::from(mean[channel]) * factor(channel)) as f32).collect();
    Some((weight, bias))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
    use super::*;
    use crate::Array;

    #[test]
    fn folding_follows_the_formula() {
        let conv = Conv { id: 0, name: "c".into(), inputs: 1, outputs: 2, kernel: 1, stride: 1, norm: true };
        let mut weights = Weights::new();
        weights.insert("c.conv.weight", Array::f32([2, 1, 1, 1], vec![3.0, 5.0]));
        weights.insert("c.bn.weight", Array::f32([2], vec![2.0, 1.0]));
        weights.insert("c.bn.bias", Array::f32([2], vec![0.5, 0.0]));
        weights.insert("c.bn.running_mean", Array::f32([2], vec![1.0, -2.0]));
        weights.insert("c.bn.running_var", Array::f32([2], vec![0.249, 0.999]));
        // √(0.249 + 0.001) = 0.5: factor 2 / 0.5 = 4; √(0.999 + 0.001) = 1: factor 1
        let (kernel, bias) = folded(&conv, &weights).unwrap();
        let close = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(x, y)| (x - y).abs() < 1e-5);
        assert!(close(&kernel, &[12.0, 5.0]), "{kernel:?}");
        assert!(close(&bias, &[0.5 - 4.0, 2.0]), "{bias:?}");
    }
}
