//! Where a run can go on from: one safetensors file with weights, averages, the best averages, optimiser state, gradients of
//! an unfinished step, and the position in the run as JSON in its header. Written beside and renamed over: a crash leaves the
//! one before.

use std::{
    borrow::Cow,
    collections::HashMap,
    fs::File,
    io::Write,
    path::{Path, PathBuf},
};

use edgeloop_store::EpochLog;
use safetensors::{Dtype, SafeTensors, View};
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, TchError, Tensor};

/// Name of the file.
pub const FILE: &str = "last.safetensors";

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
    #[error("the checkpoint {} cannot be used ({why}); delete it to start the training over", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// libtorch refused.
    #[error("libtorch: {0}")]
    Torch(#[from] TchError),
}

/// The best epoch so far.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// From 1.
    pub epoch: u32,
    /// 0.1 · mAP50 + 0.9 · mAP50-95
    pub fitness: f64,
}

/// Where in the run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// Epochs finished.
    pub epoch: u32,
    /// Batches of the next epoch that are done.
    pub batch: u64,
    /// Batches whose gradients wait for the rest of their step.
    pub pending: u64,
    /// Optimiser steps.
    pub steps: u64,
    /// Updates of the average.
    pub ema_steps: u64,
    /// The best epoch so far.
    pub best: Option<Best>,
    /// Sums of box, class and DFL loss over the batches of the unfinished epoch.
    pub losses: [f64; 3],
    /// Seconds spent so far: in all, and in the unfinished epoch.
    pub seconds: [f64; 2],
    /// Figures of the finished epochs.
    pub log: Vec<EpochLog>,
}

/// A tensor as bytes on their way to the file.
struct Bytes {
    dtype: Dtype,
    shape: Vec<usize>,
    data: Vec<u8>,
}

impl View for Bytes {
    fn dtype(&self) -> Dtype {
        self.dtype
    }
    fn shape(&self) -> &[usize] {
        &self.shape
    }
    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.data)
    }
    fn data_len(&self) -> usize {
        self.data.len()
    }
}

fn bytes(t: &Tensor) -> Result<Bytes, TchError> {
    let t = t.detach().to_device(Device::Cpu).contiguous();
    let (dtype, size) = match t.kind() {
        Kind::Float => (Dtype::F32, 4),
        Kind::Int64 => (Dtype::I64, 8),
        other => return Err(TchError::Kind(format!("a checkpoint holds float32 and int64, not {other:?}"))),
    };
    let mut data = vec![0; t.numel() * size];
    t.f_copy_data_u8(&mut data, t.numel())?;
    Ok(Bytes { dtype, shape: t.size().iter().map(|&d| d as usize).collect(), data })
}

/// Writes `position` and `tensors` for a run that is told apart by `run`, replacing the checkpoint in `dir`.
///
/// # Errors
/// When the file cannot be written; the one before is still there then.
pub fn save(dir: &Path, run: &str, position: &Position, tensors: &[(String, Tensor)]) -> Result<(), CheckpointError> {
    let path = dir.join(FILE);
    let io = |verb| {
        let path = path.clone();
        move |source| CheckpointError::Io { verb, path, source }
    };
    let broken = |why: String| CheckpointError::Broken { path: path.clone(), why };
    let json = serde_json::to_string(position).map_err(|e| broken(e.to_string()))?;
    let header = HashMap::from([("run".to_owned(), run.to_owned()), ("position".to_owned(), json)]);
    let views = tensors.iter().map(|(n, t)| Ok((n.as_str(), bytes(t)?))).collect::<Result<Vec<_>, TchError>>()?;
    let data = safetensors::serialize(views, Some(header)).map_err(|e| broken(e.to_string()))?;

    std::fs::create_dir_all(dir).map_err(io("make the folder of"))?;
    // One writer: the run holds the training lock. A leftover of a crash is overwritten.
    let staged = dir.join(format!("{FILE}.tmp"));
    let mut file = File::create(&staged).map_err(io("create"))?;
    file.write_all(&data).map_err(io("write"))?;
    file.sync_all().map_err(io("write"))?;
    std::fs::rename(&staged, &path).map_err(io("rename"))?;
    File::open(dir).and_then(|d| d.sync_all()).map_err(io("write"))
}

/// A checkpoint in memory.
#[derive(Debug)]
pub struct Checkpoint {
    /// Where the run was.
    pub position: Position,
    path: PathBuf,
    tensors: HashMap<String, Tensor>,
}

