//! What a reader refuses, and that it says which file and why.

use std::fs;

use edgeloop_store::{FileKind, Store, StoreError};
use proptest::prelude::*;
use rstest::rstest;

use super::shelf::Shelf;

fn edit(shelf: &Shelf, file: &str, change: impl FnOnce(&mut serde_json::Value)) {
    let path = shelf.path(file);
    let mut json = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut json);
    fs::write(path, serde_json::to_vec(&json).unwrap()).unwrap();
}

#[rstest]
fn a_flipped_byte_is_refused(#[values(FileKind::Weights, FileKind::Onnx, FileKind::Check)] kind: FileKind) {
    let shelf = Shelf::new();
    let metadata = shelf.promoted(1);
    let path = shelf.file(&metadata, kind);
    let mut bytes = fs::read(&path).unwrap();
    bytes[77] ^= 1;
    fs::write(&path, bytes).unwrap();
    let error = shelf.store.read_verified(&metadata, kind).unwrap_err();
    assert!(matches!(&error, StoreError::WrongDigest { path: named, .. } if *named == path), "{error}");
    assert!(error.to_string().contains("SHA-256") && error.is_bad_content(), "{error}");
    assert!(matches!(shelf.store.verify(&metadata.version), Err(StoreError::WrongDigest { .. })));
    // The other files are still what they were.
    assert_eq!(FileKind::ALL.into_iter().filter(|other| shelf.store.read_verified(&metadata, *other).is_ok()).count(), 2);
}

#[rstest]
#[case::shorter(2999)]
#[case::longer(3001)]
#[case::empty(0)]
fn another_length_is_refused(#[case] length: u64) {
    let shelf = Shelf::new();
    let metadata = shelf.promoted(1);
    let path = shelf.file(&metadata, FileKind::Onnx);
    fs::File::options().write(true).open(&path).unwrap().set_len(length).unwrap();
    let error = shelf.store.read_verified(&metadata, FileKind::Onnx).unwrap_err();
    assert!(matches!(error, StoreError::WrongSize { expected: 3000, found, .. } if found == length), "{error}");
    assert!(matches!(shelf.store.verify(&metadata.version), Err(StoreError::WrongSize { .. })));
}

#[test]
fn a_missing_file_is_refused() {
    let shelf = Shelf::new();
    let metadata = shelf.promoted(1);
    let path = shelf.file(&metadata, FileKind::Check);
    fs::remove_file(&path).unwrap();
    let error = shelf.store.read_verified(&metadata, FileKind::Check).unwrap_err();
    assert!(matches!(&error, StoreError::Missing { path: named, .. } if *named == path), "{error}");
    assert!(matches!(shelf.store.verify(&metadata.version), Err(StoreError::Missing { .. })));
}

#[test]
fn another_versions_file_under_this_ones_name_is_refused() {
    let shelf = Shelf::new();
    let (first, second) = (shelf.promoted(1), shelf.promoted(2));
    fs::copy(shelf.file(&first, FileKind::Onnx), shelf.file(&second, FileKind::Onnx)).unwrap();
    let error = shelf.store.read_verified(&second, FileKind::Onnx).unwrap_err();
    assert!(matches!(error, StoreError::WrongDigest { .. }), "{error}");
}

#[test]
fn another_versions_metadata_under_this_ones_name_is_refused() {
    let shelf = Shelf::new();
    let (first, second) = (shelf.promoted(1), shelf.promoted(2));
    let name = |version| shelf.path(&format!("model_{version}.json"));
    fs::copy(name(&first.version), name(&second.version)).unwrap();
    let error = shelf.store.metadata(&second.version).unwrap_err();
    assert!(error.to_string().contains(first.version.as_str()), "{error}");
    let survey = shelf.store.survey().unwrap();
    assert_eq!((survey.versions.len(), survey.broken.len()), (1, 1), "one bad version hides no other");
}

#[rstest]
#[case("../../etc/passwd")]
#[case("/etc/passwd")]
#[case("latest.onnx")]
#[case("model_20200101_000000.onnx")]
fn a_metadata_that_names_a_foreign_file_is_refused(#[case] name: &str) {
    let shelf = Shelf::new();
    let metadata = shelf.promoted(1);
    edit(&shelf, "latest_metadata.json", |json| json["files"][1]["name"] = name.into());
    let error = shelf.store.pointer().unwrap_err();
    assert!(matches!(error, StoreError::BadFile { .. }) && error.to_string().contains(name), "{error}");
    // Nor does a caller get it by handing in such a metadata itself.
    let mut forged = metadata;
    forged.files[1].name = name.into();
    assert!(matches!(shelf.store.read_verified(&forged, FileKind::Onnx), Err(StoreError::BadFile { .. })));
}

