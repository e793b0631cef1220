//! Batch norm and SiLU in one, for training on a CPU.

use tch::{Kind, TchError, Tensor};

use crate::raw;

/// Parameters and running statistics of a batch norm, float32, one value a channel.
#[derive(Debug)]
pub struct Norm<'a> {
    /// Scale, trained.
    pub weight: &'a Tensor,
    /// Shift, trained.
    pub bias: &'a Tensor,
    /// Running mean, changed by each pass.
    pub mean: &'a Tensor,
    /// Running variance, changed by each pass.
    pub var: &'a Tensor,
    /// Share of this batch in the running statistics.
    pub momentum: f64,
    /// Added to the variance.
    pub eps: f64,
}

/// Can [`norm_silu`] do it?
pub fn fuses(x: &Tensor) -> bool {
    x.device() == tch::Device::Cpu && matches!(x.kind(), Kind::Float | Kind::BFloat16)
}

/// `silu(batch_norm(x))` with the batch's own statistics, as in training: `x` is `[N, C, H, W]`, float32 or bf16, on the CPU. Keeps `x` for
/// the backward pass and nothing else of that size.
///
/// # Errors
/// When shapes or kinds do not fit, or there is no memory.
pub fn norm_silu(x: &Tensor, norm: &Norm<'_>) -> Result<Tensor, TchError> {
    let Norm { weight, bias, mean, var, momentum, eps } = norm;
    let mut out = std::ptr::null_mut();
    // SAFETY: all tensors outlive the call; on success `out` is a new at::Tensor whose ownership goes to the Tensor made from it.
    unsafe {
        raw::check(raw::edgeloop_norm_silu(
            raw::pointer(x),
            raw::pointer(weight),
            raw::pointer(bias),
            raw::pointer(mean),
            raw::pointer(var),
            *momentum,
            *eps,
            &mut out,
        ))?;
        Ok(Tensor::from_ptr(out.cast()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tch::Device;

    use super::*;

    const C: i64 = 37;

    struct Case {
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        mean: Tensor,
        var: Tensor,
        towards: Tensor,
    }

    fn case(kind: Kind) -> Case {
        // libtorch's own generator is shared by all tests of the process.
        let mut state = 1u64;
        let mut uniform = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 24) as f32
        };
        let mut draw = |shape: &[i64]| {
            let values: Vec<f32> = (0..shape.iter().product()).map(|_| (uniform() + uniform() + uniform()) * 2.0 - 3.0).collect();
            Tensor::from_slice(&values).reshape(shape)
        };
        // Means far from zero beside small spreads: where E[x²] − E[x]² would fail.
        let x = draw(&[3, C, 9, 11]) * 0.3 + draw(&[1, C, 1, 1]) * 40.0;
        let x = crate::channels_last(&x.to_kind(kind)).unwrap().detach().set_requires_grad(true);
        Case {
            x,
            weight: (draw(&[C]) * 0.5 + 1.0).detach().set_requires_grad(true),
            bias: draw(&[C]).detach().set_requires_grad(true),
            mean: draw(&[C]),
            var: draw(&[C]).abs(),
            towards: draw(&[3, C, 9, 11]).to_kind(kind),
        }
    }

    /// The largest difference, as a share of the largest value.
    fn apart(a: &Tensor, b: &Tensor) -> f64 {
        let (a, b) = (a.to_kind(Kind::Double), b.to_kind(Kind::Double));
        ((a - &b).abs().max() / b.abs().max()).double_value(&[])
    }

    fn compare(kind: Kind, bound: f64) {
        let (ours, theirs) = (case(kind), case(kind));
        let norm = |c: &Case, fused: bool| {
            let Case { x, weight, bias, mean, var, .. } = c;
            if fused {
                return norm_silu(x, &Norm { weight, bias, mean, var, momentum: 0.03, eps: 1e-3 }).unwrap();
            }
            // In float64, so that the difference is ours.
            let wide = |t: &Tensor| t.to_kind(Kind::Double);
            let (m, v) = (wide(mean), wide(var));
            let y = wide(x).batch_norm(Some(&wide(weight)), Some(&wide(bias)), Some(&m), Some(&v), true, 0.03, 1e-3, false).silu();
            mean.shallow_clone().copy_(&m);
            var.shallow_clone().copy_(&v);
            y
        };
        let (a, b) = (norm(&ours, true), norm(&theirs, false));
        assert_eq!(a.kind(), kind);
        assert!(apart(&a, &b) < bound, "output {}", apart(&a, &b));
        (&a * &ours.towards).sum(Kind::Float).backward();
        (&b * theirs.towards.to_kind(Kind::Double)).sum(Kind::Double).backward();
        for (name, a, b) in [
            ("mean", ours.mean.shallow_clone(), theirs.mean.shallow_clone()),
            ("var", ours.var.shallow_clone(), theirs.var.shallow_clone()),
            ("x", ours.x.grad(), theirs.x.grad()),
            ("weight", ours.weight.grad(), theirs.weight.grad()),
            ("bias", ours.bias.grad(), theirs.bias.grad()),
        ] {
            assert!(apart(&a, &b) < bound, "{name} is off by {}", apart(&a, &b));
        }
    }

    #[test]
    fn float32_agrees_with_libtorch_in_float64() {
        compare(Kind::Float, 5e-6);
    }

    #[test]
    fn bf16_agrees_to_its_own_last_digit() {
        // Eight bits: half a step is 1/512 of a value, and a gradient is rounded on the way.
        compare(Kind::BFloat16, 1e-2);
    }

    #[test]
    fn what_is_not_a_number_stays_that() {
        for kind in [Kind::Float, Kind::BFloat16] {
            let c = case(kind);
            let x = tch::no_grad(|| c.x.detach().copy() * f64::NAN);
            let norm = Norm { weight: &c.weight, bias: &c.bias, mean: &c.mean, var: &c.var, momentum: 0.03, eps: 1e-3 };
            let y = norm_silu(&x, &norm).unwrap();
            assert!(y.isnan().all().int64_value(&[]) == 1);
        }
    }

    #[test]
    fn other_shapes_and_kinds_are_errors() {
        let c = case(Kind::Float);
        let norm = Norm { weight: &c.weight, bias: &c.bias, mean: &c.mean, var: &c.var, momentum: 0.03, eps: 1e-3 };
        assert!(norm_silu(&Tensor::zeros([2, C], (Kind::Float, Device::Cpu)), &norm).is_err());
        assert!(norm_silu(&Tensor::zeros([1, C + 1, 2, 2], (Kind::Float, Device::Cpu)), &norm).is_err());
        assert!(norm_silu(&Tensor::zeros([1, C, 2, 2], (Kind::Double, Device::Cpu)), &norm).is_err());
    }
}
