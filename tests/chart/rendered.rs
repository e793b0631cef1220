//! What the chart renders for each `chart/ci/*-values.yaml` and `chart/examples/*`, held against a golden file.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::tools::{asked_for, chart, good, helm, same_or_update, template, text, tree, yamls};

/// Sets of values, by name; the defaults are one of them.
pub fn sets() -> Vec<(String, PathBuf)> {
    let files = ["ci", "examples"].into_iter().flat_map(|folder| std::fs::read_dir(chart(folder)).unwrap());
    let mut sets: Vec<(String, PathBuf)> = files
        .map(|file| file.unwrap().path())
        .filter_map(|path| Some((path.file_name()?.to_str()?.strip_suffix("-values.yaml")?.to_owned(), path)))
        .collect();
    sets.sort();
    assert!(sets.len() > 8, "the sets of values are where they are looked for");
    sets
}

pub fn golden(name: &str) -> PathBuf {
    tree("tests/chart/golden").join(format!("{name}.yaml"))
}

fn render(release: &str, namespace: &str, args: &[&str]) -> String {
    let output = template(release, namespace, args);
    assert!(output.status.success(), "{release} {args:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// A set of values, rendered.
pub fn render_set(path: &Path) -> String {
    render("yolo-app", "default", &["-f", path.to_str().unwrap()])
}

/// The default render whole; of any other what differs from it.
#[test]
fn renders_are_those_of_the_golden_files() {
    if !asked_for() {
        return;
    }
    let plain = render("yolo-app", "default", &[]);
    for (name, path) in sets() {
        let rendered = render_set(&path);
        same_or_update(&golden(&name), &if name == "default" { rendered } else { difference(&plain, &rendered) });
    }
}

/// Documents that are not in `plain`, after the names of those that only `plain` has.
fn difference(plain: &str, rendered: &str) -> String {
    let (before, after): (Vec<&str>, Vec<&str>) = (plain.split("---\n").collect(), rendered.split("---\n").collect());
    let (names_before, names_after) = (names(plain), names(rendered));
    let gone = names_before.iter().filter(|name| !names_after.contains(name)).map(|name| format!("# Not there: {name}\n"));
    let new = after.iter().filter(|document| !before.contains(document)).map(|document| format!("---\n{document}"));
    gone.chain(new).collect()
}

#[test]
fn lint_finds_nothing() {
    if !asked_for() {
        return;
    }
    for (_, path) in sets() {
        good(helm().args(["lint", "--strict", "--quiet"]).arg(tree("chart")).arg("-f").arg(path));
    }
}

#[test]
fn a_package_holds_what_it_needs_and_no_more() {
    if !asked_for() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    good(helm().arg("package").arg(tree("chart")).arg("-d").arg(folder.path()));
    let file = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    let listed = good(Command::new("tar").arg("-tzf").arg(file));
    let has = |name: &str| listed.lines().any(|line| line == format!("edgeloop/{name}"));
    assert!(has("values.schema.json") && has("templates/NOTES.txt") && has("README.md"), "{listed}");
    assert!(!listed.contains("/ci/") && !has("definitions.yaml"), "{listed}");
}

/// Kind, namespace and name of each object.
fn names(rendered: &str) -> Vec<String> {
    let name = |object: Value| {
        let text = |pointer| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        format!("{} {}/{}", text("/kind"), text("/metadata/namespace"), text("/metadata/name"))
    };
    yamls(rendered).into_iter().map(name).collect()
}

#[test]
fn two_releases_have_no_object_in_common() {
    if !asked_for() {
        return;
    }
    let first = names(&render("yolo-app", "default", &[]));
    for (what, second) in [
        ("in another namespace", render("yolo-app", "other", &["--set", "monitor.nodeLabelKey=a.b/c,monitor.adminPort=8091"])),
        ("in the same", render("second", "default", &["--set", "fullnameOverride=second,monitor.enabled=false"])),
    ] {
        let second = names(&second);
        let both: Vec<&String> = first.iter().filter(|name| second.contains(name)).collect();
        assert!(both.is_empty(), "{what}: {both:?}");
        assert!(second.len() > 10, "{what}: {second:?}");
    }
}

#[test]
fn names_are_those_of_the_manual() {
    if !asked_for() {
        return;
    }
    let all: BTreeSet<String> = names(&render("yolo-app", "default", &[])).into_iter().collect();
    for name in [
        "DaemonSet default/edge-ml-monitor-daemonset",
        "CronJob default/edge-training-job",
        "Deployment default/edge-inference",
        "Service default/edge-inference",
        "Ingress default/edge-inference-ingress",
    ] {
        assert!(all.contains(name), "{name} is missing: {all:?}");
    }
}

/// `agent/deploy/`: the agent's part for those who have no Helm, and what the agent's own cluster tests install.
#[test]
fn the_plain_manifests_are_those_of_the_chart() {
    if !asked_for() {
        return;
    }
    for (file, head) in [
        ("agent", "The agent on every node."),
        ("reaper", "Turns nodes offline whose agent is silent."),
        ("rbac", "Accounts and rights of agents and reaper."),
        ("policy", "What RBAC cannot say: an agent writes of its own node only. Kubernetes 1.30 on."),
        (
            "uninstall",
            "After agent.yaml, reaper.yaml, rbac.yaml and policy.yaml were deleted: clears the nodes. Delete this too when the Job is done.",
        ),
    ] {
        let rendered = render("edgeloop", "edgeloop", &["--show-only", &format!("templates/{file}.yaml")]);
        let head = format!("# {head}\n# Written by `scripts/chart generate` from chart/templates/{file}.yaml; namespace `edgeloop`.\n");
        same_or_update(&tree("agent/deploy").join(format!("{file}.yaml")), &(head + &without_helm(&rendered)));
    }
}

/// Takes out what only Helm reads.
fn without_helm(rendered: &str) -> String {
    let helms = |line: &&str| {
        let line = line.trim_start();
        line.starts_with("helm.sh/") || line == "app.kubernetes.io/managed-by: Helm" || line.starts_with("# Source: ")
    };
    let mut lines: Vec<&str> = rendered.lines().filter(|line| !helms(line)).collect();
    // An `annotations:` of which nothing is left.
    let empty = |i: usize| {
        let indent = |line: &str| line.len() - line.trim_start().len();
        lines[i].trim() == "annotations:" && lines.get(i + 1).is_none_or(|next| indent(next) <= indent(lines[i]))
    };
    let empty: BTreeSet<usize> = (0..lines.len()).filter(|i| empty(*i)).collect();
    let mut i = 0;
    lines.retain(|_| {
        i += 1;
        !empty.contains(&(i - 1))
    });
    lines.join("\n") + "\n"
}
