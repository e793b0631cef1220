//! A graph under construction: nodes are appended in order of evaluation, edges are names.

use super::proto::{
    AttributeProto, DimensionProto, FLOAT, GraphProto, INT64, NodeProto, TensorProto, TensorShapeProto, TensorTypeProto, TypeProto,
    ValueInfoProto,
};

/// Name of an edge.
pub(super) type Edge = String;

/// An attribute of a node.
pub(super) enum Attr<'a> {
    Int(&'a str, i64),
    Ints(&'a str, &'a [i64]),
    Text(&'a str, &'a str),
}

#[derive(Default)]
pub(super) struct Graph {
    nodes: Vec<NodeProto>,
    initializers: Vec<TensorProto>,
}

impl Graph {
    /// Appends a node with one output; `scope` is where it comes from, as `model.0.conv`.
    pub fn node(&mut self, scope: &str, op: &str, inputs: &[&str], attrs: &[Attr<'_>]) -> Edge {
        let edge = format!("/{scope}/{op}_{}", self.nodes.len());
        self.named_node(&edge, op, inputs, attrs, vec![format!("{edge}_output_0")])
    }

    /// Appends a node whose output has a name of its own: an output of the graph.
    pub fn output_node(&mut self, output: &str, op: &str, inputs: &[&str], attrs: &[Attr<'_>]) {
        self.named_node(&format!("/{output}"), op, inputs, attrs, vec![output.to_owned()]);
    }

    fn named_node(&mut self, name: &str, op: &str, inputs: &[&str], attrs: &[Attr<'_>], output: Vec<String>) -> Edge {
        let edge = output[0].clone();
        self.nodes.push(NodeProto {
            input: inputs.iter().map(|&input| input.to_owned()).collect(),
            output,
            name: name.to_owned(),
            op_type: op.to_owned(),
            attribute: attrs.iter().map(attribute).collect(),
        });
        edge
    }

    /// A float constant; its name must tell it from others.
    pub fn floats(&mut self, name: impl Into<Edge>, shape: &[usize], data: &[f32]) -> Edge {
        let raw = data.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.initializer(name.into(), shape, FLOAT, raw)
    }

    /// An integer constant. Shape `[]` for a scalar, `[n]` otherwise.
    pub fn ints(&mut self, shape: &[usize], data: &[i64]) -> Edge {
        let values: Vec<String> = data.iter().map(i64::to_string).collect();
        let kind = if shape.is_empty() { "int" } else { "ints" };
        let name = format!("{kind}_{}", values.join("_"));
        let raw = data.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.initializer(name, shape, INT64, raw)
    }

    /// Integers `[n]`.
    pub fn list(&mut self, data: &[i64]) -> Edge {
        self.ints(&[data.len()], data)
    }

    /// A name stands for one content: the same one twice is kept once.
    fn initializer(&mut self, name: Edge, shape: &[usize], data_type: i32, raw_data: Vec<u8>) -> Edge {
        if self.initializers.iter().any(|tensor| tensor.name == name) {
            return name;
        }
        let dims = shape.iter().map(|&side| side as i64).collect();
        self.initializers.push(TensorProto { dims, data_type, name: name.clone(), raw_data });
        name
    }

    /// The finished graph.
    pub fn finish(self, name: &str, input: ValueInfoProto, output: ValueInfoProto) -> GraphProto {
        GraphProto { node: self.nodes, name: name.to_owned(), initializer: self.initializers, input: vec![input], output: vec![output] }
    }
}

fn attribute(attr: &Attr<'_>) -> AttributeProto {
    // AttributeProto.AttributeType: INT 2, STRING 3, INTS 7
    match *attr {
        Attr::Int(name, value) => AttributeProto { name: name.into(), i: Some(value), kind: 2, ..Default::default() },
        Attr::Text(name, value) => AttributeProto { name: name.into(), s: Some(value.into()), kind: 3, ..Default::default() },
        Attr::Ints(name, values) => AttributeProto { name: name.into(), ints: values.to_vec(), kind: 7, ..Default::default() },
    }
}

/// A float tensor at the edge of the graph; a dimension is a number or a name.
pub(super) fn float_port(name: &str, dims: &[&str]) -> ValueInfoProto {
    let dim = dims
        .iter()
        .map(|text| match text.parse::<i64>() {
            Ok(value) => DimensionProto { dim_value: Some(value), dim_param: None },
            Err(_) => DimensionProto { dim_value: None, dim_param: Some((*text).to_owned()) },
        })
        .collect();
    let tensor = TensorTypeProto { elem_type: FLOAT, shape: Some(TensorShapeProto { dim }) };
    ValueInfoProto { name: name.to_owned(), r#type: Some(TypeProto { tensor_type: Some(tensor) }) }
}
