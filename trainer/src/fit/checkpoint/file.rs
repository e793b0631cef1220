//! The file: safetensors, with the run and the position as text in its header, and a SHA-256 over all of it. A power cut can
//! leave a file of the right length whose blocks never reached the disk, and its zeros would be taken for weights.
//!
//! Written tensor by tensor: a checkpoint of the x-size network is 1.6 GB, and must not be in memory twice.

use std::{
    collections::HashMap,
    fs::File,
    io::{BufWriter, Seek, SeekFrom, Write},
    path::Path,
};

use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tch::{Device, Kind, Tensor};

use super::{CheckpointError, Position};
use crate::digest::hex;

/// Key of the digest in the header, and what stands for it until it is known.
const DIGEST: &str = "sha256";
const UNKNOWN: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Weights, averages, the best averages, two states of the optimiser and gradients of the largest network are 1.7 GB.
const LARGEST: u64 = 4 << 30;

/// What a file says.
pub(super) struct Content {
    pub(super) position: Position,
    pub(super) tensors: HashMap<String, Tensor>,
}

/// Writes and syncs; `path` is replaced, and removed when it cannot be written whole.
pub(super) fn write(path: &Path, run: &str, position: &Position, tensors: &[(String, Tensor)]) -> Result<(), CheckpointError> {
    let written = write_all(path, run, position, tensors);
    if written.is_err() {
        // What is left of it would keep the room that the next one needs.
        let _ = std::fs::remove_file(path);
    }
    written
}

fn write_all(path: &Path, run: &str, position: &Position, tensors: &[(String, Tensor)]) -> Result<(), CheckpointError> {
    let io = |source| CheckpointError::Io { verb: "write", path: path.to_owned(), source };
    let broken = |why: String| CheckpointError::Broken { path: path.to_owned(), why };
    let position = serde_json::to_string(position).map_err(|e| broken(e.to_string()))?;
    // safetensors wants tensors without holes; readers find them by name, so any order will do.
    let mut header = Map::from_iter([("__metadata__".to_owned(), json!({DIGEST: UNKNOWN, "run": run, "position": position}))]);
    let mut end = 0;
    for (name, tensor) in tensors {
        let (dtype, size) = match tensor.kind() {
            Kind::Float => ("F32", 4),
            Kind::Int64 => ("I64", 8),
            other => return Err(broken(format!("it holds float32 and int64, and {name} is {other:?}"))),
        };
        let begin = end;
        end += tensor.numel() * size;
        header.insert(name.clone(), json!({"dtype": dtype, "shape": tensor.size(), "data_offsets": [begin, end]}));
    }
    let mut header = Value::Object(header).to_string();
    // The format wants the data aligned to 8 bytes.
    header.extend(std::iter::repeat_n(' ', header.len().next_multiple_of(8) - header.len()));
    let at = header.find(UNKNOWN).ok_or_else(|| broken("its header has no room for the digest".to_owned()))?;

    let mut hash = Sha256::new();
    hash.update(header.as_bytes());
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path).map_err(io)?);
    file.write_all(&(header.len() as u64).to_le_bytes()).map_err(io)?;
    file.write_all(header.as_bytes()).map_err(io)?;
    for (_, tensor) in tensors {
        let data = bytes(tensor)?;
        hash.update(&data);
        file.write_all(&data).map_err(io)?;
    }
    file.seek(SeekFrom::Start(8 + at as u64)).map_err(io)?;
    file.write_all(hex(&hash.finalize()).as_bytes()).map_err(io)?;
    file.flush().map_err(io)?;
    file.get_ref().sync_all().map_err(io)
}

fn bytes(t: &Tensor) -> Result<Vec<u8>, CheckpointError> {
    let t = t.detach().to_device(Device::Cpu).contiguous();
    let size = if t.kind() == Kind::Float { 4 } else { 8 };
    let mut data = vec![0; t.numel() * size];
    t.f_copy_data_u8(&mut data, t.numel())?;
    Ok(data)
}

/// Reads; `None` when there is no file.
pub(super) fn read(path: &Path, run: &str) -> Result<Option<Content>, CheckpointError> {
    let io = |source| CheckpointError::Io { verb: "read", path: path.to_owned(), source };
    let broken = |why: String| CheckpointError::Broken { path: path.to_owned(), why };
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error)),
        Ok(facts) if !facts.is_file() || facts.len() > LARGEST => {
            return Err(broken(format!("it is no file of up to {LARGEST} bytes")));
        }
        Ok(_) => {}
    }
    let mut data = std::fs::read(path).map_err(io)?;
    let (length, header) = SafeTensors::read_metadata(&data).map_err(|e| broken(e.to_string()))?;
    let facts = header.metadata().clone().unwrap_or_default();
    let fact = |name: &str| facts.get(name).ok_or_else(|| broken(format!("no `{name}` in its header")));
    if fact("run")? != run {
        return Err(CheckpointError::OtherRun { path: path.to_owned() });
    }
    let digest = fact(DIGEST)?;
    let header = &mut data[8..8 + length];
    let at = header.windows(digest.len().max(1)).position(|window| window == digest.as_bytes());
    let at = at.filter(|_| digest.len() == UNKNOWN.len()).ok_or_else(|| broken("its digest is not where it belongs".to_owned()))?;
    header[at..at + UNKNOWN.len()].copy_from_slice(UNKNOWN.as_bytes());
    if hex(&Sha256::digest(&data[8..])) != *digest {
        return Err(broken("its content is not what was written".to_owned()));
    }

    let position = serde_json::from_str(fact("position")?).map_err(|e| broken(e.to_string()))?;
    let content = SafeTensors::deserialize(&data).map_err(|e| broken(e.to_string()))?;
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
    Ok(Some(Content { position, tensors }))
}
