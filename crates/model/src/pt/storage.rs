//! Kinds of numbers in a storage.

use half::{bf16, f16};

use crate::safetensors::values;
use crate::weights::Data;

/// A kind of numbers, named after PyTorch's storage classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dtype {
    Float,
    Double,
    Half,
    BFloat16,
    Long,
    Int,
    Short,
    Char,
    Byte,
    Bool,
}

impl Dtype {
    /// The kind that a class of module `torch` stands for.
    pub fn of_class(class: &str) -> Option<Dtype> {
        Some(match class {
            "FloatStorage" => Dtype::Float,
            "DoubleStorage" => Dtype::Double,
            "HalfStorage" => Dtype::Half,
            "BFloat16Storage" => Dtype::BFloat16,
            "LongStorage" => Dtype::Long,
            "IntStorage" => Dtype::Int,
            "ShortStorage" => Dtype::Short,
            "CharStorage" => Dtype::Char,
            "ByteStorage" => Dtype::Byte,
            "BoolStorage" => Dtype::Bool,
            _ => return None,
        })
    }

    /// Bytes of one number.
    pub fn width(self) -> usize {
        match self {
            Dtype::Double | Dtype::Long => 8,
            Dtype::Float | Dtype::Int => 4,
            Dtype::Half | Dtype::BFloat16 | Dtype::Short => 2,
            Dtype::Char | Dtype::Byte | Dtype::Bool => 1,
        }
    }

    /// Little-endian numbers as our own.
    pub fn widen(self, bytes: &[u8]) -> Data {
        match self {
            Dtype::Float => Data::F32(values(bytes, f32::from_le_bytes)),
            Dtype::Double => Data::F32(values(bytes, |raw| f64::from_le_bytes(raw) as f32)),
            Dtype::Half => Data::F32(values(bytes, |raw| f16::from_le_bytes(raw).to_f32())),
            Dtype::BFloat16 => Data::F32(values(bytes, |raw| bf16::from_le_bytes(raw).to_f32())),
            Dtype::Long => Data::I64(values(bytes, i64::from_le_bytes)),
            Dtype::Int => Data::I64(values(bytes, |raw| i32::from_le_bytes(raw).into())),
            Dtype::Short => Data::I64(values(bytes, |raw| i16::from_le_bytes(raw).into())),
            Dtype::Char => Data::I64(values(bytes, |raw| i8::from_le_bytes(raw).into())),
            Dtype::Byte => Data::I64(values(bytes, |[byte]| byte.into())),
            Dtype::Bool => Data::I64(values(bytes, |[byte]| (byte != 0).into())),
        }
    }
}
