//! From rows of RGB to padded planes: the last step into an engine's input, once over every byte.

use super::Letterbox;

/// Writes `fitted`, `fit_h` rows of `fit_w` RGB pixels, into the three planes of `out` where `place` says, padding around it.
pub(super) fn split<T: Copy>(fitted: &[u8], place: &Letterbox, out: &mut [T], padding: T, value: impl Fn(u8) -> T + Copy) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the CPU has just said that it has AVX2, which is all that the function asks for beyond the baseline.
        return unsafe { split_avx2(fitted, place, out, padding, value) };
    }
    split_plain(fitted, place, out, padding, value);
}

/// The same code compiled for AVX2: what is shipped is built for any x86-64, whose baseline takes twice as long here.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn split_avx2<T: Copy>(fitted: &[u8], place: &Letterbox, out: &mut [T], padding: T, value: impl Fn(u8) -> T + Copy) {
    split_plain(fitted, place, out, padding, value);
}

#[inline(always)]
pub(super) fn split_plain<T: Copy>(fitted: &[u8], place: &Letterbox, out: &mut [T], padding: T, value: impl Fn(u8) -> T + Copy) {
    let (dst_w, dst_h) = (place.dst_w as usize, place.dst_h as usize);
    let (fit_w, fit_h) = (place.fit_w as usize, place.fit_h as usize);
    let (left, top) = (place.pad_x as usize, place.pad_y as usize);
    let (red, rest) = out.split_at_mut(dst_w * dst_h);
    let (green, blue) = rest.split_at_mut(dst_w * dst_h);
    for plane in [&mut *red, &mut *green, &mut *blue] {
        plane[..top * dst_w].fill(padding);
        plane[(top + fit_h) * dst_w..].fill(padding);
    }
    for (row, pixels) in fitted.chunks_exact(fit_w * 3).enumerate() {
        let start = (top + row) * dst_w;
        let line = start..start + dst_w;
        let (r, g, b) = (&mut red[line.clone()], &mut green[line.clone()], &mut blue[line]);
        for channel in [&mut *r, &mut *g, &mut *b] {
            channel[..left].fill(padding);
            channel[left + fit_w..].fill(padding);
        }
        let (r, g, b) = (&mut r[left..left + fit_w], &mut g[left..left + fit_w], &mut b[left..left + fit_w]);
        for (((pixel, r), g), b) in pixels.as_chunks::<3>().0.iter().zip(r).zip(g).zip(b) {
            (*r, *g, *b) = (value(pixel[0]), value(pixel[1]), value(pixel[2]));
        }
    }
}
