//! ONNX files written byte by byte: graphs that no emitter of ours would write.

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push((value as u8 & 0x7f) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A number field.
fn int(field: u64, value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    varint(field << 3, &mut out);
    varint(value, &mut out);
    out
}

/// A field of bytes, text or a message.
pub fn bytes(field: u64, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    varint(field << 3 | 2, &mut out);
    varint(value.len() as u64, &mut out);
    out.extend_from_slice(value);
    out
}

fn attribute(name: &str, parts: &[Vec<u8>]) -> Vec<u8> {
    bytes(5, &[bytes(1, name.as_bytes()), parts.concat()].concat())
}

/// A list of numbers as an attribute.
fn ints(name: &str, values: &[u64]) -> Vec<u8> {
    attribute(name, &[values.iter().flat_map(|v| int(8, *v)).collect(), int(20, 7)])
}

fn node(op: &str, inputs: &[&str], outputs: &[&str], attributes: &[Vec<u8>]) -> Vec<u8> {
    let names = |field: u64, names: &[&str]| names.iter().flat_map(|name| bytes(field, name.as_bytes())).collect::<Vec<u8>>();
    bytes(1, &[names(1, inputs), names(2, outputs), bytes(4, op.as_bytes()), attributes.concat()].concat())
}

/// A port: `field` 11 is an input, 12 an output; a dimension is a name or a number.
fn port(field: u64, name: &str, kind: u64, dims: &[&str]) -> Vec<u8> {
    let dim = |dim: &&str| bytes(1, &dim.parse().map_or_else(|_| bytes(2, dim.as_bytes()), |number| int(1, number)));
    let shape: Vec<u8> = dims.iter().flat_map(dim).collect();
    bytes(field, &[bytes(1, name.as_bytes()), bytes(2, &bytes(1, &[int(1, kind), bytes(2, &shape)].concat()))].concat())
}

/// An initializer.
fn tensor(name: &str, dims: &[u64], kind: u64, raw: &[u8]) -> Vec<u8> {
    let dims: Vec<u8> = dims.iter().flat_map(|d| int(1, *d)).collect();
    bytes(5, &[dims, int(2, kind), bytes(8, name.as_bytes()), bytes(9, raw)].concat())
}

const FLOAT: u64 = 1;
const INT64: u64 = 7;
const BOOL: u64 = 9;

/// A detector's ports around `nodes`, which make the scalar `extra` from the scalar `mean`: each output is `extra`.
fn around(nodes: &[Vec<u8>]) -> Vec<u8> {
    let longs = |values: &[i64]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let graph = [
        node("ReduceMean", &["images"], &["mean"], &[attribute("keepdims", &[int(3, 0), int(20, 2)])]),
        nodes.concat(),
        node("Expand", &["extra", "shape"], &["output0"], &[]),
        bytes(2, b"hostile"),
        tensor("shape", &[3], INT64, &longs(&[1, 6, 4])),
        tensor("for ever", &[], INT64, &longs(&[i64::MAX])),
        tensor("true", &[], BOOL, &[1]),
        tensor("4 GiB of floats", &[1], INT64, &longs(&[1 << 30])),
        port(11, "images", FLOAT, &["batch", "3", "height", "width"]),
        port(12, "output0", FLOAT, &["batch", "6", "anchors"]),
    ];
    let names = [bytes(1, b"names"), bytes(2, b"{0: 'bright', 1: 'sign'}")].concat();
    [int(1, 8), bytes(7, &graph.concat()), bytes(8, &int(2, 17)), bytes(14, &names)].concat()
}

/// A loop of 2⁶³ rounds.
pub fn hanging() -> Vec<u8> {
    let body = [
        node("Identity", &["go on"], &["goes on"], &[]),
        node("Sqrt", &["value"], &["root"], &[]),
        bytes(2, b"body"),
        port(11, "round", INT64, &[]),
        port(11, "go on", BOOL, &[]),
        port(11, "value", FLOAT, &[]),
        port(12, "goes on", BOOL, &[]),
        port(12, "root", FLOAT, &[]),
    ];
    let body = attribute("body", &[bytes(6, &body.concat()), int(20, 5)]);
    around(&[node("Loop", &["for ever", "true", "mean"], &["extra"], &[body])])
}

/// 4 GiB, and their mean.
pub fn hungry() -> Vec<u8> {
    around(&[
        node("ConstantOfShape", &["4 GiB of floats"], &["zeros"], &[]),
        node("Add", &["zeros", "mean"], &["means"], &[]),
        node("ReduceMax", &["means"], &["extra"], &[attribute("keepdims", &[int(3, 0), int(20, 2)]), ints("axes", &[0])]),
    ])
}
