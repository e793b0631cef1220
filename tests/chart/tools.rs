//! Helm, kubectl and files.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// A file of the tree.
pub fn tree(path: &str) -> PathBuf {
    Path::new(ROOT).join(path)
}

/// A file of the chart.
pub fn chart(path: &str) -> PathBuf {
    tree("chart").join(path)
}

/// One document.
pub fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// All documents but empty ones.
pub fn yamls(text: &str) -> Vec<Value> {
    let all: Vec<Value> = serde_saphyr::from_multiple(text).unwrap_or_else(|error| panic!("{error}"));
    all.into_iter().filter(|document| !document.is_null()).collect()
}

/// Whether Helm and a cluster are to be used.
pub fn asked_for() -> bool {
    let asked = std::env::var_os("EDGELOOP_TEST_CHART").is_some();
    if !asked {
        println!("not asked for: `make test-chart` runs this");
    }
    asked
}

/// Compares a generated file, or writes it with `UPDATE=1`.
pub fn same_or_update(path: &Path, text: &str) {
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        return;
    }
    let there = std::fs::read_to_string(path).unwrap_or_default();
    if there != text {
        let line = there.lines().zip(text.lines()).take_while(|(a, b)| a == b).count();
        let (is, wants) = (there.lines().nth(line).unwrap_or("(its end)"), text.lines().nth(line).unwrap_or("(its end)"));
        panic!("{} is not what is generated: run `scripts/chart generate`\nline {}:\n- {is}\n+ {wants}", path.display(), line + 1);
    }
}

/// Runs to the end.
pub fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?} does not start: {error}"))
}

/// Runs to a good end.
pub fn good(command: &mut Command) -> String {
    let output = run(command);
    assert!(output.status.success(), "{command:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A verb of one of our scripts.
pub fn script(name: &str, args: &[&str]) -> String {
    good(Command::new(tree("scripts").join(name)).args(args).stderr(Stdio::inherit()))
}

pub fn helm() -> Command {
    static HELM: OnceLock<String> = OnceLock::new();
    let path = HELM.get_or_init(|| script("cluster", &["helm"]).trim().to_owned());
    let mut command = Command::new(path);
    // Nobody's cluster and nobody's settings.
    command.env("KUBECONFIG", "/dev/null").env("HELM_NAMESPACE", "default");
    command
}

/// `helm template` of the chart.
pub fn template(release: &str, namespace: &str, args: &[&str]) -> Output {
    run(helm().args(["template", release]).arg(tree("chart")).args(["--namespace", namespace, "--kube-version", "1.34.4"]).args(args))
}
