//! Autocast: inside it convolutions and matrix products run in bf16, what needs f32 stays in f32.

use std::ffi::c_int;

use tch::Device;

use crate::raw;

/// c10::ScalarType::BFloat16
const BF16: c_int = 15;

/// Puts autocast's state back when it is dropped, also on the way out of a panic.
struct Restore {
    device: c_int,
    enabled: c_int,
    dtype: c_int,
}

impl Restore {
    fn enter(device: Device, enabled: bool) -> Self {
        let device = c_int::from(!matches!(device, Device::Cpu));
        // SAFETY: these read and set thread-local state of libtorch; any device number other than 0 means CUDA.
        unsafe {
            let before = Self { device, enabled: raw::edgeloop_autocast_enabled(device), dtype: raw::edgeloop_autocast_dtype(device) };
            raw::edgeloop_autocast_set(device, c_int::from(enabled), if enabled { BF16 } else { before.dtype });
            raw::edgeloop_autocast_enter();
            before
        }
    }
}

impl Drop for Restore {
    fn drop(&mut self) {
        // SAFETY: as in `enter`; leave pairs with the enter of the same value.
        unsafe {
            raw::edgeloop_autocast_leave();
            raw::edgeloop_autocast_set(self.device, self.enabled, self.dtype);
        }
    }
}

/// Runs `f` on this thread with bf16 autocast on `device` when `enabled`, plainly otherwise. The casts of weights are kept
/// until the outermost call ends, so call it once around a forward pass, and step the optimiser outside.
pub fn autocast<T>(device: Device, enabled: bool, f: impl FnOnce() -> T) -> T {
    if !enabled {
        return f();
    }
    let _restore = Restore::enter(device, true);
    f()
}

/// [`autocast`] on the CPU.
pub fn autocast_cpu<T>(enabled: bool, f: impl FnOnce() -> T) -> T {
    autocast(Device::Cpu, enabled, f)
}

/// Runs `f` without autocast (CPU and CUDA), for the parts of a network that must not lose bits. Convert their inputs to f32.
pub fn without_autocast<T>(f: impl FnOnce() -> T) -> T {
    let _cpu = Restore::enter(Device::Cpu, false);
    let _cuda = Restore::enter(Device::Cuda(0), false);
    f()
}

/// Does this CPU multiply bf16 in hardware? Without it oneDNN emulates, and bf16 is slower than f32.
pub fn cpu_has_bf16() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        std::arch::is_x86_feature_detected!("avx512bf16")
    }
    #[cfg(target_arch = "aarch64")]
    {
        std::arch::is_aarch64_feature_detected!("bf16")
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        false
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::{autocast_cpu, without_autocast};

    fn product_kind() -> Kind {
        let a = Tensor::ones([4, 4], (Kind::Float, Device::Cpu));
        a.matmul(&a).kind()
    }

    #[test]
    fn products_are_bf16_inside_and_f32_outside() {
        assert_eq!(product_kind(), Kind::Float);
        assert_eq!(autocast_cpu(true, product_kind), Kind::BFloat16);
        assert_eq!(autocast_cpu(false, product_kind), Kind::Float);
        assert_eq!(product_kind(), Kind::Float);
    }

    #[test]
    fn an_inner_part_can_stay_f32() {
        let (inner, after) = autocast_cpu(true, || (without_autocast(product_kind), product_kind()));
        assert_eq!((inner, after), (Kind::Float, Kind::BFloat16));
    }

    #[test]
    fn a_panic_inside_leaves_no_autocast_behind() {
        let caught = std::panic::catch_unwind(|| autocast_cpu(true, || panic!("on purpose")));
        assert!(caught.is_err());
        assert_eq!(product_kind(), Kind::Float);
    }
}
