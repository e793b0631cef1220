//! The safetensors file: a JSON header and the arrays behind it.

use std::borrow::Cow;
use std::collections::HashMap;

use half::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensorError, SafeTensors, View, serialize};

use crate::weights::{Array, Data, Weights};

/// Why bytes are not a readable safetensors file.
#[derive(Debug, thiserror::Error)]
pub enum SafetensorsError {
    /// The header or the sizes are wrong.
    #[error("not a valid safetensors file: {0}")]
    Invalid(#[from] SafeTensorError),
    /// A header that no weights need: it alone would take memory.
    #[error("its header has {found} bytes or arrays; at most {limit} are read")]
    TooLarge {
        /// Bytes of the header, or arrays.
        found: u64,
        /// How many there may be.
        limit: u64,
    },
    /// Numbers of a kind that weights do not have.
    #[error("array {name} holds {dtype:?} numbers; F32, F64, F16, BF16 or I64 are read")]
    Dtype {
        /// The array.
        name: String,
        /// Its kind.
        dtype: Dtype,
    },
}

struct ArrayView<'a>(&'a Array);

impl View for ArrayView<'_> {
    fn dtype(&self) -> Dtype {
        match self.0.data {
            Data::F32(_) => Dtype::F32,
            Data::I64(_) => Dtype::I64,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.0.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.0.to_le_bytes().into()
    }

    fn data_len(&self) -> usize {
        let width = match self.0.data {
            Data::F32(_) => size_of::<f32>(),
            Data::I64(_) => size_of::<i64>(),
        };
        self.0.len() * width
    }
}

/// The bytes of a safetensors file with these arrays. The format sorts them: reading gives kinds together, then names.
///
/// # Errors
/// When the header would be larger than the format allows (100 MB).
pub fn write(weights: &Weights, metadata: &[(&str, &str)]) -> Result<Vec<u8>, SafetensorsError> {
    let views = weights.iter().map(|(name, array)| (name, ArrayView(array)));
    let metadata: HashMap<String, String> = metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Ok(serialize(views, (!metadata.is_empty()).then_some(metadata))?)
}

/// Bytes of the header: 65 kB for the 595 arrays of an x-size detector. Parsed, it takes up to 50 times as much.
const MAX_HEADER: u64 = 2 << 20;
/// Arrays.
const MAX_ARRAYS: usize = 20_000;

/// Reads every array, f16, bf16 and f64 as f32. Takes no more memory than twice the file: the format has no compression
/// and its sizes are checked against the bytes that are there.
///
/// # Errors
/// When the bytes are no safetensors file, have an absurd header or hold other kinds of numbers.
pub fn read(bytes: &[u8]) -> Result<Weights, SafetensorsError> {
    Ok(read_with_metadata(bytes)?.0)
}

/// The same with the text entries of the header, where people keep class names.
///
/// # Errors
/// As [`read`].
pub fn read_with_metadata(bytes: &[u8]) -> Result<(Weights, HashMap<String, String>), SafetensorsError> {
    let header = bytes.first_chunk().map_or(0, |length| u64::from_le_bytes(*length));
    if header > MAX_HEADER {
        return Err(SafetensorsError::TooLarge { found: header, limit: MAX_HEADER });
    }
    let (_, header) = SafeTensors::read_metadata(bytes)?;
    let metadata = header.metadata().clone().unwrap_or_default();
    let file = SafeTensors::deserialize(bytes)?;
    if file.len() > MAX_ARRAYS {
        return Err(SafetensorsError::TooLarge { found: file.len() as u64, limit: MAX_ARRAYS as u64 });
    }
    let mut weights = Weights::new();
    for (name, view) in file.iter() {
        let shape = view.shape().to_vec();
        let array = match floats(view.dtype(), view.data()) {
            Some(data) => Array::f32(shape, data),
            None if view.dtype() == Dtype::I64 => Array::i64(shape, values(view.data(), i64::from_le_bytes)),
            None => return Err(SafetensorsError::Dtype { name: name.to_owned(), dtype: view.dtype() }),
        };
        weights.insert(name, array);
    }
    Ok((weights, metadata))
}

fn floats(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
    Some(match dtype {
        Dtype::F32 => values(bytes, f32::from_le_bytes),
        Dtype::F64 => values(bytes, |raw| f64::from_le_bytes(raw) as f32),
        Dtype::F16 => values(bytes, |raw| f16::from_le_bytes(raw).to_f32()),
        Dtype::BF16 => values(bytes, |raw| bf16::from_le_bytes(raw).to_f32()),
        _ => return None,
    })
}

/// Little-endian values of `WIDTH` bytes each.
pub(crate) fn values<const WIDTH: usize, T>(bytes: &[u8], value: impl Fn([u8; WIDTH]) -> T) -> Vec<T> {
    bytes.as_chunks::<WIDTH>().0.iter().map(|raw| value(*raw)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
    use super::*;
    use crate::{Network, Scale};

    #[test]
    fn weights_round_trip() {
        let network = Network::yolov8(Scale::N, 3);
        let weights = Weights::init(&network, 1);
        let bytes = write(&weights, &[("format", "pt")]).unwrap();
        assert_eq!(read(&bytes).unwrap().ordered(&network).unwrap(), weights);
    }

    #[test]
    fn narrower_floats_are_widened() {
        let raw: Vec<u8> = [1.5_f32, -2.0].iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect();
        let view = safetensors::tensor::TensorView::new(Dtype::BF16, vec![2], &raw).unwrap();
        let bytes = serialize([("a", view)], None).unwrap();
        assert_eq!(read(&bytes).unwrap().get("a").unwrap(), &Array::f32([2], vec![1.5, -2.0]));
    }

    #[test]
    fn a_cut_file_and_other_kinds_are_refused() {
        let bytes = write(&Weights::init(&Network::yolov8(Scale::N, 1), 1), &[]).unwrap();
        assert!(matches!(read(&bytes[..bytes.len() - 1]), Err(SafetensorsError::Invalid(_))));
        let view = safetensors::tensor::TensorView::new(Dtype::U8, vec![1], &[1]).unwrap();
        let error = read(&serialize([("mask", view)], None).unwrap()).unwrap_err();
        assert!(error.to_string().contains("mask"), "{error}");
    }
}
