//! Safetensors with headers that lie.

use rstest::rstest;

use super::refused;
use edgeloop_model::{Network, Scale, Weights, safetensors};

/// A file of this header and 16 bytes of numbers.
fn file(header: &str) -> Vec<u8> {
    claiming(header.len() as u64, header)
}

fn claiming(length: u64, header: &str) -> Vec<u8> {
    [&length.to_le_bytes()[..], header.as_bytes(), &[0; 16]].concat()
}

#[test]
fn the_header_is_readable_where_it_does_not_lie() {
    let weights = safetensors::read(&file(r#"{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#)).unwrap();
    assert_eq!(weights.get("a").unwrap().as_f32().unwrap(), [0.0; 4]);
}

#[rstest]
#[case::past_the_end(r#"{"a":{"dtype":"F32","shape":[8],"data_offsets":[0,32]}}"#)]
#[case::backwards(r#"{"a":{"dtype":"F32","shape":[4],"data_offsets":[16,0]}}"#)]
#[case::below_zero(r#"{"a":{"dtype":"F32","shape":[4],"data_offsets":[-16,0]}}"#)]
#[case::another_size(r#"{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,16]}}"#)]
#[case::size_that_overflows(r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296,4],"data_offsets":[0,16]}}"#)]
#[case::size_that_wraps(r#"{"a":{"dtype":"F32","shape":[4611686018427387905,4],"data_offsets":[0,16]}}"#)]
#[case::size_of_2_to_64(r#"{"a":{"dtype":"F32","shape":[18446744073709551616],"data_offsets":[0,16]}}"#)]
#[case::overlapping(r#"{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"b":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#)]
#[case::with_a_hole(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}}"#)]
#[case::with_bytes_left(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#)]
#[case::unknown_kind(r#"{"a":{"dtype":"F99","shape":[4],"data_offsets":[0,16]}}"#)]
#[case::bytes(r#"{"a":{"dtype":"U8","shape":[16],"data_offsets":[0,16]}}"#)]
#[case::no_object("{[]}")]
#[case::cut(r#"{"a":{"dtype":"F32""#)]
#[case::empty("{}")]
#[case::metadata_of_numbers(r#"{"__metadata__":{"names":3},"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#)]
fn a_header_that_lies_is_refused(#[case] header: &str) {
    refused(file(header));
}

#[test]
fn a_header_of_any_claimed_length_is_refused() {
    let header = r#"{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#;
    for length in [0, 1, 1000, 3 << 20, 100_000_000, 1 << 40, 1 << 63, u64::MAX] {
        refused(claiming(length, header));
    }
}

#[test]
fn nesting_and_repetition_are_refused() {
    refused(file(&format!(r#"{{"a":{}"#, "[".repeat(1_000_000))));
    refused(file(&format!(r#"{{"a":{}"#, r#"{"a":"#.repeat(300_000))));
    refused(file(&format!(r#"{{"a":{{"dtype":"F32","shape":[{}1],"data_offsets":[0,16]}}}}"#, "1,".repeat(1_000_000))));
    let many: Vec<String> = (0..40_000).map(|n| format!(r#""{n}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}"#)).collect();
    refused(file(&format!("{{{}}}", many.join(","))));
    refused(file(&format!("{{{}", " ".repeat(4 << 20))));
    let names: Vec<String> = (0..20_000).map(|n| format!(r#""{n}":"{n}""#)).collect();
    refused(file(&format!(r#"{{"__metadata__":{{{}}},"a":{{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}}}"#, names.join(","))));
}

#[test]
fn a_file_that_is_cut_anywhere_is_refused() {
    let bytes = safetensors::write(&Weights::init(&Network::yolov8(Scale::N, 1), 0), &[]).unwrap();
    for part in 0..50 {
        refused(bytes[..bytes.len() * part / 50].to_vec());
    }
    refused(bytes[..bytes.len() - 1].to_vec());
}
