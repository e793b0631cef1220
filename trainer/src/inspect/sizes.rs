//! How large images are, and how large boxes will be for the network.

use std::collections::HashMap;

use edgeloop_vision::letterbox::Letterbox;
use serde::Serialize;

use crate::data::{Object, Survey, Surveyed};

/// The finest grid of the network has cells of 8 px: what is smaller than a cell is hard to find.
pub const SMALL: f32 = 8.0;

/// Sizes of images that are named.
const NAMED: usize = 10;

/// One size of image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ImageSize {
    /// Columns of the upright image.
    pub width: u32,
    /// Rows of it.
    pub height: u32,
    /// Images of this size.
    pub images: usize,
}

/// How large boxes are, in pixels of the input. Sizes are roots of areas.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct BoxSizes {
    /// Boxes whose shorter side is under 8 px.
    pub small: usize,
    /// A tenth of the boxes are smaller.
    pub p10: f32,
    /// Half are.
    pub median: f32,
    /// Nine tenths are.
    pub p90: f32,
    /// The smallest.
    pub least: f32,
    /// The largest.
    pub most: f32,
}

/// Width and height of a box in pixels of the input.
pub fn at_input(image: &Surveyed, object: &Object, imgsz: u32) -> (f32, f32) {
    let fit = Letterbox::fit(image.checked.width, image.checked.height, imgsz, imgsz);
    (object.w * fit.fit_w as f32, object.h * fit.fit_h as f32)
}

/// Counts the sizes of images: the most frequent ones, and how many different ones there are.
pub fn images(survey: &Survey) -> (Vec<ImageSize>, usize) {
    let mut counts: HashMap<(u32, u32), usize> = HashMap::new();
    survey.images.iter().for_each(|image| *counts.entry((image.checked.width, image.checked.height)).or_default() += 1);
    let mut sizes: Vec<ImageSize> = counts.into_iter().map(|((width, height), images)| ImageSize { width, height, images }).collect();
    sizes.sort_by_key(|size| (std::cmp::Reverse(size.images), size.width, size.height));
    let distinct = sizes.len();
    sizes.truncate(NAMED);
    (sizes, distinct)
}

/// Measures all boxes.
pub fn boxes(survey: &Survey, imgsz: u32) -> BoxSizes {
    let sides = survey.images.iter().flat_map(|image| image.rows.objects.iter().map(|object| at_input(image, object, imgsz)));
    let mut small = 0;
    let mut sizes: Vec<f32> = sides
        .map(|(width, height)| {
            small += usize::from(width.min(height) < SMALL);
            (width * height).sqrt()
        })
        .collect();
    sizes.sort_by(f32::total_cmp);
    let at = |share: f64| sizes.get(((sizes.len().saturating_sub(1)) as f64 * share).round() as usize).copied().unwrap_or_default();
    BoxSizes { small, p10: at(0.1), median: at(0.5), p90: at(0.9), least: at(0.0), most: at(1.0) }
}
