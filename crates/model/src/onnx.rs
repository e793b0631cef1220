//! The ONNX file: written for serving, inspected before anything native parses it.

/// What goes into the file besides the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnnxMeta {
    /// Class names by index, as many as the network has classes.
    pub names: Vec<String>,
    /// Side in pixels that the network was trained at.
    pub imgsz: usize,
    /// Largest stride: sides of inputs are multiples of it. 32 for every YOLOv8.
    pub stride: usize,
    /// More entries for `metadata_props`, such as `version` or `date`.
    pub extra: Vec<(String, String)>,
}
