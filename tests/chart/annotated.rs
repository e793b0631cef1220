//! `chart/values.yaml` with its comments: keys, defaults, what they are, and the JSON Schema of what may be given.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::tools::{chart, yaml};

/// A key that people set.
pub struct Setting {
    pub path: Vec<String>,
    pub what: String,
    pub default: Value,
    pub schema: Value,
}

/// A key that holds others.
pub struct Section {
    pub path: Vec<String>,
    pub what: String,
}

pub struct Values {
    pub settings: Vec<Setting>,
    pub sections: Vec<Section>,
}

/// What stands above a key.
#[derive(Default)]
struct Note {
    what: String,
    schema: Option<Value>,
}

impl Values {
    pub fn read() -> Self {
        let text = std::fs::read_to_string(chart("values.yaml")).unwrap();
        let definitions = yaml(&std::fs::read_to_string(chart("definitions.yaml")).unwrap());
        Self::parse(&text, &definitions)
    }

    fn parse(text: &str, definitions: &Value) -> Self {
        let mut values = Self { settings: Vec::new(), sections: Vec::new() };
        let mut notes = notes(text);
        values.walk(&[], yaml(text), &mut notes, definitions);
        values.inherit();
        values
    }

    fn walk(&mut self, path: &[String], value: Value, notes: &mut HashMap<Vec<String>, Note>, definitions: &Value) {
        let Value::Object(keys) = value else { unreachable!("only objects are walked") };
        for (key, value) in keys {
            let path = [path, &[key]].concat();
            let note = notes.remove(&path).unwrap_or_default();
            match note.schema {
                None if value.is_object() => {
                    self.sections.push(Section { path: path.clone(), what: note.what });
                    self.walk(&path, value, notes, definitions);
                }
                schema => {
                    let schema = schema.map_or_else(|| type_of(&path, &value), |schema| resolve(schema, definitions));
                    self.settings.push(Setting { path, what: note.what, default: value, schema });
                }
            }
        }
    }

    /// `nodeSelector` means the same everywhere: said once, it is said for all that say nothing. Only `enabled` speaks of its part.
    fn inherit(&mut self) {
        let said: HashMap<String, String> = self
            .settings
            .iter()
            .rev()
            .filter(|setting| !setting.what.is_empty() && setting.path.last().is_some_and(|key| key != "enabled"))
            .map(|setting| (setting.path.last().unwrap().clone(), setting.what.clone()))
            .collect();
        for setting in self.settings.iter_mut().filter(|setting| setting.what.is_empty()) {
            setting.what = said.get(setting.path.last().unwrap()).cloned().unwrap_or_default();
        }
    }
}

/// The comment right above each key.
fn notes(text: &str) -> HashMap<Vec<String>, Note> {
    let mut notes = HashMap::new();
    let (mut path, mut comment): (Vec<String>, Vec<&str>) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let body = line.trim_start();
        if let Some(words) = body.strip_prefix('#') {
            comment.push(words.trim());
            continue;
        }
        let key = body.split_once(':').map(|(key, _)| key).filter(|key| key.chars().all(char::is_alphanumeric));
        if let Some(key) = key {
            path.truncate((line.len() - body.len()) / 2);
            path.push(key.to_owned());
            notes.insert(path.clone(), Note::of(&comment));
        }
        comment.clear();
    }
    notes
}

impl Note {
    fn of(comment: &[&str]) -> Self {
        let (schema, words): (Vec<&&str>, Vec<&&str>) = comment.iter().partition(|line| line.starts_with("@schema "));
        let words: Vec<&str> = words.into_iter().copied().collect();
        Self { what: words.join(" "), schema: schema.first().map(|line| yaml(line.trim_start_matches("@schema "))) }
    }
}

/// Where nothing is said, the default says it.
fn type_of(path: &[String], default: &Value) -> Value {
    let kind = match default {
        Value::String(_) => "string",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_i64() => "integer",
        Value::Number(_) => "number",
        _ => panic!("values.yaml: {} needs a `@schema`: its default does not say what may be given", path.join(".")),
    };
    json!({ "type": kind })
}

/// Puts what `ref: name` stands for in its place.
fn resolve(schema: Value, definitions: &Value) -> Value {
    match schema {
        Value::Object(keys) => match keys.get("ref").and_then(Value::as_str) {
            Some(name) => {
                let found = definitions.get(name).unwrap_or_else(|| panic!("definitions.yaml has no `{name}`"));
                resolve(found.clone(), definitions)
            }
            None => Value::Object(keys.into_iter().map(|(key, value)| (key, resolve(value, definitions))).collect::<Map<_, _>>()),
        },
        Value::Array(items) => items.into_iter().map(|item| resolve(item, definitions)).collect(),
        other => other,
    }
}

#[test]
fn comments_types_and_definitions_come_together() {
    let text = "# Apart.\n\n# Which\n# one\n# @schema {ref: few}\nkind: a\n# Of it.\npart:\n  # How\n  many: 3\n  selector: {}\n";
    let text = text.replace("  selector", "  # @schema {type: object}\n  selector");
    let values = Values::parse(&text, &json!({"few": {"enum": ["a", "b"]}}));
    let seen: Vec<_> = values.settings.iter().map(|s| (s.path.join("."), s.what.as_str(), s.schema.to_string())).collect();
    assert_eq!(seen[0], ("kind".to_owned(), "Which one", r#"{"enum":["a","b"]}"#.to_owned()));
    assert_eq!(seen[1], ("part.many".to_owned(), "How", r#"{"type":"integer"}"#.to_owned()));
    assert_eq!(seen[2].2, r#"{"type":"object"}"#);
    assert_eq!((values.sections[0].path.join("."), values.sections[0].what.as_str()), ("part".to_owned(), "Of it."));
}
