#![allow(clippy::unwrap_used)]
use super::*;
use crate::engines::check::Sizes;
use proptest::prelude::*;
use rstest::rstest;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

fn check(n: usize) -> CheckSet {
    let sizes: Sizes = serde_json::from_value(serde_json::json!({"n": n, "side": 32, "rows": 6, "anchors": 21})).unwrap();
    let [images, outputs] = sizes.values().unwrap();
    let values = |count: usize| (0..count).map(|v| v as f32 / 7.0).collect::<Vec<_>>();
    CheckSet::from_parts(sizes, values(images), values(outputs)).unwrap()
}

fn file(bytes: &[u8]) -> File {
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(bytes, 0).unwrap();
    file
}

#[test]
fn what_is_sent_is_what_is_read() {
    let check = check(2);
    let candidate = Candidate { kind: Kind::SAFE, threads: 2, shapes: &[Shape { height: 32, width: 64 }], onnx: b"a model" };
    let header = Header::new(&candidate, 1 << 30, 17);
    let given = file(candidate.onnx);
    header.write_check(&check, &given).unwrap();
    let (bytes, sizes) = (frame::head(&header).unwrap(), check.parts().0);
    let read: Header = frame::read_head(&mut bytes.as_slice()).unwrap();
    assert_eq!(read, header);
    assert_eq!((read.kind, read.threads, &*read.shapes, read.memory, read.seconds), (Kind::SAFE, 2, candidate.shapes, 1 << 30, 17));
    assert_eq!(read.read_onnx(&given).unwrap(), candidate.onnx);
    assert_eq!(read.read_check(sizes, &given).unwrap().parts(), check.parts());
    for cut in [0, 5, 20, bytes.len() - 1] {
        assert!(frame::read_head::<Header>(&mut &bytes[..cut]).is_err(), "cut at {cut}");
    }
    for cut in [0, 3, candidate.onnx.len(), given.metadata().unwrap().len() as usize - 1] {
        given.set_len(cut as u64).unwrap();
        assert!(read.read_onnx(&given).and_then(|_| read.read_check(sizes, &given)).is_err(), "cut at {cut}");
        header.write_check(&check, &given).unwrap();
        given.write_all_at(candidate.onnx, 0).unwrap();
    }
}

#[test]
fn two_verdicts_that_come_at_once_are_told_apart() {
    let (socket, mut theirs) = UnixStream::pair().unwrap();
    let mut trial = Trial {
        child: None,
        socket,
        given: file(b""),
        printed: file(b""),
        header: None,
        said: Vec::new(),
        until: Instant::now(),
        timeout: Duration::from_secs(10),
        memory: None,
        shutdown: Shutdown::new(),
    };
    frame::tell(&Verdict::Loaded, &mut theirs).unwrap();
    frame::tell(&Verdict::Check("another answer".into()), &mut theirs).unwrap();
    drop(theirs);
    assert_eq!(trial.verdict(Verdict::Loaded).unwrap(), Ok(()));
    assert_eq!(trial.good().unwrap(), Err(Bad::Check("another answer".into())));
}

proptest! {
    /// The parent may be of another version than its child while a box is being updated.
    #[test]
    fn no_bytes_break_the_reading(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(header) = frame::read_head::<Header>(&mut bytes.as_slice()) {
            let _ = header.read_onnx(&file(&bytes));
        }
        if let Ok(sizes) = frame::read_head::<Sizes>(&mut bytes.as_slice()) {
            let _ = sizes.values();
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
    let onnx = vec![0; 12 << 20];
    let candidate = Candidate { kind: Kind::SAFE, threads: 2, shapes: &[Shape::square(64)], onnx: &onnx };
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
