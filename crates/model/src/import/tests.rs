//! Files in every form, and files of something else.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use rstest::rstest;

use super::*;
use crate::{Data, Scale};

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

/// Weights of `network` under other names.
fn renamed(weights: &Weights, name: impl Fn(&str) -> Option<String>) -> Weights {
    let mut other = Weights::new();
    for (old, array) in weights.iter() {
        if let Some(new) = name(old) {
            other.insert(new, array.clone());
        }
    }
    other
}

#[rstest]
fn every_scale_is_recognised_by_its_shapes(
    #[values(Scale::N, Scale::S, Scale::M, Scale::L, Scale::X)] scale: Scale,
    #[values(false, true)] safetensors: bool,
) {
    let network = Network::yolov8(scale, 2);
    // zeros: the shapes are what is read, and random numbers for 68 million values take seconds
    let mut weights = Weights::new();
    for spec in network.params() {
        let len = spec.len();
        let array = match spec.role {
            Role::NumBatches => Array::i64([], vec![3]),
            Role::Fixed => Array::f32(spec.shape, (0..len).map(|bin| bin as f32).collect()),
            _ => Array::f32(spec.shape, vec![0.5; len]),
        };
        weights.insert(spec.name, array);
    }
    let bytes = if safetensors { crate::safetensors::write(&weights, &[]).unwrap() } else { pt::write(&weights).unwrap() };
    let imported = import(&bytes).unwrap();
    assert_eq!(imported.network, network);
    assert_eq!(imported.weights, weights);
    assert_eq!((imported.fits, imported.notes, imported.names), (weights.len(), vec![], None));
}

#[test]
fn safetensors_carry_their_names() {
    let network = Network::yolov8_with_class_width(Scale::N, 2, 80);
    let weights = Weights::init(&network, 1);
    let bytes = safetensors::write(&weights, &[(NAMES_KEY, "{0: 'bolt', 1: \"6' nut\"}")]).unwrap();
    let imported = import(&bytes).unwrap();
    assert_eq!(imported.names, Some(names(&["bolt", "6' nut"])));
    assert_eq!(imported.network, network, "the width of the class branch shows in the shapes");
    assert_eq!(imported.form.to_string(), "a safetensors file");
    // names that cannot be those of the classes are said to be unused
    for wrong in ["{0: 'bolt'}", "['a', 'a']"] {
        let imported = import(&safetensors::write(&weights, &[(NAMES_KEY, wrong)]).unwrap()).unwrap();
        assert_eq!(imported.names, None);
        assert!(imported.notes[0].contains("class names are not used"), "{:?}", imported.notes);
    }
}

#[test]
fn wrappers_put_names_before_and_bare_lists_have_none() {
    let network = Network::yolov8(Scale::N, 1);
    let weights = Weights::init(&network, 1);
    for prefix in ["module.model.", "model.model.", "", "net."] {
        let other = renamed(&weights, |name| Some(name.replacen("model.", prefix, 1)));
        let imported = import(&pt::write(&other).unwrap()).unwrap();
        assert_eq!(imported.weights, weights, "{prefix}");
        assert!(imported.notes.is_empty());
    }
}

#[test]
fn what_does_not_belong_is_left_out_and_what_follows_is_filled_in() {
    let network = Network::yolov8(Scale::N, 1);
    let weights = Weights::init(&network, 1);
    let mut other = renamed(&weights, |name| (!name.ends_with("num_batches_tracked") && !name.contains("dfl")).then(|| name.to_owned()));
    other.insert("model.22.proto.cv1.conv.weight", Array::f32([1], vec![1.0]));
    let imported = import(&pt::write(&other).unwrap()).unwrap();
    assert_eq!(imported.weights, weights);
    assert_eq!(imported.fits, other.len() - 1);
    assert!(imported.notes[0].contains("model.22.proto"), "{:?}", imported.notes);
    assert!(imported.notes[1].contains("58 counters and constants"), "{:?}", imported.notes);
}

#[test]
fn other_weights_are_refused_in_words() {
    let network = Network::yolov8(Scale::N, 1);
    let weights = Weights::init(&network, 1);
    let refused = |weights: &Weights| import(&pt::write(weights).unwrap()).unwrap_err().to_string();
    // folded norms
    let fused = renamed(&weights, |name| Some(name.replace(".bn.bias", ".conv.bias")).filter(|name| !name.contains(".bn.")));
    assert!(refused(&fused).contains("folded"), "{}", refused(&fused));
    // a part of a detector
    let cut = renamed(&weights, |name| (!name.starts_with("model.9.")).then(|| name.to_owned()));
    assert!(refused(&cut).contains("model.9.cv1.conv.weight"), "{}", refused(&cut));
    // a shape of another network
    let mut bent = weights.clone();
    bent.insert("model.9.cv1.bn.weight", Array::f32([1], vec![1.0]));
    assert!(refused(&bent).contains("expected [128]"), "{}", refused(&bent));
    // what a training that diverged leaves behind
    let mut broken = weights.clone();
    let Data::F32(values) = &mut broken.get_mut("model.0.conv.weight").unwrap().data else { panic!() };
    values[7] = f32::NAN;
    assert!(refused(&broken).contains("not finite"), "{}", refused(&broken));
}

#[test]
fn other_files_are_refused_in_words() {
    let refused = |bytes: &[u8]| import(bytes).unwrap_err().to_string();
    let network = Network::yolov8(Scale::N, 1);
    let meta = onnx::OnnxMeta { names: names(&["bolt"]), imgsz: 640, stride: 32, extra: vec![] };
    assert!(refused(&onnx::emit(&network, &Weights::init(&network, 0), &meta).unwrap()).contains("ONNX"));
    assert!(refused(b"").contains("empty"));
    assert!(refused(b"\x89PNG\r\n\x1a\n....").contains("neither"));
    assert!(refused(b"\x80\x02}.").contains("before 1.6"));
    assert!(refused(b"PK\x03\x04").contains("damaged"));
}
