//! What training tools write besides plain state dicts.

use half::f16;
use rstest::rstest;

use edgeloop_model::import::{Form, Imported};
use edgeloop_model::{Array, Data, Network, Scale, Weights, pt};

use super::archive::pytorch;
use super::pickle::{Pickle, module_tree, state_dict};
use super::{bounded, refused};

/// Random weights of n that are the same as halves.
fn weights(classes: usize) -> (Network, Weights) {
    let network = Network::yolov8(Scale::N, classes);
    let mut weights = Weights::new();
    for (name, array) in Weights::init(&network, 3) {
        let array = match array.data {
            Data::F32(values) => Array::f32(array.shape, values.into_iter().map(|value| f16::from_f32(value).to_f32()).collect()),
            Data::I64(_) => array,
        };
        weights.insert(name, array);
    }
    (network, weights)
}

fn names(pickle: Pickle) -> Pickle {
    // out of order, as a dict may be
    pickle.text("names").dict(|pickle| pickle.int(1).text("nut").int(0).text("bolt")).text("nc").int(2)
}

fn checkpoint(key: &str, other: impl FnOnce(Pickle) -> Pickle) -> (Network, Weights, Vec<u8>) {
    let (network, weights) = weights(2);
    let pickle = other(Pickle::new().raw(b"}(").text("epoch").int(-1).text("best_fitness").raw(b"N")).text(key);
    let (pickle, storages) = module_tree(pickle, &weights, names);
    (network, weights, pytorch(&pickle.raw(b"u").stop(), &storages))
}

#[test]
fn a_checkpoints_module_tree_is_read_with_its_names() {
    let (network, weights, bytes) = checkpoint("model", |pickle| pickle.text("ema").raw(b"N"));
    let Imported { form, network: found, weights: read, names, fits, notes } = bounded(bytes).unwrap();
    assert_eq!((found, fits), (network, 355));
    assert_eq!(read, weights, "halves are widened exactly");
    assert_eq!(names, Some(vec!["bolt".to_owned(), "nut".to_owned()]));
    assert!(notes.is_empty(), "{notes:?}");
    assert_eq!(form.to_string(), "a pickled model (ultralytics.nn.tasks.DetectionModel) under \"model\"");
}

#[test]
fn the_average_of_a_training_is_taken_before_its_last_state() {
    // "model" is a module that could not be read; "ema" can
    let (_, weights, bytes) = checkpoint("ema", |pickle| {
        pickle
            .text("model")
            .object("ultralytics.nn.tasks", "DetectionModel", |pickle| pickle)
            .text("optimizer")
            .dict(|pickle| pickle.int(1).raw(b"]"))
    });
    let imported = bounded(bytes).unwrap();
    assert_eq!(imported.weights, weights);
    assert!(matches!(imported.form, Form::Pt(pt::Form::ModuleTree { ref key, .. }) if key == "ema"));
}

#[rstest]
#[case::by_lightning_and_others("state_dict")]
#[case::by_hand("model")]
fn a_state_dict_inside_a_dict_is_found(#[case] key: &str) {
    let (_, weights) = weights(1);
    let (pickle, storages) = state_dict(Pickle::new().raw(b"}(").text("epoch").int(3).text(key), &weights);
    let pickle = pickle.raw(b"u").stop();
    let imported = bounded(pytorch(&pickle, &storages)).unwrap();
    assert_eq!(imported.weights, weights);
    assert_eq!(imported.form.to_string(), format!("a state dict under {key:?}"));
    assert_eq!(imported.names, None);
}

#[test]
fn attributes_of_every_harmless_kind_are_passed_over() {
    let (_, weights) = weights(2);
    let more = |pickle: Pickle| {
        let pickle = names(pickle).text("args").call("ultralytics.utils", "IterableSimpleNamespace", |pickle| pickle);
        let pickle = pickle.dict(|pickle| pickle.text("lr0").raw(b"G?\x84z\xe1G\xae\x14{").text("time").raw(b"N")).raw(b"b");
        let pickle = pickle.text("save_dir").call("pathlib", "PosixPath", |pickle| pickle.text("runs").text("train"));
        let pickle = pickle.text("stride").tensor("FloatStorage", "0", 3, 0, &[3], &[1]);
        let pickle = pickle.text("dtype").global("torch", "float16").text("device").call("torch", "device", |pickle| pickle.text("cpu"));
        let pickle =
            pickle.text("act").global("torch.nn.functional", "silu").text("shapes").call("torch", "Size", |pickle| pickle.raw(b"(K\x01t"));
        pickle.text("fitness").call("numpy.core.multiarray", "scalar", |pickle| {
            let pickle = pickle
                .call("numpy", "dtype", |pickle| pickle.text("f8").raw(b"\x89\x88"))
                .raw(b"(K\x03")
                .text("<")
                .raw(b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb");
            pickle.call("_codecs", "encode", |pickle| pickle.text("\0").text("latin1"))
        })
    };
    let (pickle, storages) = module_tree(Pickle::new(), &weights, more);
    let imported = bounded(pytorch(&pickle.stop(), &storages)).unwrap();
    assert_eq!(imported.weights, weights);
    assert_eq!(imported.form.to_string(), "a pickled model (ultralytics.nn.tasks.DetectionModel)");
}

#[test]
fn a_model_without_weights_and_other_content_are_refused_in_words() {
    let empty = Pickle::new().object("ultralytics.nn.tasks", "DetectionModel", |pickle| pickle.text("yaml").raw(b"}")).stop();
    assert!(refused(pytorch(&empty, &[])).contains("no module"));
    let bare = Pickle::new().global("ultralytics.nn.tasks", "DetectionModel").raw(b")\x81").stop();
    assert!(refused(pytorch(&bare, &[])).contains("without attributes"));
    let metrics = Pickle::new().dict(|pickle| pickle.text("epoch").int(3).text("loss").raw(b"G\0\0\0\0\0\0\0\0")).stop();
    assert!(refused(pytorch(&metrics, &[])).contains("\"epoch\" is an integer"));
}

#[test]
fn a_checkpoint_that_is_cut_anywhere_is_refused() {
    let (_, _, bytes) = checkpoint("model", |pickle| pickle);
    for part in 0..50 {
        refused(bytes[..bytes.len() * part / 50].to_vec());
    }
    refused(bytes[..bytes.len() - 1].to_vec());
    assert!(bounded(bytes).is_ok());
}
