//! A store that a newer release has written to.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{OldBox, SECOND, serves, succeeded};

/// A field that nobody knows, in every object.
fn add(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.values_mut().for_each(add);
            fields.insert("of_a_later_release".into(), json!({"list": [1, null, "two"]}));
        }
        Value::Array(items) => items.iter_mut().for_each(add),
        _ => {}
    }
}

fn added(text: &str) -> String {
    let mut value = serde_json::from_str(text).unwrap();
    add(&mut value);
    value.to_string()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

#[test]
fn what_a_newer_release_of_the_same_schema_adds_is_passed_over() {
    let old = OldBox::new();
    let mut touched = 0;
    for path in files(&old.models) {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        match path.extension().and_then(|end| end.to_str()) {
            Some("json") => fs::write(&path, added(&text)).unwrap(),
            Some("jsonl") => {
                let lines: Vec<String> = text.lines().map(added).collect();
                let later = json!({"at": "2026-11-22T06:00:00Z", "event": "celebrated", "version": SECOND, "by": "a later release"});
                fs::write(&path, format!("{}\n{later}\n", lines.join("\n"))).unwrap();
            }
            _ => continue,
        }
        touched += 1;
    }
    assert_eq!(touched, 5, "pointer, two versions, status, history");
    fs::create_dir(old.models.join("of_a_later_release")).unwrap();

    let (mut inferer, http) = old.serve();
    serves(&http, SECOND);
    assert!(succeeded(&old.models(&["list"])).contains(SECOND));
    succeeded(&old.models(&["verify"]));
    succeeded(&old.train());
    let third = old.promoted();
    assert_eq!((third.sequence, third.training.parent.map(|parent| parent.to_string()).as_deref()), (3, Some(SECOND)));
    serves(&http, &third.version.to_string());
    succeeded(&old.models(&["rollback", "--reason", "test"]));
    serves(&http, SECOND);
    assert!(inferer.terminate().success(), "{}", inferer.log());
    assert!(old.models.join("of_a_later_release").is_dir(), "what is not known is not swept away");
}

#[test]
fn a_store_of_a_newer_schema_is_left_as_it_is_and_the_program_says_update() {
    let old = OldBox::new();
    let (mut inferer, http) = old.serve();
    serves(&http, SECOND);
    let pointer = old.models.join("latest_metadata.json");
    let mut newer: Value = serde_json::from_str(&fs::read_to_string(&pointer).unwrap()).unwrap();
    newer["schema"] = 2.into();
    fs::write(&pointer, newer.to_string()).unwrap();
    // What a program leaves of itself, locks and what it is doing, is not of a schema.
    let contents = || -> BTreeMap<PathBuf, Vec<u8>> {
        let of_versions = |path: &PathBuf| {
            path.file_name()
                .and_then(|name| name.to_str())
                .is_some_and(|name| name.contains("model_") || name.contains("latest") || name.contains("history"))
        };
        files(&old.models).into_iter().filter(of_versions).map(|path| (path.clone(), fs::read(path).unwrap())).collect()
    };
    let before = contents();

    for (what, output) in [("train", old.train()), ("rollback", old.models(&["rollback", "--reason", "test"]))] {
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(!output.status.success() && said.contains("update edgeloop on this machine"), "{what}: {said}");
    }
    assert!(contents() == before, "nothing is touched");
    // It goes on with what it has.
    serves(&http, SECOND);
    assert!(inferer.terminate().success(), "{}", inferer.log());
}
