//! The API server, and doctor before it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/cluster");

pub struct Api {
    dir: tempfile::TempDir,
    kubectl: PathBuf,
}

/// How doctor ended, and what it said.
#[derive(Debug)]
pub struct Told {
    pub code: i32,
    pub report: Value,
}

impl Told {
    pub fn checks(&self) -> Vec<&str> {
        self.report["findings"].as_array().unwrap().iter().map(|finding| finding["check"].as_str().unwrap()).collect()
    }
}

/// Whether Kubernetes is built already or can be.
pub fn can_start() -> bool {
    let runs = |program: &str, arg: &str| {
        Command::new(program).arg(arg).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
    };
    runs(SCRIPT, "built") || runs("go", "version")
}

/// The same kind and name.
pub fn same(one: &Value, other: &Value) -> bool {
    one["kind"] == other["kind"] && one["metadata"]["name"] == other["metadata"]["name"]
}

impl Api {
    pub fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        script(&["up", dir.path().to_str().unwrap()]);
        let kubectl = PathBuf::from(script(&["bin"]).trim()).join("kubectl");
        let api = Api { dir, kubectl };
        // The controller manager makes it; pods want one.
        api.kubectl(&["wait", "--for=create", "serviceaccount/default", "-n", "default", "--timeout=60s"], None);
        api
    }

    pub fn admin(&self) -> PathBuf {
        self.dir.path().join("admin.kubeconfig")
    }

    pub fn kubectl(&self, args: &[&str], input: Option<&Value>) -> String {
        let mut command = Command::new(&self.kubectl);
        command.arg("--kubeconfig").arg(self.admin()).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        if let Some(input) = input {
            stdin.write_all(input.to_string().as_bytes()).unwrap();
        }
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "kubectl {args:?} {input:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Makes it anew, with the status that it has.
    pub fn put(&self, object: &Value) {
        self.delete(object);
        let mut object = object.clone();
        if object["apiVersion"].is_null() {
            object["apiVersion"] = json!("v1");
        }
        let status = object.as_object_mut().unwrap().shift_remove("status");
        self.kubectl(&["create", "-f", "-"], Some(&object));
        let Some(status) = status else { return };
        let (kind, name) = (object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap());
        let patch = json!({"status": status}).to_string();
        self.kubectl(&["patch", kind, name, "-n", "default", "--subresource=status", "--type=merge", "-p", &patch], None);
    }

    pub fn delete(&self, object: &Value) {
        let (kind, name) = (object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap());
        // No kubelet ends a pod here, and no controller frees a claim.
        if kind == "PersistentVolumeClaim"
            && !self.kubectl(&["get", kind, name, "-n", "default", "--ignore-not-found", "-o", "name"], None).is_empty()
        {
            self.kubectl(&["patch", kind, name, "-n", "default", "--type=merge", "-p", r#"{"metadata":{"finalizers":null}}"#], None);
        }
        let now = if kind == "Pod" { ["--grace-period=0", "--force"].as_slice() } else { &[] };
        self.kubectl(&[["delete", kind, name, "-n", "default", "--ignore-not-found"].as_slice(), now].concat(), None);
    }

    /// A kubeconfig with that token.
    pub fn kubeconfig_with(&self, token: &str) -> PathBuf {
        self.altered("reader", |text| {
            let users = text.find("users:").unwrap();
            let contexts = text.find("contexts:").unwrap();
            format!("{}users: [{{name: admin, user: {{token: {token}}}}}]\n{}", &text[..users], &text[contexts..])
        })
    }

    /// A kubeconfig with a server that does not listen.
    pub fn nobody_there(&self) -> PathBuf {
        self.altered("nobody", |text| {
            let (before, rest) = text.split_once("https://127.0.0.1:").unwrap();
            format!("{before}https://127.0.0.1:1{}", &rest[rest.find('"').unwrap()..])
        })
    }

    fn altered(&self, name: &str, alter: impl Fn(&str) -> String) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, alter(&std::fs::read_to_string(self.admin()).unwrap())).unwrap();
        path
    }

    pub fn doctor(&self, kubeconfig: &Path) -> Told {
        let mut command = Command::new(env!("CARGO_BIN_EXE_edgeloop"));
        command.args(["doctor", "--cluster", "--json", "-n", "default"]).env("KUBECONFIG", kubeconfig);
        let output = command.output().unwrap();
        let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
        Told { code: output.status.code().unwrap(), report }
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        script(&["down", self.dir.path().to_str().unwrap()]);
    }
}

fn script(args: &[&str]) -> String {
    let output = Command::new(SCRIPT).args(args).stdin(Stdio::null()).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "scripts/cluster {args:?}");
    String::from_utf8(output.stdout).unwrap()
}
