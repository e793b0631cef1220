//! Files of PyTorch's and of our own, and files that try something.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::{Array, Network, Scale};

/// Made by PyTorch 2.13.0:
/// ```python
/// layer = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 2), torch.nn.BatchNorm2d(3))
/// with torch.no_grad():
///     for parameter in layer.parameters():
///         parameter.copy_(torch.arange(parameter.numel(), dtype=torch.float32).reshape(parameter.shape) / 8)
/// state = layer.state_dict()  # an OrderedDict with an attribute, _metadata
/// base = torch.arange(24, dtype=torch.float32).reshape(1, 2, 3, 4)
/// state["channels_last"] = base.to(memory_format=torch.channels_last)
/// state["view"] = base[0, 1, 1:, ::2]
/// state["expanded"] = torch.tensor([7.0]).expand(2, 3)
/// state["empty"] = torch.zeros(0, 4)
/// for dtype in [torch.float64, torch.float16, torch.bfloat16, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool]:
///     state[str(dtype).removeprefix("torch.")] = torch.tensor([1, 0, 3], dtype=dtype)
/// state["parameter"] = torch.nn.Parameter(torch.tensor([2.5]))
/// torch.save(state, "state_dict.pt")
/// ```
const FROM_TORCH: &[u8] = include_bytes!("../../tests/data/state_dict.pt");

#[test]
fn what_pytorch_writes_is_read() {
    let weights = read(FROM_TORCH, &Limits::default()).unwrap();
    let get = |name: &str| weights.get(name).unwrap_or_else(|| panic!("{name}")).clone();
    let eighths = |n: usize| (0..n).map(|i| i as f32 / 8.0).collect::<Vec<_>>();
    assert_eq!(get("0.weight"), Array::f32([3, 2, 2, 2], eighths(24)));
    assert_eq!(get("1.bias"), Array::f32([3], eighths(3)));
    assert_eq!(get("1.num_batches_tracked"), Array::i64([], vec![0]));
    assert_eq!(get("channels_last"), Array::f32([1, 2, 3, 4], (0..24_u8).map(f32::from).collect()));
    assert_eq!(get("view"), Array::f32([2, 2], vec![16.0, 18.0, 20.0, 22.0]));
    assert_eq!(get("expanded"), Array::f32([2, 3], vec![7.0; 6]));
    assert_eq!(get("empty"), Array::f32([0, 4], vec![]));
    for name in ["float64", "float16", "bfloat16"] {
        assert_eq!(get(name), Array::f32([3], vec![1.0, 0.0, 3.0]), "{name}");
    }
    for name in ["int32", "int16", "int8", "uint8"] {
        assert_eq!(get(name), Array::i64([3], vec![1, 0, 3]), "{name}");
    }
    assert_eq!(get("bool"), Array::i64([3], vec![1, 0, 1]));
    assert_eq!(get("parameter"), Array::f32([1], vec![2.5]));
    assert_eq!(weights.iter().next().unwrap().0, "0.weight", "the order is kept");
}

#[test]
fn a_network_round_trips_in_order_and_the_same_weights_give_the_same_bytes() {
    let network = Network::yolov8(Scale::N, 3);
    let weights = Weights::init(&network, 4);
    let bytes = write(&weights).unwrap();
    assert_eq!(bytes, write(&weights).unwrap());
    let read = read(&bytes, &Limits::default()).unwrap();
    assert_eq!(read, weights);
    assert!(read.iter().map(|(name, _)| name).eq(network.params().iter().map(|spec| spec.name.as_str())));
}

#[test]
fn a_damaged_file_is_refused() {
    let mut weights = Weights::new();
    weights.insert("a", Array::f32([64], vec![1.0; 64]));
    let bytes = write(&weights).unwrap();
    assert!(matches!(read(&bytes[..bytes.len() / 2], &Limits::default()), Err(PtError::Archive(_))));
    let ones = bytes.windows(4).position(|raw| raw == 1.0_f32.to_le_bytes()).unwrap();
    let mut flipped = bytes;
    flipped[ones] ^= 1;
    let error = read(&flipped, &Limits::default()).unwrap_err();
    assert!(matches!(error, PtError::Archive(_)), "a flipped bit must not pass as a weight: {error}");
}

#[test]
fn limits_are_kept() {
    let limit = |limits: Limits| read(FROM_TORCH, &limits).unwrap_err();
    let all = Limits::default();
    for limits in [
        Limits { max_bytes: 100, ..all.clone() },
        Limits { max_pickle_bytes: 100, ..all.clone() },
        Limits { max_tensors: 3, ..all.clone() },
        Limits { max_values: 30, ..all },
    ] {
        assert!(matches!(limit(limits.clone()), PtError::TooLarge { .. }), "{limits:?}");
    }
}

