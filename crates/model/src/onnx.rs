//! The ONNX file: written for serving, inspected before anything native parses it.
//!
//! Input `images` float32 `[batch, 3, height, width]`, RGB 0–1; output `output0` float32 `[batch, 4 + classes, anchors]`,
//! boxes `cx, cy, w, h` in input pixels, scores after the sigmoid. Batch, height and width are symbolic.

mod decode;
mod emit;
mod fold;
mod graph;
mod inspect;
mod literal;
mod proto;
#[cfg(test)]
mod tests;
mod wire;

pub use emit::{EmitError, emit};
pub use inspect::{Dim, InspectError, MAX_BYTES, OnnxInfo, Port, inspect, inspect_with};
pub use literal::{LiteralError, parse_names, write_names};
pub use wire::WireError;

/// What goes into the file besides the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnnxMeta {
    /// Class names by index, as many as the network has classes.
    pub names: Vec<String>,
    /// Side in pixels that the network was trained at.
    pub imgsz: usize,
    /// Largest stride: sides of inputs are multiples of it. 32 for every YOLOv8.
    pub stride: usize,
    /// More entries for `metadata_props`, such as `version` or `date`. One of a key that the file has anyway is left out.
    pub extra: Vec<(String, String)>,
}

/// Name of the input.
pub const INPUT: &str = "images";
/// Name of the output.
pub const OUTPUT: &str = "output0";
/// Operator set that is written: 17 is what every runtime of the last years reads.
pub const OPSET: i64 = 17;
