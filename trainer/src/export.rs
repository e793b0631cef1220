//! From weights to the files that serve: the ONNX graph, run and compared with libtorch before anybody gets to see it.

/// What an export gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Exported {
    /// The ONNX file.
    pub onnx: Vec<u8>,
    /// The check file (safetensors): `images` `[N, 3, H, W]` and `output0` `[N, 4 + classes, anchors]`, both float32.
    pub check: Vec<u8>,
}
