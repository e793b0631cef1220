//! Where a run can go on from: weights, averages, the best averages, optimiser state, gradients of an unfinished step, and the
//! position in the run.
//!
//! Two files: the last one and the one before. The last is written beside and renamed over, so that a crash leaves it whole; the
//! one before is for a disk that lost what it had promised to keep. Neither being of use is no error: the run starts over,
//! because a box that is left alone has nobody to delete a file.

mod file;
mod position;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    fs::{self, File},
    io::ErrorKind,
    path::{Path, PathBuf},
};

use tch::{TchError, Tensor};

pub use position::{Best, Position};

/// Name of the newest.
pub const FILE: &str = "last.safetensors";
/// Name of the one before.
pub const PREVIOUS: &str = "previous.safetensors";
const STAGED: &str = "last.safetensors.tmp";

/// A checkpoint that cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file system refused.
    #[error("cannot {verb} the checkpoint {}: {source}", path.display())]
    Io {
        /// `read`, `write`, …
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not what was written here.
    #[error("the checkpoint {} cannot be used: {why}", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Of other images or settings.
    #[error("the checkpoint {} is of a run with other images or settings", path.display())]
    OtherRun {
        /// The file.
        path: PathBuf,
    },
    /// libtorch refused.
    #[error("libtorch: {0}")]
    Torch(#[from] TchError),
}

/// Writes `position` and `tensors` for a run that is told apart by `run`. What was the last one in `dir` becomes the one before.
///
/// # Errors
/// When the file cannot be written; the last one is still there then.
pub fn save(dir: &Path, run: &str, position: &Position, tensors: &[(String, Tensor)]) -> Result<(), CheckpointError> {
    let (last, previous, staged) = (dir.join(FILE), dir.join(PREVIOUS), dir.join(STAGED));
    let io = |verb, path: &Path| {
        let path = path.to_owned();
        move |source| CheckpointError::Io { verb, path, source }
    };
    fs::create_dir_all(dir).map_err(io("make the folder of", &last))?;
    // One writer: the run holds the training lock. A leftover of a crash is overwritten.
    if let Err(error) = file::write(&staged, run, position, tensors) {
        // Where there is no room for three, two must do.
        if !is_full(&error) || fs::remove_file(&previous).is_err() {
            return Err(error);
        }
        file::write(&staged, run, position, tensors)?;
    }
    match fs::rename(&last, &previous) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(io("move", &last)(error)),
        _ => {}
    }
    fs::rename(&staged, &last).map_err(io("move", &staged))?;
    match File::open(dir).and_then(|d| d.sync_all()) {
        // Some network file systems sync no folders: there it is their matter.
        Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => Ok(()),
        other => other.map_err(io("write", &last)),
    }
}

fn is_full(error: &CheckpointError) -> bool {
    matches!(error, CheckpointError::Io { source, .. }
        if matches!(source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge))
}

/// A checkpoint in memory.
#[derive(Debug)]
pub struct Checkpoint {
    /// Where the run was.
    pub position: Position,
    path: PathBuf,
    tensors: HashMap<String, Tensor>,
}

/// The newest checkpoint of `run` in `dir` that `fits`. Whatever is passed over is logged, with the reason.
pub fn load(dir: &Path, run: &str, fits: impl Fn(&Checkpoint) -> Result<(), CheckpointError>) -> Option<Checkpoint> {
    // The staged one is whole, and newer than the one before, when a crash came between the two renames.
    for name in [FILE, STAGED, PREVIOUS] {
        let path = dir.join(name);
        let found = file::read(&path, run).and_then(|content| {
            let Some(file::Content { position, tensors }) = content else { return Ok(None) };
            let found = Checkpoint { position, path: path.clone(), tensors };
            fits(&found).map(|()| Some(found))
        });
        match found {
            Ok(Some(found)) => return Some(found),
            Ok(None) => {}
            Err(error @ CheckpointError::OtherRun { .. }) => tracing::info!("{error}: not going on from it"),
            Err(error) => tracing::warn!("{error}; trying the one before, or else starting over"),
        }
    }
    None
}

impl Checkpoint {
    /// Whether it has the tensor `name` in the shape of `like`.
    ///
    /// # Errors
    /// [`CheckpointError::Broken`] when not.
    pub fn has(&self, name: &str, like: &Tensor) -> Result<&Tensor, CheckpointError> {
        self.get(name)
            .filter(|t| t.size() == like.size() && t.kind() == like.kind())
            .ok_or_else(|| CheckpointError::Broken { path: self.path.clone(), why: format!("no {name} of shape {:?}", like.size()) })
    }

    /// Copies the values of the tensor `name` into `to`, which keeps its memory layout.
    ///
    /// # Errors
    /// When there is none of that name and shape.
    pub fn restore(&self, name: &str, to: &Tensor) -> Result<(), CheckpointError> {
        let from = self.has(name, to)?;
        Ok(edgeloop_torch::copy(&[to.detach()], &[from.shallow_clone()])?)
    }

    /// The tensor `name`, if there is one.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }
}

/// Removes the checkpoints in `dir`: their run is over.
///
/// # Errors
/// When a file cannot be removed.
pub fn remove(dir: &Path) -> Result<(), CheckpointError> {
    // The one before goes first: a crash in between must not make it the last.
    for path in [STAGED, PREVIOUS, FILE].map(|name| dir.join(name)) {
        match fs::remove_file(&path) {
            Err(source) if source.kind() != ErrorKind::NotFound => return Err(CheckpointError::Io { verb: "remove", path, source }),
            _ => {}
        }
    }
    Ok(())
}
