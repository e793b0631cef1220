//! What goes to the child and comes back: a header and a verdict in JSON over the socket, the model and the check set in a file in
//! memory: fewer copies and calls than through a socket.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

use super::Candidate;
use crate::engines::check::{CheckSet, Sizes};
use crate::engines::kind::Kind;
use crate::engines::shapes::Shape;

/// A header longer than this is none.
const LONGEST_HEADER: u64 = 4096;
/// Values that are turned into bytes at a time.
const VALUES: usize = 64 << 10;

/// What is to be tried, what the child may take, and how many bytes follow.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Header {
    pub kind: Kind,
    pub threads: usize,
    pub shapes: Vec<Shape>,
    /// Bytes of memory.
    pub memory: u64,
    /// Seconds of CPU time.
    pub seconds: u64,
    onnx: usize,
    check: Sizes,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    /// It loads, runs, and reproduces its check file.
    Good,
    /// The engine refuses it.
    Engine(String),
    /// Its answers are others.
    Check(String),
}

impl Header {
    pub fn new(candidate: &Candidate<'_>, memory: u64, seconds: u64) -> Self {
        let Candidate { kind, threads, shapes, onnx, check } = *candidate;
        let (check, _) = check.parts();
        Self { kind, threads, shapes: shapes.to_vec(), memory, seconds, onnx: onnx.len(), check }
    }

    /// Reads one.
    pub fn read(from: &mut impl Read) -> io::Result<Self> {
        let mut length = [0; 8];
        from.read_exact(&mut length)?;
        let length = u64::from_le_bytes(length);
        if length > LONGEST_HEADER {
            return Err(io::Error::other(format!("a header of {length} bytes")));
        }
        Ok(serde_json::from_slice(&part(from, length as usize)?)?)
    }

    /// Reads what it speaks of.
    pub fn read_files(&self, from: &mut impl Read) -> io::Result<(Vec<u8>, CheckSet)> {
        let onnx = part(from, self.onnx)?;
        let odd = || io::Error::other("sizes that no check set has");
        let [images, outputs] = self.check.values().ok_or_else(odd)?;
        let (images, outputs) = (values(from, images)?, values(from, outputs)?);
        Ok((onnx, CheckSet::from_parts(self.check, images, outputs).ok_or_else(odd)?))
    }
}

/// A header as it is sent.
pub(super) fn head(header: &Header) -> io::Result<Vec<u8>> {
    let json = serde_json::to_vec(header)?;
    Ok([&(json.len() as u64).to_le_bytes()[..], &json].concat())
}

/// Writes what the header speaks of.
pub(super) fn give(candidate: &Candidate<'_>, to: &mut impl Write) -> io::Result<()> {
    to.write_all(candidate.onnx)?;
    let mut bytes = vec![0; 4 * VALUES];
    for chunk in candidate.check.parts().1.into_iter().flat_map(|values| values.chunks(VALUES)) {
        bytes.as_chunks_mut().0.iter_mut().zip(chunk).for_each(|(place, value)| *place = value.to_le_bytes());
        to.write_all(&bytes[..4 * chunk.len()])?;
    }
    Ok(())
}

fn part(from: &mut impl Read, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(length).map_err(|_| io::ErrorKind::OutOfMemory)?;
    from.take(length as u64).read_to_end(&mut bytes)?;
    if bytes.len() == length { Ok(bytes) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

fn values(from: &mut impl Read, count: usize) -> io::Result<Vec<f32>> {
    let mut values = Vec::new();
    values.try_reserve_exact(count).map_err(|_| io::ErrorKind::OutOfMemory)?;
    while values.len() < count {
        let bytes = part(from, 4 * VALUES.min(count - values.len()))?;
        values.extend(bytes.as_chunks().0.iter().map(|value| f32::from_le_bytes(*value)));
    }
    Ok(values)
}
