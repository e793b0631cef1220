//! A model of a few kilobytes for tests, encoded here by hand: what is asked about is loading, shapes, threads and swaps, and
//! for that a detector of one convolution is enough.
//!
//! `images [batch, 3, height, width]` ─ Conv 32×32, stride 32 ─ Reshape `[0, 6, -1]` ─ Add ─ `output0`: each of the 6 rows of
//! an anchor is the mean of its 32×32 patch times the row's scale, plus an offset of the row, or of the row and the anchor.

/// Rows of the output: four of boxes and two classes.
pub const ROWS: usize = 6;

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push((value as u8 & 0x7f) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn int(field: u64, value: u64, out: &mut Vec<u8>) {
    varint(field << 3, out);
    varint(value, out);
}

fn bytes(field: u64, value: &[u8], out: &mut Vec<u8>) {
    varint(field << 3 | 2, out);
    varint(value.len() as u64, out);
    out.extend_from_slice(value);
}

fn message(parts: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    parts(&mut out);
    out
}

/// `TensorProto`: dims (1), data_type (2), name (8), raw_data (9).
fn tensor(name: &str, dims: &[u64], data_type: u64, raw: &[u8]) -> Vec<u8> {
    message(|m| {
        dims.iter().for_each(|d| int(1, *d, m));
        int(2, data_type, m);
        bytes(8, name.as_bytes(), m);
        bytes(9, raw, m);
    })
}

/// `NodeProto`: input (1), output (2), op_type (4), attribute (5).
fn node(op: &str, inputs: &[&str], output: &str, ints: &[(&str, &[u64])]) -> Vec<u8> {
    message(|m| {
        inputs.iter().for_each(|i| bytes(1, i.as_bytes(), m));
        bytes(2, output.as_bytes(), m);
        bytes(4, op.as_bytes(), m);
        for (name, values) in ints {
            let attribute = message(|a| {
                bytes(1, name.as_bytes(), a);
                values.iter().for_each(|v| int(8, *v, a));
                int(20, 7, a);
            });
            bytes(5, &attribute, m);
        }
    })
}

/// `ValueInfoProto` of a float tensor; a dimension is a name or a number.
fn value(name: &str, dims: &[&str]) -> Vec<u8> {
    let shape = message(|s| {
        for dim in dims {
            let dim = message(|d| match dim.parse() {
                Ok(number) => int(1, number, d),
                Err(_) => bytes(2, dim.as_bytes(), d),
            });
            bytes(1, &dim, s);
        }
    });
    let tensor_type = message(|t| {
        int(1, 1, t);
        bytes(2, &shape, t);
    });
    message(|m| {
        bytes(1, name.as_bytes(), m);
        bytes(2, &message(|t| bytes(1, &tensor_type, t)), m);
    })
}

/// A toy's numbers.
#[derive(Debug, Clone)]
pub struct Toy {
    /// Factor of the patch's mean in each row.
    pub scales: [f32; ROWS],
    /// What is added: 6 values, one for each row, or 6 × anchors for one input size only.
    pub offsets: Vec<f32>,
    /// `metadata_props`.
    pub metadata: Vec<(String, String)>,
}

impl Toy {
    /// Each row is the patch's mean plus an offset.
    pub fn means(offsets: [f32; ROWS]) -> Self {
        Self { scales: [1.0; ROWS], offsets: offsets.into(), metadata: Vec::new() }
    }

    /// The model of the module's head.
    pub fn onnx(&self) -> Vec<u8> {
        let floats = |values: &mut dyn Iterator<Item = f32>| values.flat_map(f32::to_le_bytes).collect::<Vec<u8>>();
        let weights = floats(&mut self.scales.iter().flat_map(|scale| std::iter::repeat_n(scale / 3072.0, 3072)));
        let offsets = floats(&mut self.offsets.iter().copied());
        let shape: Vec<u8> = [0, ROWS as i64, -1].iter().flat_map(|v| v.to_le_bytes()).collect();
        let (rows, anchors) = (ROWS as u64, (self.offsets.len() / ROWS) as u64);
        let graph = message(|g| {
            bytes(1, &node("Conv", &["images", "weight"], "patches", &[("kernel_shape", &[32, 32]), ("strides", &[32, 32])]), g);
            bytes(1, &node("Reshape", &["patches", "shape"], "means", &[]), g);
            bytes(1, &node("Add", &["means", "offset"], "output0", &[]), g);
            bytes(2, b"toy", g);
            bytes(5, &tensor("weight", &[rows, 3, 32, 32], 1, &weights), g);
            bytes(5, &tensor("offset", &[1, rows, anchors], 1, &offsets), g);
            bytes(5, &tensor("shape", &[3], 7, &shape), g);
            bytes(11, &value("images", &["batch", "3", "height", "width"]), g);
            bytes(12, &value("output0", &["batch", "6", "anchors"]), g);
        });
        message(|m| {
            int(1, 8, m);
            bytes(7, &graph, m);
            bytes(8, &message(|o| int(2, 17, o)), m);
            for (key, value) in &self.metadata {
                let entry = message(|e| {
                    bytes(1, key.as_bytes(), e);
                    bytes(2, value.as_bytes(), e);
                });
                bytes(14, &entry, m);
            }
        })
    }
}
