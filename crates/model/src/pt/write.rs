//! Writes the archive that `torch.save(state_dict)` would.

use std::io::{Cursor, Write};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::{PtError, opcode as op};
use crate::weights::{Array, Data, Weights};

/// Storages start at multiples of this in the file, as PyTorch has it, so that they can be mapped.
const ALIGNMENT: u16 = 64;

/// The bytes of a `.pt` file with these arrays in their order: the same bytes for the same weights.
///
/// # Errors
/// When the archive grows past what a zip can hold.
pub fn write(weights: &Weights) -> Result<Vec<u8>, PtError> {
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored).with_alignment(ALIGNMENT);
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let mut file = |name: &str, content: &[u8]| -> Result<(), PtError> {
        zip.start_file(format!("archive/{name}"), stored)?;
        Ok(zip.write_all(content).map_err(zip::result::ZipError::Io)?)
    };
    file("data.pkl", &pickle(weights))?;
    file("byteorder", b"little")?;
    for (key, (_, array)) in weights.iter().enumerate() {
        file(&format!("data/{key}"), &array.to_le_bytes())?;
    }
    file("version", b"3\n")?;
    Ok(zip.finish()?.into_inner())
}

/// An `OrderedDict` from names to tensors, protocol 2.
fn pickle(weights: &Weights) -> Vec<u8> {
    let mut out = vec![op::PROTO, 2];
    global(&mut out, "collections", "OrderedDict");
    out.extend([op::EMPTY_TUPLE, op::REDUCE, op::MARK]);
    for (key, (name, array)) in weights.iter().enumerate() {
        text(&mut out, name);
        tensor(&mut out, &key.to_string(), array);
    }
    out.extend([op::SETITEMS, op::STOP]);
    out
}

/// `_rebuild_tensor_v2(storage, 0, shape, strides, False, OrderedDict())`
fn tensor(out: &mut Vec<u8>, key: &str, array: &Array) {
    let class = match array.data {
        Data::F32(_) => "FloatStorage",
        Data::I64(_) => "LongStorage",
    };
    global(out, "torch._utils", "_rebuild_tensor_v2");
    out.extend([op::MARK, op::MARK]);
    text(out, "storage");
    global(out, "torch", class);
    text(out, key);
    text(out, "cpu");
    integer(out, array.len());
    out.extend([op::TUPLE, op::BINPERSID]);
    integer(out, 0);
    sizes(out, &array.shape);
    sizes(out, &strides(&array.shape));
    out.push(op::NEWFALSE);
    global(out, "collections", "OrderedDict");
    out.extend([op::EMPTY_TUPLE, op::REDUCE, op::TUPLE, op::REDUCE]);
}

fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis].max(1);
    }
    strides
}

fn global(out: &mut Vec<u8>, module: &str, name: &str) {
    out.push(op::GLOBAL);
    out.extend(module.bytes());
    out.push(b'\n');
    out.extend(name.bytes());
    out.push(b'\n');
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.push(op::BINUNICODE);
    out.extend((text.len() as u32).to_le_bytes());
    out.extend(text.bytes());
}

fn integer(out: &mut Vec<u8>, value: usize) {
    match i32::try_from(value) {
        Ok(small) => {
            out.push(op::BININT);
            out.extend(small.to_le_bytes());
        }
        // 8 bytes, the sign bit clear: no array has 2⁶³ values
        Err(_) => {
            out.extend([op::LONG1, 8]);
            out.extend((value as u64).to_le_bytes());
        }
    }
}

fn sizes(out: &mut Vec<u8>, sizes: &[usize]) {
    out.push(op::MARK);
    for size in sizes {
        integer(out, *size);
    }
    out.push(op::TUPLE);
}
