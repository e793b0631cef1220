//! Every variable that the chart sets is one that the program in that container reads: a misspelt one would be passed over in silence.

use std::collections::{BTreeSet, HashMap};
use std::process::Command;

use harness::binary;
use serde_json::Value;

use crate::rendered::{golden, sets};
use crate::tools::{good, yamls};

/// Read without a flag.
const NO_FLAG: &[&str] = &["POD_NAME", "RUST_BACKTRACE"];

#[test]
fn variables_in_containers_are_settings_of_their_programs() {
    let mut known: HashMap<Program, BTreeSet<String>> = HashMap::new();
    let mut seen = 0;
    for (set, _) in sets() {
        for object in yamls(&std::fs::read_to_string(golden(&set)).unwrap()) {
            for container in containers(&object) {
                let name = container["name"].as_str().unwrap();
                let Some(program) = program_of(name) else { continue };
                let known = known.entry(program).or_insert_with(|| variables(program));
                for variable in container["env"].as_array().into_iter().flatten() {
                    let variable = variable["name"].as_str().unwrap();
                    assert!(
                        known.contains(variable) || NO_FLAG.contains(&variable),
                        "{set}: container {name} has {variable}, which {program:?} does not read"
                    );
                    seen += 1;
                }
            }
        }
    }
    assert!(seen > 100, "the containers' variables are where they are looked for: {seen}");
}

/// All containers in an object, init containers too.
pub fn containers(object: &Value) -> Vec<&Value> {
    let template = ["/spec/template/spec", "/spec/jobTemplate/spec/template/spec", "/spec"];
    let Some(pod) = template.iter().filter_map(|path| object.pointer(path)).find(|spec| spec.get("containers").is_some()) else {
        return Vec::new();
    };
    ["initContainers", "containers"].iter().filter_map(|kind| pod[kind].as_array()).flatten().collect()
}

/// A program and its subcommand.
type Program = (&'static str, &'static [&'static str]);

/// The program of a container; none where it is a shell.
fn program_of(container: &str) -> Option<Program> {
    Some(match container {
        "agent" => ("edgeloop-agent", &[]),
        "reaper" => ("edgeloop-agent", &["reap"]),
        "uninstall" => ("edgeloop-agent", &["uninstall"]),
        "trainer" => ("edgeloop-trainer", &[]),
        "inference" => ("edgeloop-inferer", &[]),
        "gateway" => ("edgeloop-agent", &[]),
        "labels" => ("edgeloop", &["doctor"]),
        "folders" | "infer" => return None,
        other => panic!("a container {other}: say here which program it runs"),
    })
}

/// `[env: NAME=]` in its help; without `=` where the value is a secret.
fn variables((program, command): Program) -> BTreeSet<String> {
    let help = good(Command::new(binary(program)).args(command).arg("--help"));
    let found: BTreeSet<String> = help.split("[env: ").skip(1).filter_map(|rest| Some(rest.split(['=', ']']).next()?.to_owned())).collect();
    assert!(found.len() > 3, "{program} --help names its variables: {help}");
    found
}