/// An archive with this pickle and one storage of 16 bytes.
fn archive(pickle: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in [("a/data.pkl", pickle), ("a/data/0", &[0; 16])] {
        zip.start_file(name, options).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn refused(pickle: &[u8]) -> String {
    read(&archive(pickle), &Limits::default()).unwrap_err().to_string()
}

/// A tensor `x` of this shape and these strides over 4 floats.
fn one_tensor(shape: &[u8], strides: &[u8]) -> Vec<u8> {
    let mut pickle = b"}X\x01\0\0\0xctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\n".to_vec();
    pickle.extend(b"X\x01\0\0\x000X\x03\0\0\0cpuK\x04tQK\x00(");
    pickle.extend(shape);
    pickle.extend(b"t(");
    pickle.extend(strides);
    pickle.extend(b"t\x89}tRs.");
    pickle
}

#[test]
fn code_is_named_and_never_called() {
    // what __reduce__ of a malicious object makes: os.system('id')
    let error = refused(b"cos\nsystem\nX\x02\0\0\0id\x85R.");
    assert!(error.contains("os.system"), "{error}");
    let error = refused(b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02id\x85R.");
    assert!(error.contains("os.system"), "{error}");
    let error = refused(b"cultralytics.nn.tasks\nDetectionModel\n)R.");
    assert!(error.contains("an object") && error.contains("state_dict"), "{error}");
}

#[rstest]
#[case::not_a_dict(b"K\x01.", "an integer")]
#[case::number_in_a_dict(b"}X\x05\0\0\0epochK\x01s.", "\"epoch\" is an integer")]
#[case::number_as_a_key(b"}K\x01K\x01s.", "an integer as a key")]
#[case::too_early(b"}X\x05\0", "too early")]
#[case::no_stop(b"}", "too early")]
#[case::empty_stack(b"0.", "empty")]
#[case::below_the_mark(b"}(s.", "above the mark")]
#[case::odd_items(b"}(K\x01u.", "without a value")]
#[case::unknown_opcode(b"\xff.", "0xff")]
#[case::unknown_protocol(b"\x80\x63}.", "protocol 99")]
#[case::empty_memo(b"h\x07.", "memo 7")]
#[case::endless_text(b"X\xff\xff\xff\xff.", "longer than any name")]
#[case::wide_integer(b"\x8a\x09\0\0\0\0\0\0\0\0\x01.", "64 bits")]
#[case::foreign_storage(b"(X\x07\0\0\0storageX\x01\0\0\0aX\x01\0\0\0aX\x01\0\0\0aK\x01tQ.", "not a storage")]
#[case::called_text(b"X\x01\0\0\0a)R.", "text is called")]
fn a_strange_pickle_is_refused(#[case] pickle: &[u8], #[case] reason: &str) {
    let error = refused(pickle);
    assert!(error.contains(reason), "{error}");
}

#[test]
fn a_tensor_stays_inside_its_storage() {
    let weights = read(&archive(&one_tensor(b"K\x02K\x02", b"K\x02K\x01")), &Limits::default()).unwrap();
    assert_eq!(weights.get("x").unwrap(), &Array::f32([2, 2], vec![0.0; 4]));
    for (shape, strides) in [(b"K\x05", b"K\x01"), (b"K\x02", b"K\x04"), (b"K\x03", b"K\x02")] {
        assert!(refused(&one_tensor(shape, strides)).contains("past the end"));
    }
    assert!(refused(&one_tensor(b"K\x02", b"K\x01K\x01")).contains("different lengths"));
    // 2³⁰ × 2³⁰ × 2³⁰ values of one stored number
    let side = b"J\x00\x00\x00\x40".repeat(3);
    assert!(refused(&one_tensor(&side, &b"K\x00".repeat(3))).contains("counted"));
    let side = b"J\x00\x00\x00\x40";
    assert!(refused(&one_tensor(side, b"K\x00")).contains("at most"));
    assert!(refused(&one_tensor(b"J\xff\xff\xff\xff", b"K\x00")).contains("below zero"));
}

#[test]
fn deep_nesting_and_cycles_end_quietly() {
    let mut deep = b")".to_vec();
    deep.extend([0x85].repeat(900_000)); // a tuple in a tuple in a tuple …
    deep.push(b'.');
    assert!(refused(&deep).contains("a tuple"));
    assert!(refused(b"]2a.").contains("a list"), "a list that contains itself");
    assert!(refused(&b"N".repeat(1_100_000)).contains("steps"));
}

#[test]
fn other_archives_are_named() {
    assert!(matches!(read(b"", &Limits::default()), Err(PtError::Archive(_))));
    let error = read(b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.", &Limits::default()).unwrap_err();
    assert!(error.to_string().contains("before 1.6"), "{error}");
}

proptest! {
    #[test]
    fn no_pickle_breaks_the_reader(pickle in prop::collection::vec(any::<u8>(), 0..100)) {
        let _ = read(&archive(&pickle), &Limits::default());
    }

    #[test]
    fn no_changed_byte_breaks_the_reader(at: prop::sample::Index, value: u8) {
        let mut bytes = FROM_TORCH.to_vec();
        let at = at.index(bytes.len());
        bytes[at] = value;
        let _ = read(&bytes, &Limits::default());
    }
}
