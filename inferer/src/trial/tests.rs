#![allow(clippy::unwrap_used)]
use super::*;
use crate::engines::check::Sizes;
use proptest::prelude::*;
use rstest::rstest;

fn check(n: usize) -> CheckSet {
    let sizes: Sizes = serde_json::from_value(serde_json::json!({"n": n, "side": 32, "rows": 6, "anchors": 21})).unwrap();
    let [images, outputs] = sizes.values().unwrap();
    let values = |count: usize| (0..count).map(|v| v as f32 / 7.0).collect::<Vec<_>>();
    CheckSet::from_parts(sizes, values(images), values(outputs)).unwrap()
}

fn sent(candidate: &Candidate<'_>, header: &Header) -> Vec<u8> {
    let mut bytes = frame::head(header).unwrap();
    frame::give(candidate, &mut bytes).unwrap();
    bytes
}

#[test]
fn what_is_sent_is_what_is_read() {
    let check = check(2);
    let candidate = Candidate { kind: Kind::SAFE, threads: 2, shapes: &[Shape { height: 32, width: 64 }], onnx: b"a model", check: &check };
    let bytes = sent(&candidate, &Header::new(&candidate, 1 << 30, 17));
    let mut rest = bytes.as_slice();
    let header = Header::read(&mut rest).unwrap();
    assert_eq!(
        (header.kind, header.threads, &*header.shapes, header.memory, header.seconds),
        (Kind::SAFE, 2, candidate.shapes, 1 << 30, 17)
    );
    let (onnx, read) = header.read_files(&mut rest).unwrap();
    assert_eq!((onnx.as_slice(), read.parts(), rest.len()), (candidate.onnx, check.parts(), 0));
    for cut in [0, 5, 20, bytes.len() - 1] {
        let mut short = &bytes[..cut];
        assert!(Header::read(&mut short).and_then(|header| header.read_files(&mut short)).is_err(), "cut at {cut}");
    }
}

proptest! {
    /// The parent may be of another version than its child while a box is being updated.
    #[test]
    fn no_bytes_break_the_reading(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut rest = bytes.as_slice();
        if let Ok(header) = Header::read(&mut rest) {
            let _ = header.read_files(&mut rest);
        }
    }
}

/// A gibibyte.
const GIB: u64 = 1 << 30;

#[rstest]
#[case::no_cgroup(None, 100 << 20, 500 << 20, 700 << 20)]
#[case::room_enough(Some(8 * GIB), 100 << 20, 500 << 20, 700 << 20)]
#[case::what_is_left(Some(GIB), 700 << 20, 324 << 20, 324 << 20)]
#[case::nothing_left(Some(GIB), 2 * GIB, 64 << 20, 64 << 20)]
fn memory_is_reckoned_from_the_model_and_never_more_than_is_left(
    #[case] limit: Option<u64>,
    #[case] own: u64,
    #[case] least: u64,
    #[case] most: u64,
) {
    let (check, onnx) = (check(4), vec![0; 12 << 20]);
    let candidate = Candidate { kind: Kind::SAFE, threads: 2, shapes: &[Shape::square(64)], onnx: &onnx, check: &check };
    let memory = memory_for(&candidate, limit, own);
    assert!((least..=most).contains(&memory), "{memory}");
}

#[test]
fn how_a_child_ended_is_said_in_words() {
    for (raw, words) in [(6, "crashed (signal 6)"), (9, "memory ran out"), (24, "CPU time"), (3 << 8, "exit code 3")] {
        assert!(describe(Some(ExitStatus::from_raw(raw))).contains(words), "{}", describe(Some(ExitStatus::from_raw(raw))));
    }
    assert!(describe(None).contains("did not stop"));
    let crashed = TrialError::Crashed { how: "crashed (signal 6)".into(), said: "terminate called".into() };
    assert_eq!(crashed.to_string(), "the process that tried it crashed (signal 6); its last words: terminate called");
}
