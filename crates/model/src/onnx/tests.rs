//! What is written, read back.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::sync::LazyLock;

use proptest::prelude::*;
use prost::Message;

use super::proto::{GraphProto, ModelProto, OperatorSetIdProto, TensorProto};
use super::*;
use crate::{Network, Scale, Weights};

fn meta(names: &[&str]) -> OnnxMeta {
    OnnxMeta {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        imgsz: 320,
        stride: 32,
        extra: vec![("version".into(), "20261121_030000".into()), ("task".into(), "other".into())],
    }
}

fn tiny() -> Vec<u8> {
    let network = Network::yolov8(Scale::N, 2);
    emit(&network, &Weights::init(&network, 0), &meta(&["6' nut", "größe"])).unwrap()
}

/// The same file without the values of its weights: small enough to be broken at every place.
static WITHOUT_VALUES: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut model = ModelProto::decode(tiny().as_slice()).unwrap();
    for tensor in &mut model.graph.as_mut().unwrap().initializer {
        tensor.raw_data.clear();
    }
    model.encode_to_vec()
});

#[test]
fn a_file_says_what_was_put_into_it() {
    let info = inspect(&tiny()).unwrap();
    assert_eq!(info.names, ["6' nut", "größe"]);
    assert_eq!((info.imgsz, info.stride, info.opset), (Some([320, 320]), Some(32), 17));
    assert_eq!(info.get("version"), Some("20261121_030000"));
    assert_eq!(info.get("task"), Some("detect"), "what the file needs is not overwritten");
    assert_eq!(info.metadata.iter().filter(|(key, _)| key == "task").count(), 1);
    let symbol = |name: &str| Dim::Symbol(name.to_owned());
    assert_eq!(info.inputs[0].dims, [symbol("batch"), Dim::Fixed(3), symbol("height"), symbol("width")]);
    assert_eq!(info.outputs[0].dims, [symbol("batch"), Dim::Fixed(6), symbol("anchors")]);
    assert_eq!(info.check_contract().unwrap(), 2);
}

#[test]
fn names_and_weights_must_fit_the_network() {
    let network = Network::yolov8(Scale::N, 2);
    let weights = Weights::init(&network, 0);
    assert!(matches!(emit(&network, &weights, &meta(&["a"])), Err(EmitError::Names { names: 1, classes: 2 })));
    let other = Network::yolov8(Scale::N, 1);
    assert!(matches!(emit(&other, &weights, &meta(&["a"])), Err(EmitError::Weights(_))));
}

/// A field that holds bytes.
fn field(number: u64, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    prost::encoding::encode_varint(number << 3 | 2, &mut out);
    prost::encoding::encode_varint(content.len() as u64, &mut out);
    out.extend(content);
    out
}

#[test]
fn a_tensor_in_another_file_is_refused_wherever_it_stands() {
    let named = TensorProto { name: "w".into(), ..Default::default() }.encode_to_vec();
    // field 14 (data_location) = 1 (EXTERNAL), once as it is written and once with bits that an enum does not have
    let tensors = [[&named[..], &[14 << 3, 1]].concat(), [&named[..], &[14 << 3, 0x81, 0x80, 0x80, 0x80, 0x10]].concat(), {
        let mut tensor = named.clone();
        tensor.extend(field(13, b""));
        tensor
    }];
    for tensor in &tensors {
        let node = |attribute: Vec<u8>| field(1, &field(5, &attribute));
        let graphs = [
            field(5, tensor),
            field(15, &field(1, tensor)),
            node(field(5, tensor)),
            node(field(10, tensor)),
            node(field(22, &field(2, tensor))),
            node(field(6, &node(field(5, tensor)))),
            node(field(11, &field(5, tensor))),
        ];
        for graph in &graphs {
            assert!(matches!(inspect(&field(7, graph)), Err(InspectError::ExternalData)), "{graph:?}");
        }
        let function = field(25, &field(7, &field(5, &field(5, tensor))));
        let model = [field(7, b""), function].concat();
        assert!(matches!(inspect(&model), Err(InspectError::ExternalData)));
    }
    // What is not EXTERNAL is fine, and then the operator set is what is missing.
    let tensor = [&named[..], &[14 << 3, 0]].concat();
    assert!(matches!(inspect(&field(7, &field(5, &tensor))), Err(InspectError::Missing("operator set"))));
}

#[test]
fn a_graph_in_two_pieces_is_refused_because_parsers_would_merge_them() {
    let twice = [tiny(), field(7, b"")].concat();
    assert!(matches!(inspect(&twice), Err(InspectError::TooMany("graphs"))));
}

#[test]
fn bounds_are_kept() {
    let bytes = tiny();
    assert!(matches!(inspect_with(&bytes, 1_000), Err(InspectError::TooLarge(_))));
    // 200,000 empty nodes take 400 kB: a decoder would make 30 MB of structs from them
    let graph: Vec<u8> = [1 << 3 | 2, 0].repeat(200_000);
    let mut model = vec![7 << 3 | 2];
    prost::encoding::encode_varint(graph.len() as u64, &mut model);
    model.extend(graph);
    assert!(matches!(inspect(&model), Err(InspectError::TooMany(_))));
}

#[test]
fn a_model_that_is_no_detector_breaks_the_contract() {
    let mut model = ModelProto::decode(tiny().as_slice()).unwrap();
    model.graph.as_mut().unwrap().output[0].name = "logits".into();
    let info = inspect(&model.encode_to_vec()).unwrap();
    assert!(info.check_contract().unwrap_err().to_string().contains("logits"));
    let empty = ModelProto {
        graph: Some(GraphProto::default()),
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: 17 }],
        ..Default::default()
    };
    assert!(inspect(&empty.encode_to_vec()).unwrap().check_contract().is_err());
    assert!(matches!(inspect(b""), Err(InspectError::Missing("graph"))));
    assert!(matches!(inspect(b"<html>"), Err(InspectError::Wire(_))));
}

proptest! {
    #[test]
    fn no_bytes_break_the_inspection(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = inspect(&bytes);
    }

    #[test]
    fn no_changed_byte_breaks_the_inspection(at: prop::sample::Index, value: u8) {
        let mut bytes = WITHOUT_VALUES.clone();
        let at = at.index(bytes.len());
        bytes[at] = value;
        let _ = inspect(&bytes);
    }
}
