//! What a model is: the YOLOv8 network as layers of data, its weights under the ecosystem's names, and the files both
//! travel in.
//!
//! In: a scale and a number of classes, or a file (`.pt`, `.safetensors`, `.onnx`) that somebody else may have written.
//! Out: layers that two emitters walk (tch in the trainer, ONNX here), and bytes. Nothing here runs a network, links a
//! native library or executes anything that it reads; every reader is bounded.

pub mod import;
pub mod network;
pub mod onnx;
pub mod pt;
pub mod safetensors;
pub mod scale;
pub mod walk;
pub mod weights;

pub use network::{Block, Conv, Detect, Layer, Network, ParamSpec, Role, Source};
pub use scale::Scale;
pub use walk::{Emitter, Level};
pub use weights::{Array, Data, Weights};

/// Epsilon of every batch norm of the YOLOv8 family (PyTorch's own default would be 1e-5).
pub const NORM_EPS: f64 = 1e-3;
/// Momentum of every batch norm, in PyTorch's meaning: `running = 0.97 * running + 0.03 * batch`.
pub const NORM_MOMENTUM: f64 = 0.03;
