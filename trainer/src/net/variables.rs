//! Between tensors and plain arrays.

use edgeloop_model::{Array, Data, Role};
use tch::{Device, Kind, TchError, Tensor};

/// One entry of the state dict.
#[derive(Debug)]
pub(super) struct Variable {
    /// Its name, as `model.0.conv.weight`.
    pub name: String,
    /// Its tensor; float32, or int64 for [`Role::NumBatches`].
    pub tensor: Tensor,
    /// What it is for.
    pub role: Role,
}

/// A new tensor with the values of `array`.
pub(super) fn to_tensor(array: &Array, device: Device) -> Result<Tensor, TchError> {
    let flat = match &array.data {
        Data::F32(data) => Tensor::f_from_slice(data)?,
        Data::I64(data) => Tensor::f_from_slice(data)?,
    };
    let shape: Vec<i64> = array.shape.iter().map(|&side| side as i64).collect();
    flat.f_reshape(shape)?.f_to_device(device)
}

/// The values of `tensor` in row-major order, whatever its layout.
pub(crate) fn to_array(tensor: &Tensor) -> Result<Array, TchError> {
    let shape: Vec<usize> = tensor.size().iter().map(|&side| side as usize).collect();
    let len = shape.iter().product();
    let host = tensor.f_detach()?.f_to_device(Device::Cpu)?.f_contiguous()?;
    if tensor.kind() == Kind::Int64 {
        let mut data = vec![0_i64; len];
        host.f_copy_data(&mut data, len)?;
        return Ok(Array::i64(shape, data));
    }
    let mut data = vec![0_f32; len];
    host.f_to_kind(Kind::Float)?.f_copy_data(&mut data, len)?;
    Ok(Array::f32(shape, data))
}
