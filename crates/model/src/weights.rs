//! Named arrays: a state dict in plain memory.

mod init;

use std::collections::HashMap;
use std::fmt;

use crate::network::{Network, Role};

/// Ordered name → array. The order is the order of insertion, and files keep it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Weights {
    entries: Vec<(String, Array)>,
    index: HashMap<String, usize>,
}

/// A dense array in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    /// Shape; empty for a scalar.
    pub shape: Vec<usize>,
    /// Values, as many as the product of the shape.
    pub data: Data,
}

/// The values of an array. Files may hold f16, bf16 or f64: readers give f32.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    /// 32-bit floats.
    F32(Vec<f32>),
    /// 64-bit integers.
    I64(Vec<i64>),
}

impl Array {
    /// Floats of a shape.
    pub fn f32(shape: impl Into<Vec<usize>>, data: Vec<f32>) -> Array {
        Array { shape: shape.into(), data: Data::F32(data) }
    }

    /// Integers of a shape.
    pub fn i64(shape: impl Into<Vec<usize>>, data: Vec<i64>) -> Array {
        Array { shape: shape.into(), data: Data::I64(data) }
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        match &self.data {
            Data::F32(data) => data.len(),
            Data::I64(data) => data.len(),
        }
    }

    /// Whether it has no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The floats, when it has floats.
    pub fn as_f32(&self) -> Option<&[f32]> {
        match &self.data {
            Data::F32(data) => Some(data),
            Data::I64(_) => None,
        }
    }

    /// The integers, when it has integers.
    pub fn as_i64(&self) -> Option<&[i64]> {
        match &self.data {
            Data::I64(data) => Some(data),
            Data::F32(_) => None,
        }
    }

    /// Values little-endian, row-major: what every one of our files holds.
    pub(crate) fn to_le_bytes(&self) -> Vec<u8> {
        match &self.data {
            Data::F32(data) => data.iter().flat_map(|v| v.to_le_bytes()).collect(),
            Data::I64(data) => data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        }
    }
}

impl Weights {
    /// No arrays.
    pub fn new() -> Weights {
        Weights::default()
    }

    /// Number of arrays.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no arrays.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The array of this name.
    pub fn get(&self, name: &str) -> Option<&Array> {
        self.index.get(name).map(|&at| &self.entries[at].1)
    }

    /// The array of this name, to change.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Array> {
        self.index.get(name).map(|&at| &mut self.entries[at].1)
    }

    /// Adds an array at the end, or replaces the one of this name where it stands; returns the one replaced.
    pub fn insert(&mut self, name: impl Into<String>, array: Array) -> Option<Array> {
        let name = name.into();
        match self.index.get(&name) {
            Some(&at) => Some(std::mem::replace(&mut self.entries[at].1, array)),
            None => {
                self.index.insert(name.clone(), self.entries.len());
                self.entries.push((name, array));
                None
            }
        }
    }

    /// All arrays in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Array)> {
        self.entries.iter().map(|(name, array)| (name.as_str(), array))
    }

    /// Number of values of all arrays.
    pub fn values(&self) -> usize {
        self.entries.iter().map(|(_, array)| array.len()).sum()
    }

    /// Whether these are the weights of `network`: every entry there with its shape and kind, nothing besides, and every
    /// float finite.
    ///
    /// # Errors
    /// All differences at once: somebody who brings weights of another network should see what they are.
    pub fn check(&self, network: &Network) -> Result<(), Mismatches> {
        let mut list = Vec::new();
        let specs = network.params();
        for spec in &specs {
            match self.get(&spec.name) {
                None => list.push(Mismatch::Missing { name: spec.name.clone(), shape: spec.shape.clone() }),
                Some(array) if array.shape != spec.shape => {
                    list.push(Mismatch::Shape { name: spec.name.clone(), expected: spec.shape.clone(), found: array.shape.clone() })
                }
                Some(array) if array.as_i64().is_some() != (spec.role == Role::NumBatches) => {
                    list.push(Mismatch::Kind { name: spec.name.clone() });
                }
                Some(array) if array.len() != spec.len() => list.push(Mismatch::Length { name: spec.name.clone() }),
                Some(array) => {
                    if array.as_f32().is_some_and(|data| data.iter().any(|v| !v.is_finite())) {
                        list.push(Mismatch::NotFinite { name: spec.name.clone() });
                    }
                }
            }
        }
        let known: std::collections::HashSet<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
        for (name, _) in self.iter().filter(|(name, _)| !known.contains(name)) {
            list.push(Mismatch::Unknown { name: name.to_owned() });
        }
        if list.is_empty() { Ok(()) } else { Err(Mismatches { network: describe(network), list }) }
    }

    /// The same arrays in the order of `network`, fit for a file that is compared byte by byte.
    ///
    /// # Errors
    /// As [`Weights::check`].
    pub fn ordered(mut self, network: &Network) -> Result<Weights, Mismatches> {
        self.check(network)?;
        let mut ordered = Weights::new();
        for spec in network.params() {
            if let Some(array) = self.get_mut(&spec.name) {
                let empty = Array::f32([0], Vec::new());
                ordered.insert(spec.name, std::mem::replace(array, empty));
            }
        }
        Ok(ordered)
    }
}

fn describe(network: &Network) -> String {
    format!("yolov8{} with {} classes", network.scale, network.classes)
}

/// One difference between weights and a network.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "name and shapes of the array that the variant is about")]
pub enum Mismatch {
    /// The network has it, the weights do not.
    Missing { name: String, shape: Vec<usize> },
    /// The weights have it, the network does not.
    Unknown { name: String },
    /// Both have it, with different shapes.
    Shape { name: String, expected: Vec<usize>, found: Vec<usize> },
    /// Floats where integers belong, or the other way round.
    Kind { name: String },
    /// More or fewer values than the shape says.
    Length { name: String },
    /// NaN or infinite values.
    NotFinite { name: String },
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mismatch::Missing { name, shape } => write!(f, "{name} {shape:?} is missing"),
            Mismatch::Unknown { name } => write!(f, "{name} is not part of the network"),
            Mismatch::Shape { name, expected, found } => write!(f, "{name} is {found:?}, expected {expected:?}"),
            Mismatch::Kind { name } => write!(f, "{name} has the wrong kind of numbers"),
            Mismatch::Length { name } => write!(f, "{name} does not have as many values as its shape says"),
            Mismatch::NotFinite { name } => write!(f, "{name} has values that are not finite"),
        }
    }
}

/// All differences between weights and a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatches {
    /// The network in words.
    pub network: String,
    /// The differences, those of the network's entries first.
    pub list: Vec<Mismatch>,
}

impl std::error::Error for Mismatches {}

impl fmt::Display for Mismatches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// As many as fit a terminal; a foreign network differs in hundreds.
        const SHOWN: usize = 5;
        write!(f, "the weights are not those of {}: ", self.network)?;
        for (i, mismatch) in self.list.iter().take(SHOWN).enumerate() {
            let separator = if i == 0 { "" } else { "; " };
            write!(f, "{separator}{mismatch}")?;
        }
        match self.list.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}
