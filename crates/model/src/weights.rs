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
                Some(array) if spec.role == Role::Fixed && !is_bins(array) => {
                    list.push(Mismatch::Fixed { name: spec.name.clone() });
                }
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

impl IntoIterator for Weights {
    type Item = (String, Array);
    type IntoIter = std::vec::IntoIter<(String, Array)>;

    /// All arrays in order, without copying them.
    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

/// Whether these are the weights 0, 1, 2 … that take the mean of a distribution: the ONNX graph has them as constants.
fn is_bins(array: &Array) -> bool {
    array.as_f32().is_some_and(|values| values.iter().enumerate().all(|(bin, value)| *value == bin as f32))
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
    /// Constants with other values than 0, 1, 2 ….
    Fixed { name: String },
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
            Mismatch::Fixed { name } => write!(f, "{name} is not 0, 1, 2 …, which it must be"),
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
    use super::*;
    use crate::Scale;

    #[test]
    fn every_difference_to_a_network_is_named() {
        let network = Network::yolov8(Scale::N, 2);
        let mut weights = Weights::init(&network, 0);
        weights.check(&network).unwrap();
        weights.insert("model.0.conv.weight", Array::f32([16, 3, 5, 5], vec![0.0; 1200]));
        weights.insert("model.0.bn.weight", Array::i64([16], vec![1; 16]));
        weights.insert("model.0.bn.bias", Array::f32([16], vec![f32::NAN; 16]));
        weights.insert("model.1.bn.bias", Array::f32([32], vec![0.0; 31]));
        weights.insert("model.22.dfl.conv.weight", Array::f32([1, 16, 1, 1], vec![1.0; 16]));
        weights.insert("optimizer", Array::i64([], vec![0]));
        let error = weights.check(&network).unwrap_err();
        let kinds: Vec<_> = error.list.iter().map(std::mem::discriminant).collect();
        let name = String::new;
        let expected = [
            Mismatch::Shape { name: name(), expected: vec![], found: vec![] },
            Mismatch::Kind { name: name() },
            Mismatch::NotFinite { name: name() },
            Mismatch::Length { name: name() },
            Mismatch::Fixed { name: name() },
            Mismatch::Unknown { name: name() },
        ];
        assert_eq!(kinds, expected.iter().map(std::mem::discriminant).collect::<Vec<_>>(), "{error}");
        assert!(error.to_string().starts_with("the weights are not those of yolov8n with 2 classes: "), "{error}");
        assert!(error.to_string().ends_with("; and 1 more"), "{error}");
    }

    #[test]
    fn first_weights_are_a_function_of_the_seed_and_differ_by_array() {
        let network = Network::yolov8(Scale::N, 3);
        let weights = Weights::init(&network, 7);
        assert_eq!(weights, Weights::init(&network, 7));
        assert_ne!(weights, Weights::init(&network, 8));
        // two convolutions of one shape
        assert_ne!(weights.get("model.4.m.0.cv1.conv.weight"), weights.get("model.4.m.1.cv1.conv.weight"));
        // another number of classes changes the class branch only
        let other = Weights::init(&Network::yolov8(Scale::N, 2), 7);
        assert_eq!(weights.get("model.0.conv.weight"), other.get("model.0.conv.weight"));
        // log(5 / 3 / (640 / 16)²)
        let bias = weights.get("model.22.cv3.1.2.bias").unwrap().as_f32().unwrap();
        assert!(bias.iter().all(|value| (value - (-6.866_93)).abs() < 1e-4), "{bias:?}");
        assert!(weights.get("model.22.cv2.0.2.bias").unwrap().as_f32().unwrap().iter().all(|value| *value == 1.0));
    }

    #[test]
    fn replacing_an_array_keeps_its_place() {
        let mut weights = Weights::new();
        weights.insert("a", Array::i64([], vec![1]));
        weights.insert("b", Array::i64([], vec![2]));
        assert_eq!(weights.insert("a", Array::i64([], vec![3])), Some(Array::i64([], vec![1])));
        assert_eq!(weights.iter().map(|(name, array)| (name, array.as_i64().unwrap()[0])).collect::<Vec<_>>(), [("a", 3), ("b", 2)]);
    }
}
