//! Optimiser and moving-average steps over lists of tensors, one pass over memory each.
//!
//! Gradients are taken from the parameters; a parameter without one is left alone. All steps run without autograd.

use std::ffi::c_int;

use tch::{TchError, Tensor};

use crate::raw::{self, check, pointers, same_length};

/// Stochastic gradient descent with momentum (Sutskever et al. 2013, in PyTorch's form: the rate multiplies the buffer).
#[derive(Debug, Clone, Copy)]
pub struct Sgd {
    /// Learning rate.
    pub lr: f64,
    /// Share of the buffer that is kept.
    pub momentum: f64,
    /// L2 term added to the gradient.
    pub weight_decay: f64,
    /// Look ahead along the buffer.
    pub nesterov: bool,
}

/// Adam with decoupled weight decay (Loshchilov & Hutter 2019).
#[derive(Debug, Clone, Copy)]
pub struct AdamW {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decay of the weights themselves, times the rate.
    pub weight_decay: f64,
}

/// One step of SGD. `buffers` has a tensor like each parameter, zero before the first step. Gradients are divided by
/// `divide_grads_by` on the way (clipping; 1 leaves them).
pub fn sgd_step(params: &[Tensor], buffers: &[Tensor], how: &Sgd, divide_grads_by: f64) -> Result<(), TchError> {
    let n = same_length("sgd_step", params.len(), buffers.len())?;
    let (mut p, mut b) = (pointers(params), pointers(buffers));
    // SAFETY: both lists have n pointers to tensors that outlive the call.
    check(unsafe {
        raw::edgeloop_sgd_step(
            p.as_mut_ptr(),
            b.as_mut_ptr(),
            n,
            how.lr,
            how.momentum,
            how.weight_decay,
            c_int::from(how.nesterov),
            divide_grads_by,
        )
    })
}

/// One step of AdamW, the `step`-th (from 1). `first` and `second` have a tensor like each parameter, zero before step 1.
pub fn adamw_step(
    params: &[Tensor],
    first: &[Tensor],
    second: &[Tensor],
    step: u64,
    how: &AdamW,
    divide_grads_by: f64,
) -> Result<(), TchError> {
    same_length("adamw_step", params.len(), first.len())?;
    let n = same_length("adamw_step", params.len(), second.len())?;
    let (mut p, mut m, mut v) = (pointers(params), pointers(first), pointers(second));
    // SAFETY: all three lists have n pointers to tensors that outlive the call.
    check(unsafe {
        raw::edgeloop_adamw_step(
            p.as_mut_ptr(),
            m.as_mut_ptr(),
            v.as_mut_ptr(),
            n,
            step as f64,
            how.lr,
            how.beta1,
            how.beta2,
            how.eps,
            how.weight_decay,
            divide_grads_by,
        )
    })
}

/// `averages ← decay · averages + (1 − decay) · values`.
pub fn ema_step(averages: &[Tensor], values: &[Tensor], decay: f64) -> Result<(), TchError> {
    let n = same_length("ema_step", averages.len(), values.len())?;
    let (mut a, mut v) = (pointers(averages), pointers(values));
    // SAFETY: both lists have n pointers to tensors that outlive the call.
    check(unsafe { raw::edgeloop_ema_step(a.as_mut_ptr(), v.as_mut_ptr(), n, decay) })
}

/// Copies values from one list into the storage of another; layouts and kinds may differ, shapes may not.
pub fn copy(to: &[Tensor], from: &[Tensor]) -> Result<(), TchError> {
    let n = same_length("copy", to.len(), from.len())?;
    let (mut t, mut f) = (pointers(to), pointers(from));
    // SAFETY: both lists have n pointers to tensors that outlive the call.
    check(unsafe { raw::edgeloop_copy(t.as_mut_ptr(), f.as_mut_ptr(), n) })
}

/// L2 norm over the gradients of all parameters together; not finite when one of them is not.
pub fn grad_norm(params: &[Tensor]) -> Result<f64, TchError> {
    let n = same_length("grad_norm", params.len(), params.len())?;
    let mut p = pointers(params);
    let mut norm = 0.0;
    // SAFETY: the list has n pointers to tensors that outlive the call; `norm` outlives it too.
    check(unsafe { raw::edgeloop_grad_norm(p.as_mut_ptr(), n, &mut norm) })?;
    Ok(norm)
}

