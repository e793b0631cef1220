//! The C side of the shim and what turns its answers into results.

use std::ffi::{CStr, c_char, c_int, c_void};

use tch::{TchError, Tensor};

unsafe extern "C" {
    fn edgeloop_torch_free(message: *mut c_char);
    pub(crate) fn edgeloop_autocast_enabled(device: c_int) -> c_int;
    pub(crate) fn edgeloop_autocast_dtype(device: c_int) -> c_int;
    pub(crate) fn edgeloop_autocast_set(device: c_int, enabled: c_int, dtype: c_int);
    pub(crate) fn edgeloop_autocast_enter();
    pub(crate) fn edgeloop_autocast_leave();
    pub(crate) fn edgeloop_channels_last(t: *mut c_void, out: *mut *mut c_void) -> *mut c_char;
    pub(crate) fn edgeloop_norm_silu(
        x: *mut c_void,
        weight: *mut c_void,
        bias: *mut c_void,
        mean: *mut c_void,
        var: *mut c_void,
        momentum: f64,
        eps: f64,
        out: *mut *mut c_void,
    ) -> *mut c_char;
    pub(crate) fn edgeloop_is_channels_last(t: *mut c_void) -> c_int;
    pub(crate) fn edgeloop_grad_norm(params: *mut *mut c_void, n: i64, out: *mut f64) -> *mut c_char;
    pub(crate) fn edgeloop_clear_grads(params: *mut *mut c_void, n: i64) -> *mut c_char;
    pub(crate) fn edgeloop_sgd_step(
        params: *mut *mut c_void,
        momentum_buffers: *mut *mut c_void,
        n: i64,
        lr: f64,
        momentum: f64,
        weight_decay: f64,
        nesterov: c_int,
        divide_grads_by: f64,
    ) -> *mut c_char;
    pub(crate) fn edgeloop_adamw_step(
        params: *mut *mut c_void,
        exp_avgs: *mut *mut c_void,
        exp_avg_sqs: *mut *mut c_void,
        n: i64,
        step: f64,
        lr: f64,
        beta1: f64,
        beta2: f64,
        eps: f64,
        weight_decay: f64,
        divide_grads_by: f64,
    ) -> *mut c_char;
    pub(crate) fn edgeloop_ema_step(averages: *mut *mut c_void, values: *mut *mut c_void, n: i64, decay: f64) -> *mut c_char;
    pub(crate) fn edgeloop_copy(to: *mut *mut c_void, from: *mut *mut c_void, n: i64) -> *mut c_char;
}

/// The at::Tensor behind `t`; valid while `t` lives.
pub(crate) fn pointer(t: &Tensor) -> *mut c_void {
    t.as_ptr().cast_mut().cast()
}

/// The at::Tensors behind `ts`; valid while they live.
pub(crate) fn pointers(ts: &[Tensor]) -> Vec<*mut c_void> {
    ts.iter().map(pointer).collect()
}

/// The shim's answer: null, or a message that is ours to free.
pub(crate) fn check(message: *mut c_char) -> Result<(), TchError> {
    if message.is_null() {
        return Ok(());
    }
    // SAFETY: a message that is not null is a NUL-terminated copy made by the shim.
    let text = unsafe { CStr::from_ptr(message) }.to_string_lossy().into_owned();
    // SAFETY: made by strdup in the shim, freed once, not used after.
    unsafe { edgeloop_torch_free(message) };
    Err(TchError::Torch(text))
}

/// Lists that go into one call must pair up; the C side trusts the one length it is given.
pub(crate) fn same_length(what: &str, a: usize, b: usize) -> Result<i64, TchError> {
    if a == b {
        return i64::try_from(a).map_err(|_| TchError::Shape(format!("{what}: {a} tensors are too many")));
    }
    Err(TchError::Shape(format!("{what}: lists of {a} and {b} tensors do not pair up")))
}
