//! What an ONNX file says about itself, found without decoding its weights and before anything native parses it.

use prost::Message;

use super::literal::{LiteralError, parse_names};
use super::proto::{FLOAT, OperatorSetIdProto, StringStringEntryProto, ValueInfoProto};
use super::wire::{Value, WireError, fields};
use super::{INPUT, OUTPUT};

/// Bytes of a file. An x-size detector has 270 MB; a protocol buffer cannot have more than 2 GB.
pub const MAX_BYTES: usize = 1 << 30;
/// Nodes and initializers of a graph and its subgraphs; a detector has a few hundred.
const MAX_PARTS: usize = 100_000;
/// Inputs and outputs.
const MAX_PORTS: usize = 64;
/// Dimensions of one port.
const MAX_DIMS: usize = 16;
/// Entries of `metadata_props`, and bytes of one.
const MAX_METADATA: usize = 1_000;
const MAX_METADATA_BYTES: usize = 4 << 20;
/// Graphs inside attributes inside graphs.
const MAX_DEPTH: usize = 16;

/// What a file says about itself.
#[derive(Debug, Clone, PartialEq)]
pub struct OnnxInfo {
    /// Class names by index; empty when the file names none.
    pub names: Vec<String>,
    /// Height and width that it was trained at.
    pub imgsz: Option<[usize; 2]>,
    /// Largest stride.
    pub stride: Option<usize>,
    /// Inputs without initializers.
    pub inputs: Vec<Port>,
    /// Outputs.
    pub outputs: Vec<Port>,
    /// `metadata_props` in the order of the file.
    pub metadata: Vec<(String, String)>,
    /// Version of the standard operator set.
    pub opset: i64,
    /// Who wrote it.
    pub producer: String,
}

/// An input or output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// Whether it is a float32 tensor.
    pub float: bool,
    /// Its shape.
    pub dims: Vec<Dim>,
}

/// A dimension of a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dim {
    /// A number.
    Fixed(i64),
    /// A name, or an empty one where nothing is said.
    Symbol(String),
}

