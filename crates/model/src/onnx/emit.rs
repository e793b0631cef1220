//! The ONNX emitter.

use prost::Message;

use super::decode::decode;
use super::fold::folded;
use super::graph::{Attr, Edge, Graph, float_port};
use super::literal::write_names;
use super::proto::{IR_VERSION, ModelProto, OperatorSetIdProto, StringStringEntryProto};
use super::{INPUT, OPSET, OUTPUT, OnnxMeta};
use crate::network::{Conv, Network};
use crate::walk::{Emitter, walk};
use crate::weights::{Mismatches, Weights};

/// Why no file could be written.
#[derive(Debug, thiserror::Error)]
pub enum EmitError {
    /// The weights are another network's.
    #[error(transparent)]
    Weights(#[from] Mismatches),
    /// A name for every class, and no more.
    #[error("{names} class names for a network of {classes} classes: give exactly one for each")]
    Names {
        /// Names given.
        names: usize,
        /// Classes of the network.
        classes: usize,
    },
    /// A convolution's arrays vanished between check and use.
    #[error("the arrays of {0} are not those that were checked")]
    Conv(String),
}

/// Writes the network as ONNX, norms folded.
///
/// # Errors
/// When the weights or the names do not fit the network.
pub fn emit(network: &Network, weights: &Weights, meta: &OnnxMeta) -> Result<Vec<u8>, EmitError> {
    weights.check(network)?;
    if meta.names.len() != network.classes {
        return Err(EmitError::Names { names: meta.names.len(), classes: network.classes });
    }
    let mut emitter = OnnxEmitter { graph: Graph::default(), weights };
    let levels = walk(network, &mut emitter, INPUT.to_owned())?;
    let mut graph = emitter.graph;
    decode(&mut graph, network, &levels);
    let rows = (4 + network.classes).to_string();
    let model = ModelProto {
        ir_version: IR_VERSION,
        producer_name: "edgeloop".to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        graph: Some(graph.finish(
            &format!("yolov8{}", network.scale),
            float_port(INPUT, &["batch", "3", "height", "width"]),
            float_port(OUTPUT, &["batch", &rows, "anchors"]),
        )),
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPSET }],
        metadata_props: metadata(network, meta),
    };
    Ok(model.encode_to_vec())
}

/// The keys that the ecosystem's tools look for, written as they write them: Python literals.
fn metadata(network: &Network, meta: &OnnxMeta) -> Vec<StringStringEntryProto> {
    let side = meta.imgsz;
    let ours = [
        ("description", format!("YOLOv8{} detector", network.scale)),
        ("task", "detect".to_owned()),
        ("stride", meta.stride.to_string()),
        ("batch", "1".to_owned()),
        ("imgsz", format!("[{side}, {side}]")),
        ("names", write_names(&meta.names)),
        ("channels", "3".to_owned()),
        ("args", "{'batch': 1, 'half': False, 'int8': False, 'dynamic': True, 'nms': False}".to_owned()),
    ];
    let extra = meta.extra.iter().filter(|(key, _)| ours.iter().all(|(own, _)| own != key)).cloned();
    let own = ours.iter().map(|(key, value)| ((*key).to_owned(), value.clone()));
    own.chain(extra).map(|(key, value)| StringStringEntryProto { key, value }).collect()
}

struct OnnxEmitter<'a> {
    graph: Graph,
    weights: &'a Weights,
}

impl Emitter for OnnxEmitter<'_> {
    type Value = Edge;
    type Error = EmitError;

    fn conv(&mut self, conv: &Conv, x: &Edge) -> Result<Edge, EmitError> {
        let name = &conv.name;
        let (kernel, bias) = folded(conv, self.weights).ok_or_else(|| EmitError::Conv(name.clone()))?;
        let shape = [conv.outputs, conv.inputs, conv.kernel, conv.kernel];
        let stem = if conv.norm { format!("{name}.conv") } else { name.clone() };
        let weight = self.graph.floats(format!("{stem}.weight"), &shape, &kernel);
        let bias = self.graph.floats(format!("{stem}.bias"), &[conv.outputs], &bias);
        let (side, step, pad) = (conv.kernel as i64, conv.stride as i64, (conv.kernel / 2) as i64);
        let attrs = [
            Attr::Ints("dilations", &[1, 1]),
            Attr::Int("group", 1),
            Attr::Ints("kernel_shape", &[side, side]),
            Attr::Ints("pads", &[pad; 4]),
            Attr::Ints("strides", &[step, step]),
        ];
        let y = self.graph.node(&stem, "Conv", &[x, &weight, &bias], &attrs);
        if !conv.norm {
            return Ok(y);
        }
        let gate = self.graph.node(&format!("{name}.act"), "Sigmoid", &[&y], &[]);
        Ok(self.graph.node(&format!("{name}.act"), "Mul", &[&y, &gate], &[]))
    }

    fn max_pool(&mut self, x: &Edge, window: usize) -> Result<Edge, EmitError> {
        let (side, pad) = (window as i64, (window / 2) as i64);
        let attrs = [Attr::Ints("kernel_shape", &[side, side]), Attr::Ints("pads", &[pad; 4]), Attr::Ints("strides", &[1, 1])];
        Ok(self.graph.node("pool", "MaxPool", &[x], &attrs))
    }

    fn upsample(&mut self, x: &Edge, factor: usize) -> Result<Edge, EmitError> {
        let times = factor as f32;
        let scales = self.graph.floats(format!("scales_{factor}"), &[4], &[1.0, 1.0, times, times]);
        let attrs = [
            Attr::Text("coordinate_transformation_mode", "asymmetric"),
            Attr::Text("mode", "nearest"),
            Attr::Text("nearest_mode", "floor"),
        ];
        Ok(self.graph.node("upsample", "Resize", &[x, "", &scales], &attrs))
    }

    fn concat(&mut self, parts: &[&Edge]) -> Result<Edge, EmitError> {
        let parts: Vec<&str> = parts.iter().map(|part| part.as_str()).collect();
        Ok(self.graph.node("concat", "Concat", &parts, &[Attr::Int("axis", 1)]))
    }

    fn channels(&mut self, x: &Edge, start: usize, len: usize) -> Result<Edge, EmitError> {
        let (from, to) = (self.graph.list(&[start as i64]), self.graph.list(&[(start + len) as i64]));
        let axis = self.graph.list(&[1]);
        Ok(self.graph.node("channels", "Slice", &[x, &from, &to, &axis], &[]))
    }

    fn add(&mut self, a: Edge, b: &Edge) -> Result<Edge, EmitError> {
        Ok(self.graph.node("shortcut", "Add", &[&a, b], &[]))
    }
}
