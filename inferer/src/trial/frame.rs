//! What goes to the child and comes back: heads and verdicts in JSON over the socket, the model and behind it the check set in a file
//! in memory: fewer copies and calls than through a socket.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Candidate;
use crate::engines::check::{CheckSet, Sizes};
use crate::engines::kind::Kind;
use crate::engines::shapes::Shape;

/// A head longer than this is none.
const LONGEST_HEAD: u64 = 4096;
/// Values that are turned into bytes at a time.
const VALUES: usize = 64 << 10;

/// What is to be tried, what the child may take, and how long the model in the file is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Header {
    pub kind: Kind,
    pub threads: usize,
    pub shapes: Vec<Shape>,
    /// Bytes of memory.
    pub memory: u64,
    /// Seconds of CPU time.
    pub seconds: u64,
    onnx: usize,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    /// The engine takes it; it has not run yet.
    Loaded,
    /// It loads, runs, and reproduces its check file.
    Good,
    /// The engine refuses it.
    Engine(String),
    /// Its answers are others.
    Check(String),
}

impl Header {
    pub fn new(candidate: &Candidate<'_>, memory: u64, seconds: u64) -> Self {
        let Candidate { kind, threads, shapes, onnx } = *candidate;
        Self { kind, threads, shapes: shapes.to_vec(), memory, seconds, onnx: onnx.len() }
    }

    /// The model that it speaks of.
    pub fn read_onnx(&self, from: &File) -> io::Result<Vec<u8>> {
        part(from, 0, self.onnx)
    }

    /// The check set behind the model.
    pub fn read_check(&self, sizes: Sizes, from: &File) -> io::Result<CheckSet> {
        let odd = || io::Error::other("sizes that no check set has");
        let [images, outputs] = sizes.values().ok_or_else(odd)?;
        let at = self.onnx as u64;
        let (images, outputs) = (values(from, at, images)?, values(from, at.saturating_add(4 * images as u64), outputs)?);
        CheckSet::from_parts(sizes, images, outputs).ok_or_else(odd)
    }

    /// Puts the check set behind the model.
    pub fn write_check(&self, check: &CheckSet, to: &File) -> io::Result<()> {
        let (mut at, mut bytes) = (self.onnx as u64, vec![0; 4 * VALUES]);
        for chunk in check.parts().1.into_iter().flat_map(|values| values.chunks(VALUES)) {
            bytes.as_chunks_mut().0.iter_mut().zip(chunk).for_each(|(place, value)| *place = value.to_le_bytes());
            to.write_all_at(&bytes[..4 * chunk.len()], at)?;
            at += 4 * chunk.len() as u64;
        }
        Ok(())
    }
}

/// A head as it is sent.
pub(super) fn head(head: &impl Serialize) -> io::Result<Vec<u8>> {
    let json = serde_json::to_vec(head)?;
    Ok([&(json.len() as u64).to_le_bytes()[..], &json].concat())
}

/// Reads a head.
pub(super) fn read_head<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<T> {
    let mut length = [0; 8];
    from.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    if length > LONGEST_HEAD {
        return Err(io::Error::other(format!("a head of {length} bytes")));
    }
    let mut json = vec![0; length as usize];
    from.read_exact(&mut json)?;
    Ok(serde_json::from_slice(&json)?)
}

/// Sends a verdict.
pub(super) fn tell(verdict: &Verdict, to: &mut impl Write) -> io::Result<()> {
    let mut line = serde_json::to_vec(verdict)?;
    line.push(b'\n');
    to.write_all(&line)
}

fn part(from: &File, at: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(length).map_err(|_| io::ErrorKind::OutOfMemory)?;
    bytes.resize(length, 0);
    from.read_exact_at(&mut bytes, at)?;
    Ok(bytes)
}

fn values(from: &File, at: u64, count: usize) -> io::Result<Vec<f32>> {
    let mut values = Vec::new();
    values.try_reserve_exact(count).map_err(|_| io::ErrorKind::OutOfMemory)?;
    while values.len() < count {
        let bytes = part(from, at + 4 * values.len() as u64, 4 * VALUES.min(count - values.len()))?;
        values.extend(bytes.as_chunks().0.iter().map(|value| f32::from_le_bytes(*value)));
    }
    Ok(values)
}