/// Drops the gradients, so that the next backward pass writes rather than adds.
pub fn clear_grads(params: &[Tensor]) -> Result<(), TchError> {
    let n = same_length("clear_grads", params.len(), params.len())?;
    let mut p = pointers(params);
    // SAFETY: the list has n pointers to tensors that outlive the call.
    check(unsafe { raw::edgeloop_clear_grads(p.as_mut_ptr(), n) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tch::{Kind, Tensor};

    use super::*;

    /// A parameter at 1 whose gradient is `grad`.
    fn parameter(grad: f64) -> Tensor {
        let p = Tensor::from_slice(&[1f32]).set_requires_grad(true);
        (&p * grad).sum(Kind::Float).backward();
        p
    }

    fn near(t: &Tensor, want: f64) {
        let got = t.double_value(&[0]);
        assert!((got - want).abs() < 1e-6, "{got} is not {want}");
    }

    #[test]
    fn two_nesterov_steps_are_those_done_by_hand() {
        let how = Sgd { lr: 0.1, momentum: 0.9, weight_decay: 0.0, nesterov: true };
        let (p, buffer) = (parameter(2.0), Tensor::from_slice(&[0f32]));
        // buffer 2; step 2 + 0.9·2 = 3.8; 1 − 0.1·3.8 = 0.62
        sgd_step(&[p.shallow_clone()], &[buffer.shallow_clone()], &how, 1.0).unwrap();
        near(&p, 0.62);
        // buffer 0.9·2 + 2 = 3.8; step 2 + 0.9·3.8 = 5.42; 0.62 − 0.542 = 0.078
        sgd_step(&[p.shallow_clone()], &[buffer.shallow_clone()], &how, 1.0).unwrap();
        near(&p, 0.078);
        near(&buffer, 3.8);
    }

    #[test]
    fn weight_decay_joins_the_gradient_of_sgd_and_clipping_divides_it() {
        let how = Sgd { lr: 0.1, momentum: 0.0, weight_decay: 0.5, nesterov: false };
        let (p, buffer) = (parameter(8.0), Tensor::from_slice(&[0f32]));
        // gradient 8 / 4 = 2, with decay 2 + 0.5·1 = 2.5; 1 − 0.25 = 0.75
        sgd_step(&[p.shallow_clone()], &[buffer], &how, 4.0).unwrap();
        near(&p, 0.75);
    }

    #[test]
    fn one_adamw_step_is_the_one_done_by_hand() {
        let how = AdamW { lr: 0.1, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.5 };
        let (p, m, v) = (parameter(2.0), Tensor::from_slice(&[0f32]), Tensor::from_slice(&[0f32]));
        // decay 1 · (1 − 0.1·0.5) = 0.95; the first step is lr · g / |g| = 0.1; 0.85
        adamw_step(&[p.shallow_clone()], &[m.shallow_clone()], &[v.shallow_clone()], 1, &how, 1.0).unwrap();
        near(&p, 0.85);
        near(&m, 0.2);
        near(&v, 0.004);
    }

    #[test]
    fn a_parameter_without_gradient_is_left_alone() {
        let p = Tensor::from_slice(&[1f32]).set_requires_grad(true);
        let how = Sgd { lr: 0.1, momentum: 0.9, weight_decay: 0.5, nesterov: true };
        sgd_step(&[p.shallow_clone()], &[Tensor::from_slice(&[0f32])], &how, 1.0).unwrap();
        near(&p, 1.0);
        assert_eq!(grad_norm(&[p]).unwrap(), 0.0);
    }

    #[test]
    fn a_gradient_in_another_layout_still_goes_to_its_own_weight() {
        let weight = Tensor::zeros([2, 3, 2, 2], (Kind::Float, tch::Device::Cpu));
        let p = crate::channels_last(&weight).unwrap().set_requires_grad(true);
        let by = Tensor::arange(24, (Kind::Float, tch::Device::Cpu)).reshape([2, 3, 2, 2]);
        (&p * &by).sum(Kind::Float).backward();
        let how = Sgd { lr: 1.0, momentum: 0.0, weight_decay: 0.0, nesterov: false };
        sgd_step(&[p.shallow_clone()], &[p.zeros_like().detach()], &how, 1.0).unwrap();
        assert!(p.detach().equal(&(-by)));
    }

    #[test]
    fn the_norm_is_over_all_gradients_and_clear_drops_them() {
        let params = [parameter(3.0), parameter(4.0)];
        assert!((grad_norm(&params).unwrap() - 5.0).abs() < 1e-6);
        clear_grads(&params).unwrap();
        assert!(!params[0].grad().defined());
        assert_eq!(grad_norm(&params).unwrap(), 0.0);
    }

    #[test]
    fn ema_moves_by_the_rest_of_the_decay() {
        let (average, value) = (Tensor::from_slice(&[1f32]), Tensor::from_slice(&[3f32]));
        ema_step(&[average.shallow_clone()], &[value], 0.75).unwrap();
        near(&average, 1.5);
    }

    #[test]
    fn lists_that_do_not_pair_up_are_refused() {
        assert!(ema_step(&[Tensor::from_slice(&[1f32])], &[], 0.5).is_err());
    }
}