/// Why a file is not taken.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// More bytes than a detector can have.
    #[error("{0} bytes are more than an ONNX file of a detector may have")]
    TooLarge(usize),
    /// Not a protocol buffer.
    #[error("not an ONNX file: {0}")]
    Wire(#[from] WireError),
    /// A part that does not decode.
    #[error("not an ONNX file: {0}")]
    Decode(#[from] prost::DecodeError),
    /// A part that must be there.
    #[error("not an ONNX file of a model: it has no {0}")]
    Missing(&'static str),
    /// More parts than a detector can have.
    #[error("more {0} than a detector may have")]
    TooMany(&'static str),
    /// A tensor whose values are in another file: the model would read whatever that path names.
    #[error("a tensor refers to another file; only files that hold all of their weights are taken")]
    ExternalData,
    /// The names cannot be read.
    #[error(transparent)]
    Names(#[from] LiteralError),
    /// It is a model, and no detector with the contract's input and output.
    #[error("not a detector that can be served: {0}")]
    Contract(String),
}

impl OnnxInfo {
    /// The value of a metadata key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.metadata.iter().find(|(own, _)| own == key).map(|(_, value)| value.as_str())
    }

    /// Whether it keeps the serving contract: one float input `images [N, 3, H, W]`, one float output
    /// `output0 [N, 4 + classes, anchors]` with as many classes as names. Returns the number of classes.
    ///
    /// # Errors
    /// What is different.
    pub fn check_contract(&self) -> Result<usize, InspectError> {
        let refuse = |reason: String| Err(InspectError::Contract(reason));
        let ([input], [output]) = (self.inputs.as_slice(), self.outputs.as_slice()) else {
            return refuse(format!("{} inputs and {} outputs, expected one each", self.inputs.len(), self.outputs.len()));
        };
        if input.name != INPUT || !input.float || !matches!(input.dims[..], [_, Dim::Fixed(3), _, _]) {
            return refuse(format!("input {input:?}, expected float32 {INPUT} [N, 3, H, W]"));
        }
        let classes = self.names.len();
        let rows_fit = match &output.dims[..] {
            [_, Dim::Fixed(rows), _] => usize::try_from(*rows) == Ok(4 + classes),
            [_, Dim::Symbol(_), _] => true,
            _ => false,
        };
        if output.name != OUTPUT || !output.float || !rows_fit || classes == 0 {
            return refuse(format!("output {output:?} with {classes} class names, expected float32 {OUTPUT} [N, 4 + classes, anchors]"));
        }
        Ok(classes)
    }
}

/// Inspects a file of at most [`MAX_BYTES`].
///
/// # Errors
/// When it is no ONNX file, out of bounds, refers to other files, or its names cannot be read.
pub fn inspect(bytes: &[u8]) -> Result<OnnxInfo, InspectError> {
    inspect_with(bytes, MAX_BYTES)
}

/// The same with another bound on the bytes.
///
/// # Errors
/// As [`inspect`].
pub fn inspect_with(bytes: &[u8], max_bytes: usize) -> Result<OnnxInfo, InspectError> {
    if bytes.len() > max_bytes {
        return Err(InspectError::TooLarge(bytes.len()));
    }
    let mut graph = None;
    let mut opset = None;
    let mut producer = String::new();
    let mut metadata = Vec::new();
    for field in fields(bytes) {
        match field? {
            (2, Value::Bytes(text)) => producer = String::from_utf8_lossy(&text[..text.len().min(256)]).into_owned(),
            // A parser merges graphs that come in pieces; what is looked at here would be the last piece only.
            (7, Value::Bytes(_)) if graph.is_some() => return Err(InspectError::TooMany("graphs")),
            (7, Value::Bytes(message)) => graph = Some(message),
            (8, Value::Bytes(message)) => {
                let import = OperatorSetIdProto::decode(message)?;
                if import.domain.is_empty() || import.domain == "ai.onnx" {
                    opset = Some(import.version);
                }
            }
            (14, Value::Bytes(message)) => {
                if metadata.len() == MAX_METADATA || message.len() > MAX_METADATA_BYTES {
                    return Err(InspectError::TooMany("metadata entries, or bytes in one,"));
                }
                let entry = StringStringEntryProto::decode(message)?;
                metadata.push((entry.key, entry.value));
            }
            _ => {}
        }
    }
    let graph = graph.ok_or(InspectError::Missing("graph"))?;
    let mut parts = 0;
    check_graph(graph, &mut parts, 0)?;
    check_functions(bytes, &mut parts)?;
    let (inputs, outputs) = ports(graph)?;
    let mut info = OnnxInfo {
        names: Vec::new(),
        imgsz: None,
        stride: None,
        inputs,
        outputs,
        metadata,
        opset: opset.ok_or(InspectError::Missing("operator set"))?,
        producer,
    };
    info.names = info.get("names").map(parse_names).transpose()?.unwrap_or_default();
    info.imgsz = info.get("imgsz").and_then(parse_size);
    info.stride = info.get("stride").and_then(|text| text.trim().parse().ok());
    Ok(info)
}

/// `[640, 640]` or `640`.
fn parse_size(text: &str) -> Option<[usize; 2]> {
    let sides: Result<Vec<usize>, _> =
        text.trim().trim_matches(['[', ']', '(', ')']).split(',').take(3).map(|side| side.trim().parse()).collect();
    match sides.ok()?[..] {
        [side] => Some([side, side]),
        [height, width] => Some([height, width]),
        _ => None,
    }
}

/// Counts nodes and tensors and refuses tensors that live in other files, in subgraphs too.
fn check_graph(graph: &[u8], parts: &mut usize, depth: usize) -> Result<(), InspectError> {
    if depth > MAX_DEPTH {
        return Err(InspectError::TooMany("graphs inside graphs"));
    }
    for field in fields(graph) {
        let (number, value) = field?;
        let Some(message) = value.bytes() else { continue };
        match number {
            1 => check_node(message, parts, depth)?,
            5 => check_tensor(message, parts)?,
            15 => check_sparse(message, parts)?,
            _ => {}
        }
    }
    Ok(())
}

/// Functions of the model's own: nodes like those of a graph, inlined when it is loaded.
fn check_functions(model: &[u8], parts: &mut usize) -> Result<(), InspectError> {
    for field in fields(model) {
        let (25, Value::Bytes(function)) = field? else { continue };
        for field in fields(function) {
            if let (7, Value::Bytes(node)) = field? {
                check_node(node, parts, 0)?;
            }
        }
    }
    Ok(())
}

fn check_node(node: &[u8], parts: &mut usize, depth: usize) -> Result<(), InspectError> {
    count(parts)?;
    for field in fields(node) {
        if let (5, Value::Bytes(attribute)) = field? {
            check_attribute(attribute, parts, depth)?;
        }
    }
    Ok(())
}

/// A sparse tensor: values (1) and indices (2) are tensors.
fn check_sparse(tensor: &[u8], parts: &mut usize) -> Result<(), InspectError> {
    for field in fields(tensor) {
        if let (1 | 2, Value::Bytes(tensor)) = field? {
            check_tensor(tensor, parts)?;
        }
    }
    Ok(())
}

fn check_attribute(attribute: &[u8], parts: &mut usize, depth: usize) -> Result<(), InspectError> {
    for field in fields(attribute) {
        match field? {
            (5 | 10, Value::Bytes(tensor)) => check_tensor(tensor, parts)?,
            (6 | 11, Value::Bytes(graph)) => check_graph(graph, parts, depth + 1)?,
            (22 | 23, Value::Bytes(tensor)) => check_sparse(tensor, parts)?,
            _ => {}
        }
    }
    Ok(())
}

fn check_tensor(tensor: &[u8], parts: &mut usize) -> Result<(), InspectError> {
    count(parts)?;
    for field in fields(tensor) {
        // external_data, or data_location = EXTERNAL; parsers take the low 32 bits of an enum
        match field? {
            (13, _) => return Err(InspectError::ExternalData),
            (14, Value::Varint(location)) if location as u32 == 1 => return Err(InspectError::ExternalData),
            _ => {}
        }
    }
    Ok(())
}

fn count(parts: &mut usize) -> Result<(), InspectError> {
    *parts += 1;
    if *parts > MAX_PARTS { Err(InspectError::TooMany("nodes and tensors")) } else { Ok(()) }
}

/// Inputs that no initializer gives a value to (old files list weights as inputs as well), and outputs.
fn ports(graph: &[u8]) -> Result<(Vec<Port>, Vec<Port>), InspectError> {
    let mut given = std::collections::HashSet::new();
    for field in fields(graph) {
        if let (5, Value::Bytes(tensor)) = field? {
            given.extend(fields(tensor).flatten().filter(|(number, _)| *number == 8).filter_map(|(_, name)| name.bytes()));
        }
    }
    let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
    for field in fields(graph) {
        let (list, message) = match field? {
            (11, Value::Bytes(message)) => (&mut inputs, message),
            (12, Value::Bytes(message)) => (&mut outputs, message),
            _ => continue,
        };
        let name = fields(message).flatten().find(|(number, _)| *number == 1).and_then(|(_, name)| name.bytes());
        if name.is_some_and(|name| given.contains(name)) {
            continue;
        }
        // 16 dimensions with names take far less than this
        if list.len() == MAX_PORTS || message.len() > 16_384 {
            return Err(InspectError::TooMany("inputs or outputs, or bytes in one,"));
        }
        list.push(port(ValueInfoProto::decode(message)?)?);
    }
    Ok((inputs, outputs))
}

fn port(info: ValueInfoProto) -> Result<Port, InspectError> {
    let tensor = info.r#type.and_then(|kind| kind.tensor_type);
    let float = tensor.as_ref().is_some_and(|tensor| tensor.elem_type == FLOAT);
    let dims = tensor.and_then(|tensor| tensor.shape).map(|shape| shape.dim).unwrap_or_default();
    if dims.len() > MAX_DIMS {
        return Err(InspectError::TooMany("dimensions"));
    }
    let dims = dims
        .into_iter()
        .map(|dim| match dim.dim_value {
            Some(value) => Dim::Fixed(value),
            None => Dim::Symbol(dim.dim_param.unwrap_or_default()),
        })
        .collect();
    Ok(Port { name: info.name, float, dims })
}
