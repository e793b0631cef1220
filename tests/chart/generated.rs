//! `values.schema.json` and the table of `README.md`, both made of the annotated values.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::annotated::{Setting, Values};
use crate::tools::{chart, same_or_update};

const BEGIN: &str = "<!-- settings: written by scripts/chart generate -->\n";
const END: &str = "<!-- end of settings -->";

/// Closed: a key that is not in values.yaml is a typing error. Whole: a section that `null` takes away is missed by its name, before a template
/// trips over it.
fn schema(values: &Values) -> Value {
    let object = |what: &str| json!({"type": "object", "description": what, "additionalProperties": false, "properties": {}});
    let mut root = object("Settings of the edgeloop chart");
    root["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    let place = |root: &mut Value, path: &[String], schema: Value| {
        let parent = path[..path.len() - 1].iter().fold(root, |at, key| &mut at["properties"][key.as_str()]);
        parent["properties"][path[path.len() - 1].as_str()] = schema;
    };
    for section in &values.sections {
        place(&mut root, &section.path, object(&section.what));
        let (key, parents) = section.path.split_last().unwrap();
        let parent = parents.iter().fold(&mut root, |at, key| &mut at["properties"][key.as_str()]);
        match &mut parent["required"] {
            Value::Array(required) => required.push(json!(key)),
            none => *none = json!([key]),
        }
    }
    for setting in &values.settings {
        let Value::Object(rules) = &setting.schema else { panic!("{}: a schema is a mapping", setting.path.join(".")) };
        let mut schema = Map::new();
        schema.insert("description".to_owned(), json!(setting.what));
        schema.insert("default".to_owned(), setting.default.clone());
        schema.extend(rules.clone());
        place(&mut root, &setting.path, Value::Object(schema));
    }
    // Helm's own, for charts that have this one inside.
    root["properties"]["global"] = json!({"type": "object"});
    root
}

/// A table for each part.
fn table(values: &Values) -> String {
    let mut text = String::new();
    let mut part = None;
    for setting in &values.settings {
        let own = (setting.path.len() > 1).then(|| &setting.path[0]);
        if part != Some(own) {
            part = Some(own);
            if let Some(own) = own {
                let section = values.sections.iter().find(|section| section.path == [own.clone()]).unwrap();
                write!(text, "\n### `{own}`\n\n{}{}", section.what, if section.what.is_empty() { "" } else { "\n\n" }).unwrap();
            }
            text.push_str("| setting | default | what it is |\n| --- | --- | --- |\n");
        }
        let default = if setting.default == "" { String::new() } else { format!("`{}`", setting.default.to_string().trim_matches('"')) };
        writeln!(text, "| `{}` | {} | {}{} |", setting.path.join("."), default, setting.what.replace('|', "\\|"), choices(setting))
            .unwrap();
    }
    text
}

fn choices(setting: &Setting) -> String {
    let names = |value: &Value| format!("`{}`", if value == "" { "\"\"" } else { value.as_str().unwrap_or_default() });
    setting.schema.get("enum").and_then(Value::as_array).map_or(String::new(), |choices| {
        let choices: Vec<String> = choices.iter().map(names).collect();
        format!("{}{}", if setting.what.is_empty() { "" } else { ": " }, choices.join(", "))
    })
}

#[test]
fn the_schema_is_that_of_the_values() {
    same_or_update(&chart("values.schema.json"), &format!("{:#}\n", schema(&Values::read())));
}

#[test]
fn the_readme_is_that_of_the_values() {
    let readme = std::fs::read_to_string(chart("README.md")).unwrap();
    let (before, rest) = readme.split_once(BEGIN).expect("chart/README.md has the marks between which the settings stand");
    let (_, after) = rest.split_once(END).expect("chart/README.md has both marks");
    same_or_update(&chart("README.md"), &format!("{before}{BEGIN}\n{}\n{END}{after}", table(&Values::read())));
}

#[test]
fn every_setting_is_explained() {
    let silent = |setting: &&Setting| setting.what.is_empty() && choices(setting).is_empty() && setting.path.last().unwrap() != "enabled";
    let silent: Vec<String> = Values::read().settings.iter().filter(silent).map(|setting| setting.path.join(".")).collect();
    assert!(silent.is_empty(), "values.yaml: a comment is missing above {}", silent.join(", "));
}