#[test]
fn a_future_schema_is_refused_whatever_else_the_file_says() {
    let shelf = Shelf::new();
    let metadata = shelf.promoted(1);
    for file in ["latest_metadata.json".to_owned(), format!("model_{}.json", metadata.version)] {
        fs::write(shelf.path(&file), br#"{"schema": 2, "files": "now a text"}"#).unwrap();
    }
    for error in [shelf.store.pointer().unwrap_err(), shelf.store.metadata(&metadata.version).unwrap_err()] {
        assert!(matches!(error, StoreError::FutureSchema { found: 2, supported: 1, .. }), "{error}");
        assert!(error.to_string().contains("update edgeloop"), "{error}");
    }
    // An old trainer does not overwrite what it does not understand.
    let refused = shelf.publish(2, super::shelf::promote()).unwrap_err();
    assert!(matches!(refused, StoreError::FutureSchema { .. }), "{refused}");
}

#[test]
fn fields_that_are_not_known_are_ignored() {
    let shelf = Shelf::new();
    let metadata = shelf.promoted(1);
    for file in ["latest_metadata.json".to_owned(), format!("model_{}.json", metadata.version)] {
        edit(&shelf, &file, |json| {
            json["quantised"] = true.into();
            json["metrics"]["latency"] = serde_json::json!({"p99": 4});
            json["files"][0]["codec"] = "none".into();
        });
    }
    assert_eq!(shelf.store.pointer().unwrap().unwrap().metadata, metadata);
    assert_eq!(shelf.store.metadata(&metadata.version).unwrap(), metadata);
}

#[rstest]
#[case::empty(b"")]
#[case::cut(br#"{"schema": 1, "version": "2026112"#)]
#[case::binary(b"\xff\xfe\x00\x01")]
#[case::other_json(b"[1, 2, 3]")]
#[case::no_schema(br#"{"version": "20261121_030000"}"#)]
#[case::schema_zero(br#"{"schema": 0}"#)]
#[case::negative(br#"{"schema": -1}"#)]
fn a_garbage_pointer_is_refused_and_the_next_publish_replaces_it(#[case] garbage: &[u8]) {
    let shelf = Shelf::new();
    let first = shelf.promoted(1);
    shelf.promoted(2);
    fs::write(shelf.path("latest_metadata.json"), garbage).unwrap();
    let error = shelf.store.pointer().unwrap_err();
    assert!(matches!(&error, StoreError::BadFile { path, .. } if path.ends_with("latest_metadata.json")), "{error}");
    // Who is protected cannot be told.
    assert!(matches!(shelf.store.prune(&Default::default()), Err(StoreError::BadFile { .. })));

    shelf.promoted(3);
    shelf.assert_tidy();
    let pointer = shelf.store.pointer().unwrap().unwrap();
    assert_eq!(pointer.promotion, 3, "promotions go on counting from the history");
    assert_eq!(pointer.predecessors.last(), Some(&first.version), "the lineage is taken from what is there");
}

#[test]
fn a_pointer_that_is_no_regular_file_is_refused_without_waiting_on_it() {
    let shelf = Shelf::new();
    let path = shelf.path("latest_metadata.json");
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    assert!(shelf.store.pointer().unwrap_err().to_string().contains("not a regular file"));
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    shelf.store.pointer().unwrap_err();
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let error = Store::open("/nonexistent/models").unwrap_err();
    assert!(matches!(error, StoreError::NoFolder { .. }) && error.to_string().contains("/nonexistent/models"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn random_bytes_as_a_pointer_are_refused_without_panic(garbage in proptest::collection::vec(any::<u8>(), 0..400)) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::create(folder.path()).unwrap();
        fs::write(folder.path().join("latest_metadata.json"), garbage).unwrap();
        prop_assert!(store.pointer().is_err());
    }

    #[test]
    fn a_pointer_with_one_byte_changed_is_refused_or_still_names_files_of_its_own_version(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let shelf = Shelf::new();
        shelf.promoted(1);
        let path = shelf.path("latest_metadata.json");
        let mut bytes = fs::read(&path).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        fs::write(&path, bytes).unwrap();
        if let Ok(Some(pointer)) = shelf.store.pointer() {
            for kind in FileKind::ALL {
                // Served is only what still has the digest.
                if let Ok(bytes) = shelf.store.read_verified(&pointer.metadata, kind) {
                    prop_assert!(bytes.iter().all(|byte| *byte == 1));
                }
            }
        }
    }
}