/// Reads the checkpoint in `dir`. `None` when there is none, or it belongs to another run; that is logged, with the reason.
///
/// # Errors
/// When it cannot be read. A file that is not a checkpoint is no error: it is of no use, and is logged and passed over.
pub fn load(dir: &Path, run: &str) -> Result<Option<Checkpoint>, CheckpointError> {
    let path = dir.join(FILE);
    let data = match std::fs::read(&path) {
        Ok(data) => data,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(CheckpointError::Io { verb: "read", path, source }),
    };
    match parse(&path, &data, run) {
        Ok(found) => Ok(found),
        Err(error) => {
            tracing::warn!("{error}; starting over");
            Ok(None)
        }
    }
}

fn parse(path: &Path, data: &[u8], run: &str) -> Result<Option<Checkpoint>, CheckpointError> {
    let broken = |why: String| CheckpointError::Broken { path: path.to_owned(), why };
    let (_, header) = SafeTensors::read_metadata(data).map_err(|e| broken(e.to_string()))?;
    let facts = header.metadata().clone().unwrap_or_default();
    let fact = |name: &str| facts.get(name).ok_or_else(|| broken(format!("no `{name}` in its header")));
    if fact("run")? != run {
        tracing::info!(checkpoint = %path.display(), "the checkpoint is of a run with other images or settings: starting over");
        return Ok(None);
    }
    let position = serde_json::from_str(fact("position")?).map_err(|e| broken(e.to_string()))?;
    let content = SafeTensors::deserialize(data).map_err(|e| broken(e.to_string()))?;
    let mut tensors = HashMap::new();
    for (name, view) in content.iter() {
        let kind = match view.dtype() {
            Dtype::F32 => Kind::Float,
            Dtype::I64 => Kind::Int64,
            other => return Err(broken(format!("{name} is {other:?}"))),
        };
        let shape: Vec<i64> = view.shape().iter().map(|&d| d as i64).collect();
        tensors.insert(name.to_owned(), Tensor::f_from_data_size(view.data(), &shape, kind)?);
    }
    Ok(Some(Checkpoint { position, path: path.to_owned(), tensors }))
}

impl Checkpoint {
    /// Copies the values of the tensor `name` into `to`, which keeps its memory layout.
    ///
    /// # Errors
    /// When there is none of that name and shape.
    pub fn restore(&self, name: &str, to: &Tensor) -> Result<(), CheckpointError> {
        let from = self
            .get(name)
            .filter(|t| t.size() == to.size())
            .ok_or_else(|| CheckpointError::Broken { path: self.path.clone(), why: format!("no {name} of shape {:?}", to.size()) })?;
        Ok(edgeloop_torch::copy(&[to.detach()], &[from.shallow_clone()])?)
    }

    /// The tensor `name`, if there is one.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }
}

/// Removes the checkpoint in `dir`: its run is over.
///
/// # Errors
/// When the file cannot be removed.
pub fn remove(dir: &Path) -> Result<(), CheckpointError> {
    let path = dir.join(FILE);
    match std::fs::remove_file(&path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(CheckpointError::Io { verb: "remove", path, source }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn tensors() -> Vec<(String, Tensor)> {
        let weight = Tensor::arange(24, (Kind::Float, Device::Cpu)).reshape([2, 3, 2, 2]);
        let weight = edgeloop_torch::channels_last(&weight).unwrap();
        vec![("w".to_owned(), weight), ("n".to_owned(), Tensor::from(7i64))]
    }

    #[test]
    fn what_was_saved_comes_back_whatever_its_layout() {
        let dir = tempfile::tempdir().unwrap();
        let position = Position { epoch: 3, batch: 2, seconds: [1.5, 0.25], ..Position::default() };
        save(dir.path(), "run", &position, &tensors()).unwrap();
        let found = load(dir.path(), "run").unwrap().unwrap();
        assert_eq!(found.position, position);
        for (name, want) in tensors() {
            let got = want.zeros_like();
            found.restore(&name, &got).unwrap();
            assert!(got.equal(&want), "{name}");
        }
        assert!(found.restore("w", &Tensor::zeros([3], (Kind::Float, Device::Cpu))).is_err());
        assert!(found.restore("v", &Tensor::zeros([3], (Kind::Float, Device::Cpu))).is_err());
        remove(dir.path()).unwrap();
        assert!(load(dir.path(), "run").unwrap().is_none());
        remove(dir.path()).unwrap();
    }

    #[test]
    fn another_run_and_a_broken_file_are_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        assert!(load(dir.path(), "run").unwrap().is_none());
        save(dir.path(), "run", &Position::default(), &tensors()).unwrap();
        assert!(load(dir.path(), "other").unwrap().is_none());
        let whole = std::fs::read(dir.path().join(FILE)).unwrap();
        std::fs::write(dir.path().join(FILE), &whole[..whole.len() - 1]).unwrap();
        assert!(load(dir.path(), "run").unwrap().is_none());
    }
}
