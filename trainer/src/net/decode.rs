//! From the head's levels to boxes and scores.

use edgeloop_model::network::REG_MAX;
use tch::{Kind, TchError, Tensor};

use super::Head;

/// Centres of the cells in cells `[2, anchors]` (x, y), and pixels per cell `[anchors]`, in the order of the output.
pub(super) fn anchors(head: &Head) -> Result<(Tensor, Tensor), TchError> {
    let mut centres = Vec::new();
    let mut strides = Vec::new();
    for level in &head.levels {
        let (_, _, h, w) = level.scores.size4()?;
        let options = (Kind::Float, level.scores.device());
        let axis = |len: i64| Tensor::f_arange(len, options)?.f_add_scalar(0.5);
        let x = axis(w)?.f_reshape([1, w])?.f_expand([h, w], false)?.f_reshape([1, h * w])?;
        let y = axis(h)?.f_reshape([h, 1])?.f_expand([h, w], false)?.f_reshape([1, h * w])?;
        centres.push(Tensor::f_cat(&[x, y], 0)?);
        strides.push(Tensor::f_full([h * w], level.stride, options)?);
    }
    Ok((Tensor::f_cat(&centres, 1)?, Tensor::f_cat(&strides, 0)?))
}

/// `[N, 4 + classes, anchors]`; `bins` is `[REG_MAX]`.
pub(super) fn decode(head: &Head, bins: &Tensor) -> Result<Tensor, TchError> {
    let flat = |pick: fn(&super::Level) -> &Tensor| -> Result<Tensor, TchError> {
        let parts: Result<Vec<Tensor>, TchError> = head.levels.iter().map(|level| pick(level).f_flatten(2, 3)).collect();
        Tensor::f_cat(&parts?, 2)?.f_to_kind(Kind::Float)
    };
    let boxes = flat(|level| &level.boxes)?;
    let scores = flat(|level| &level.scores)?.f_sigmoid()?;
    let (n, _, anchors_len) = boxes.size3()?;
    let bin_count = REG_MAX as i64;
    // the mean of each side's distribution: [N, 4, 16, A] · [16] → [N, 4, A]
    let shares = boxes.f_reshape([n, 4, bin_count, anchors_len])?.f_softmax(2, Kind::Float)?;
    let sides = shares.f_mul(&bins.f_reshape([1, 1, bin_count, 1])?)?.f_sum_dim_intlist(2, false, Kind::Float)?;
    let (centres, strides) = anchors(head)?;
    let top_left = centres.f_sub(&sides.f_narrow(1, 0, 2)?)?;
    let bottom_right = centres.f_add(&sides.f_narrow(1, 2, 2)?)?;
    let middle = top_left.f_add(&bottom_right)?.f_mul_scalar(0.5)?;
    let size = bottom_right.f_sub(&top_left)?;
    let boxes = Tensor::f_cat(&[middle, size], 1)?.f_mul(&strides)?;
    Tensor::f_cat(&[boxes, scores], 1)
}
