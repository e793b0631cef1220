//! What labels say about an image.

/// One labelled box, in fractions (0 to 1) of the upright image. Lies inside the image and has an area.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Object {
    /// Class number.
    pub class: u32,
    /// Centre, fraction of the width.
    pub cx: f32,
    /// Centre, fraction of the height.
    pub cy: f32,
    /// Width, fraction of the width.
    pub w: f32,
    /// Height, fraction of the height.
    pub h: f32,
}

/// Which side of the split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// To learn from.
    Train,
    /// To judge by.
    Val,
}
