//! Memory layout: channels-last keeps the channels of a pixel together, which is how oneDNN's kernels want them.

use tch::{TchError, Tensor};

use crate::raw;

/// `t` (4 dimensions, NCHW) with its values laid out as NHWC. Shape and values do not change; no copy where it already is so.
pub fn channels_last(t: &Tensor) -> Result<Tensor, TchError> {
    let mut out = std::ptr::null_mut();
    // SAFETY: `t` outlives the call; on success `out` is a new at::Tensor whose ownership goes to the Tensor made from it.
    unsafe {
        raw::check(raw::edgeloop_channels_last(raw::pointer(t), &mut out))?;
        Ok(Tensor::from_ptr(out.cast()))
    }
}

/// Is `t` laid out as NHWC?
pub fn is_channels_last(t: &Tensor) -> bool {
    // SAFETY: `t` outlives the call, which only reads its strides.
    unsafe { raw::edgeloop_is_channels_last(raw::pointer(t)) != 0 }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tch::{Device, Kind, Tensor};

    use super::{channels_last, is_channels_last};

    #[test]
    fn channels_last_changes_strides_and_no_value() {
        let t = Tensor::arange(2 * 3 * 4 * 5, (Kind::Float, Device::Cpu)).reshape([2, 3, 4, 5]);
        let out = channels_last(&t).unwrap();
        assert!(!is_channels_last(&t) && is_channels_last(&out));
        assert_eq!(out.size(), [2, 3, 4, 5]);
        assert_eq!(out.stride(), [60, 1, 15, 3]);
        assert!(out.equal(&t));
    }

    #[test]
    fn a_tensor_without_four_dimensions_is_an_error() {
        assert!(channels_last(&Tensor::zeros([3], (Kind::Float, Device::Cpu))).is_err());
    }
}
