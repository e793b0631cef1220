//! `docs/metadata.schema.json` says what the files are: what is written fits it, and it mentions all that is written.

use std::fs;
use std::path::Path;

use edgeloop_store::{Forced, Verdict};
use serde_json::{Map, Value};

use super::{gate, shelf::Shelf};

fn schema() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metadata.schema.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The part of JSON Schema that ours uses; a keyword that is not known here fails, so that none goes unchecked. Stricter than
/// the standard in one thing: every key has to be described, although readers ignore those that are not.
fn check(root: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
    if let Some(target) = schema.get("$ref") {
        let target = root.pointer(target.as_str().unwrap().strip_prefix('#').unwrap()).unwrap();
        return check(root, target, value, at);
    }
    let mut wrong = Vec::new();
    let mut expect = |good: bool, what: String| {
        if !good {
            wrong.push(format!("{at}: {what}"));
        }
    };
    for (keyword, rule) in schema.as_object().unwrap() {
        match keyword.as_str() {
            "$schema" | "$id" | "title" | "description" | "$defs" | "properties" | "items" | "additionalProperties" => {}
            "type" => {
                let names: Vec<&str> = rule
                    .as_array()
                    .map_or_else(|| vec![rule.as_str().unwrap()], |all| all.iter().map(|name| name.as_str().unwrap()).collect());
                expect(names.iter().any(|name| is(name, value)), format!("{value} is not {rule}"));
            }
            "const" => expect(rule == value, format!("{value} is not {rule}")),
            "enum" => expect(rule.as_array().unwrap().contains(value), format!("{value} is not one of {rule}")),
            "required" => {
                for key in rule.as_array().unwrap() {
                    expect(value.get(key.as_str().unwrap()).is_some(), format!("{key} is missing"));
                }
            }
            "minimum" => expect(value.as_f64().is_none_or(|number| number >= rule.as_f64().unwrap()), format!("{value} < {rule}")),
            "maximum" => expect(value.as_f64().is_none_or(|number| number <= rule.as_f64().unwrap()), format!("{value} > {rule}")),
            "minItems" => expect(value.as_array().unwrap().len() as u64 >= rule.as_u64().unwrap(), "too few items".into()),
            "minLength" => expect(value.as_str().unwrap().len() as u64 >= rule.as_u64().unwrap(), "too short".into()),
            "pattern" => expect(fits(rule.as_str().unwrap(), value.as_str().unwrap_or_default()), format!("{value} does not fit {rule}")),
            "format" => expect(
                rule == "date-time" && value.as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().is_ok(),
                format!("{value} is no {rule}"),
            ),
            other => panic!("{at}: this test does not know the keyword {other}"),
        }
    }
    let none = Map::new();
    if let Some(object) = value.as_object() {
        let properties = schema.get("properties").map_or(&none, |all| all.as_object().unwrap());
        let open = schema.get("additionalProperties") == Some(&Value::Bool(true)) && properties.is_empty();
        for (key, value) in object {
            match properties.get(key) {
                Some(schema) => wrong.extend(check(root, schema, value, &format!("{at}.{key}"))),
                None if open => {}
                None => wrong.push(format!("{at}.{key} is not described")),
            }
        }
    }
    if let (Some(items), Some(schema)) = (value.as_array(), schema.get("items")) {
        for (index, item) in items.iter().enumerate() {
            wrong.extend(check(root, schema, item, &format!("{at}[{index}]")));
        }
    }
    wrong
}

fn is(name: &str, value: &Value) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("no type {other}"),
    }
}

/// The two patterns that the schema uses, by hand.
fn fits(pattern: &str, text: &str) -> bool {
    match pattern {
        "^[0-9]{8}_[0-9]{6}$" => {
            text.len() == 15 && text.bytes().enumerate().all(|(at, byte)| if at == 8 { byte == b'_' } else { byte.is_ascii_digit() })
        }
        "^[0-9a-f]{64}$" => text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')),
        other => panic!("no pattern {other}"),
    }
}

fn written(shelf: &Shelf, name: &str) -> Value {
    serde_json::from_slice(&fs::read(shelf.path(name)).unwrap()).unwrap()
}

#[test]
fn what_is_written_fits_the_schema() {
    let shelf = Shelf::new();
    shelf.promoted(1);
    let second = shelf.promoted(2);
    let rejected = shelf.publish(3, gate::rejected(&second.version)).unwrap();
    let by_force = Verdict { forced: Some(Forced { by: "ann".into(), reason: "a test".into() }), ..gate::rejected(&second.version) };
    let forced = shelf.publish(4, by_force).unwrap();
    let schema = schema();
    let [second, forced] = [second, forced].map(|metadata| format!("model_{}.json", metadata.version));
    let rejected = format!("candidates/model_{}.json", rejected.version);
    for name in ["latest_metadata.json".to_owned(), second, forced, rejected] {
        assert_eq!(check(&schema, &schema, &written(&shelf, &name), "$"), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn what_the_schema_requires_the_reader_requires_too() {
    let shelf = Shelf::new();
    let metadata = shelf.promoted(1);
    let name = format!("model_{}.json", metadata.version);
    let whole = written(&shelf, &name);
    let schema = schema();
    for key in schema["required"].as_array().unwrap() {
        let mut cut = whole.clone();
        cut.as_object_mut().unwrap().remove(key.as_str().unwrap());
        assert!(!check(&schema, &schema, &cut, "$").is_empty());
        fs::write(shelf.path(&name), cut.to_string()).unwrap();
        assert!(shelf.store.metadata(&metadata.version).is_err(), "{key} is missing and nobody minds");
    }
}
