//! What can go wrong between a model's bytes and its output.

use std::path::PathBuf;

use crate::Device;

/// Why an engine could not be loaded or run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The load options make no sense.
    #[error("load options are unusable: {0}")]
    Options(String),
    /// The library was not found anywhere.
    #[error("{library} was not found; looked at {}. Run scripts/native or set {variable} to the file", paths(.looked))]
    LibraryMissing {
        /// File name.
        library: &'static str,
        /// Variable that names it.
        variable: &'static str,
        /// Where it was looked for.
        looked: Vec<PathBuf>,
    },
    /// The library is there and cannot be used.
    #[error("{} cannot be used: {reason}", .path.display())]
    LibraryUnusable {
        /// The file.
        path: PathBuf,
        /// What the loader said.
        reason: String,
    },
    /// The engine refuses the model.
    #[error("{device} refuses the model: {reason}")]
    Model {
        /// Which engine.
        device: Device,
        /// What it said.
        reason: String,
    },
    /// Neither engine works.
    #[error("no engine can serve the model: {first}; {second}")]
    NoEngine {
        /// ONNX Runtime's reason.
        first: Box<EngineError>,
        /// OpenVINO's reason.
        second: Box<EngineError>,
    },
    /// The input does not have the size that the model was loaded for.
    #[error("input is [{n}, 3, {h}, {w}] with {values} values, the model was loaded for [n, 3, {height}, {width}]")]
    Input {
        /// Images.
        n: usize,
        /// Height given.
        h: usize,
        /// Width given.
        w: usize,
        /// Values given.
        values: usize,
        /// Height loaded.
        height: usize,
        /// Width loaded.
        width: usize,
    },
    /// The run failed.
    #[error("{device} failed to run the model: {reason}")]
    Run {
        /// Which engine.
        device: Device,
        /// What it said.
        reason: String,
    },
    /// The output is no `[n, rows, anchors]` float tensor.
    #[error("the model's output has shape {shape:?}, expected [{n}, 4 + classes, anchors]")]
    Output {
        /// Images given.
        n: usize,
        /// Shape that came out.
        shape: Vec<i64>,
    },
}

fn paths(looked: &[PathBuf]) -> String {
    looked.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ")
}
