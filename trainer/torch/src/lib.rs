//! The little that tch lacks for training on a CPU: autocast to bf16, channels-last, and optimiser and moving-average steps
//! over whole lists of tensors. The work is libtorch's own (`at::_fused_*`, `at::_foreach_*`); the C++ here only passes it on.

mod autocast;
mod layout;
mod lists;
mod norm;
mod raw;

pub use autocast::{autocast, autocast_cpu, cpu_has_bf16, without_autocast};
pub use layout::{channels_last, is_channels_last};
pub use lists::{AdamW, Sgd, adamw_step, clear_grads, copy, ema_step, grad_norm, sgd_step};
pub use norm::{Norm, fuses, norm_silu};

/// Threads of one operation, for the whole process. Call it before the first operation.
pub fn set_threads(threads: usize) {
    tch::set_num_threads(i32::try_from(threads.max(1)).unwrap_or(i32::MAX));
}
