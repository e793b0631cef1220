//! From a recipe and a storage to an array.

use super::PtError;
use super::archive::Archive;
use super::value::{Recipe, shorten};
use crate::weights::Array;

/// Builds the array of `recipe`, taking its values off the `left` of `room`.
pub(super) fn build(name: &str, recipe: &Recipe, archive: &mut Archive<'_>, left: &mut usize, room: usize) -> Result<Array, PtError> {
    let refuse = |reason: &str| PtError::Tensor { name: shorten(name), reason: reason.to_owned() };
    let (shape, strides) = (&recipe.shape, &recipe.strides);
    if shape.len() != strides.len() {
        return Err(refuse("its shape and strides have different lengths"));
    }
    let len = shape.iter().try_fold(1_usize, |len, &side| len.checked_mul(side));
    let len = len.ok_or_else(|| refuse("its shape has more values than can be counted"))?;
    *left = left.checked_sub(len).ok_or(PtError::TooLarge {
        what: "values of all tensors together",
        found: len.saturating_add(room - *left),
        limit: room,
    })?;
    let raw = archive.storage(&recipe.storage)?;
    let dtype = recipe.storage.dtype;
    if len == 0 {
        return Ok(Array { shape: shape.clone(), data: dtype.widen(&[]) });
    }
    let last = shape
        .iter()
        .zip(strides)
        .try_fold(recipe.offset, |at, (&side, &stride)| (side - 1).checked_mul(stride).and_then(|step| at.checked_add(step)));
    if last.is_none_or(|last| last >= recipe.storage.len) {
        return Err(refuse("it reaches past the end of its storage"));
    }
    let width = dtype.width();
    let data = if is_contiguous(shape, strides) {
        dtype.widen(&raw[recipe.offset * width..(recipe.offset + len) * width])
    } else {
        dtype.widen(&gather(raw, width, recipe, len))
    };
    Ok(Array { shape: shape.clone(), data })
}

fn is_contiguous(shape: &[usize], strides: &[usize]) -> bool {
    let mut expected = 1;
    shape.iter().zip(strides).rev().all(|(&side, &stride)| {
        let fits = side == 1 || stride == expected;
        expected *= side;
        fits
    })
}

/// Numbers in row-major order from a storage in which they lie otherwise (channels-last kernels do). Work follows the
/// tensor, not the storage: many small views of a large storage stay cheap.
fn gather(raw: &[u8], width: usize, recipe: &Recipe, len: usize) -> Vec<u8> {
    let mut gathered = Vec::with_capacity(len * width);
    let mut index = vec![0; recipe.shape.len()];
    let mut at = recipe.offset;
    loop {
        gathered.extend_from_slice(&raw[at * width..(at + 1) * width]);
        let mut axis = index.len();
        loop {
            if axis == 0 {
                return gathered;
            }
            axis -= 1;
            index[axis] += 1;
            at += recipe.strides[axis];
            if index[axis] < recipe.shape[axis] {
                break;
            }
            at -= recipe.strides[axis] * recipe.shape[axis];
            index[axis] = 0;
        }
    }
}
