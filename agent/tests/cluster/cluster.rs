//! The API server, and what is asked of it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::node::Process;
use crate::relay::Relay;

pub const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/cluster");
const DEPLOY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy");
const AGENT: &str = env!("CARGO_BIN_EXE_edgeloop-agent");
pub const KEY: &str = "myapp.com/network-status";
pub const NAMESPACE: &str = "edgeloop";
/// For what has no bound of its own.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The kubeconfig of the user's own cluster, where he wants that.
pub fn foreign() -> Option<String> {
    std::env::var("KUBECONFIG").ok().filter(|path| !path.is_empty())
}

pub struct Cluster {
    pub dir: tempfile::TempDir,
    foreign: bool,
    kubeconfig: PathBuf,
    kubectl: PathBuf,
    runtime: Runtime,
    pub client: kube::Client,
    /// `host:port` of the API server.
    pub server: String,
    pub ca: Option<String>,
    reaper: Option<Process>,
    names: Arc<AtomicU32>,
}

impl Cluster {
    pub fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let own = foreign();
        let (kubeconfig, kubectl) = match &own {
            Some(path) => (PathBuf::from(path), PathBuf::from("kubectl")),
            None => {
                script(&["up", dir.path().to_str().unwrap()]);
                (dir.path().join("admin.kubeconfig"), PathBuf::from(script(&["bin"]).trim()).join("kubectl"))
            }
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (client, config) = runtime.block_on(async {
            let text = kube::config::Kubeconfig::read_from(&kubeconfig).unwrap();
            let mut config = kube::Config::from_custom_kubeconfig(text, &Default::default()).await.unwrap();
            config.default_retry = false;
            (kube::Client::try_from(config.clone()).unwrap(), config)
        });
        let server = config.cluster_url.authority().unwrap().to_string();
        let mut cluster = Cluster {
            dir,
            foreign: own.is_some(),
            kubeconfig,
            kubectl,
            runtime,
            client,
            server,
            ca: None,
            reaper: None,
            names: Arc::default(),
        };
        cluster.ca = Some(cluster.kubectl_out(&[
            "config",
            "view",
            "--raw",
            "--minify",
            "-o",
            "jsonpath={.clusters[0].cluster.certificate-authority-data}",
        ]));
        cluster.install();
        cluster
    }

    /// Whether it is the user's.
    pub fn is_foreign(&self) -> bool {
        self.foreign
    }

    /// Accounts, rights and policies as they are deployed; waits until the API server holds to them.
    fn install(&mut self) {
        let there = self.kubectl_try(&["get", "namespace", NAMESPACE]).status.success();
        assert!(!there, "there is a namespace {NAMESPACE} already: use a cluster without edgeloop, the tests remove it");
        self.kubectl(&["create", "namespace", NAMESPACE]);
        for file in ["rbac.yaml", "policy.yaml"] {
            self.kubectl(&["apply", "-f", &format!("{DEPLOY}/{file}")]);
        }
        self.make_node("probe");
        let token = self.token("probe");
        // Policies are in force only some time after they are there. Another value each time: what is written already is no change.
        let mut value = 0;
        wait("the policies are in force", PATIENCE, || {
            value += 1;
            let patch = json!({"metadata": {"labels": {"not-ours": value.to_string()}}});
            self.patch_as(&token, "/api/v1/nodes/probe", &patch).1.contains("of a node's labels only").then_some(())
        });
        self.delete_node("probe");
    }

    pub fn deploy_file(name: &str) -> String {
        format!("{DEPLOY}/{name}")
    }

    /// A name that no other test has.
    pub fn fresh_name(&self) -> String {
        format!("edge-{}", self.names.fetch_add(1, Ordering::Relaxed) + 1)
    }

    pub fn kubectl(&self, args: &[&str]) {
        let _ = self.kubectl_out(args);
    }

    pub fn kubectl_out(&self, args: &[&str]) -> String {
        let output = self.kubectl_try(args);
        assert!(output.status.success(), "kubectl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn kubectl_try(&self, args: &[&str]) -> std::process::Output {
        Command::new(&self.kubectl).arg("--kubeconfig").arg(&self.kubeconfig).args(args).stdin(Stdio::null()).output().unwrap()
    }

    /// SIGKILL, as a power cut would.
    pub fn stop_api(&self) {
        script(&["stop", self.dir.path().to_str().unwrap(), "apiserver"]);
    }

    pub fn start_api(&self) {
        script(&["start", self.dir.path().to_str().unwrap(), "apiserver"]);
    }

    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    pub fn make_node(&self, name: &str) {
        self.make_bare_node(name);
        self.make_pod(name);
    }

    /// As a kubelet that registers anew does: its pods are still there.
    pub fn make_bare_node(&self, name: &str) {
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"somebody": "else", "edgeloop-test": "pretended"}}});
        let nodes: Api<Node> = Api::all(self.client.clone());
        self.block_on(nodes.create(&Default::default(), &serde_json::from_value(node).unwrap())).unwrap();
    }

    /// All that were made so far.
    pub fn delete_nodes(&self) {
        self.kubectl(&["delete", "nodes", "-l", "edgeloop-test=pretended"]);
    }

    /// And the pod that its agent's token is bound to; nobody runs it.
    fn make_pod(&self, name: &str) {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": format!("agent-{name}"), "namespace": NAMESPACE},
            "spec": {"nodeName": name, "serviceAccountName": "edgeloop-agent", "tolerations": [{"operator": "Exists"}],
                     "containers": [{"name": "agent", "image": "localhost/none"}]},
        });
        let pods: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(self.client.clone(), NAMESPACE);
        self.block_on(pods.create(&Default::default(), &serde_json::from_value(pod).unwrap())).unwrap();
    }

    pub fn delete_node(&self, name: &str) {
        self.kubectl(&["delete", "node", name, "--wait=true"]);
        self.kubectl(&["delete", "pod", &format!("agent-{name}"), "-n", NAMESPACE, "--force", "--grace-period=0", "--ignore-not-found"]);
    }

    /// The token that the agent on `node` would have.
    pub fn token(&self, node: &str) -> String {
        let pod = format!("agent-{node}");
        let uid = self.kubectl_out(&["get", "pod", &pod, "-n", NAMESPACE, "-o", "jsonpath={.metadata.uid}"]);
        let bound = ["--bound-object-kind=Pod", &format!("--bound-object-name={pod}"), &format!("--bound-object-uid={uid}")];
        self.kubectl_out(&[&["create", "token", "edgeloop-agent", "-n", NAMESPACE][..], &bound].concat()).trim().to_owned()
    }

    pub fn account_token(&self, account: &str) -> String {
        self.kubectl_out(&["create", "token", account, "-n", NAMESPACE]).trim().to_owned()
    }

    /// Writes a kubeconfig with this token; the server is reached at `server`.
    pub fn kubeconfig_of(&self, name: &str, token: &str, server: &str) -> PathBuf {
        let path = self.dir.path().join(format!("{name}.kubeconfig"));
        let mut cluster = json!({"server": format!("https://{server}"), "tls-server-name": self.server.split(':').next().unwrap()});
        cluster["certificate-authority-data"] = json!(self.ca);
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": {"token": token}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": NAMESPACE}}],
        });
        std::fs::write(&path, config.to_string()).unwrap();
        path
    }

    /// A JSON merge patch with that token: the status and the body.
    pub fn patch_as(&self, token: &str, path: &str, patch: &Value) -> (u16, String) {
        self.request_as(token, "PATCH", path, Some(patch))
    }

    pub fn request_as(&self, token: &str, method: &str, path: &str, body: Option<&Value>) -> (u16, String) {
        self.block_on(async {
            let mut config = kube::Config::new(format!("https://{}", self.server).parse().unwrap());
            config.accept_invalid_certs = true;
            config.default_retry = false;
            let client = kube::Client::try_from(config).unwrap();
            let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
            let request = http::Request::builder().method(method).uri(path).header("content-type", kind);
            let request = request.header("authorization", format!("Bearer {token}"));
            let body = body.map_or(Vec::new(), |body| body.to_string().into_bytes());
            let answer = client.send(request.body(kube::client::Body::from(body)).unwrap()).await.unwrap();
            let status = answer.status().as_u16();
            (status, String::from_utf8(answer.into_body().collect_bytes().await.unwrap().to_vec()).unwrap())
        })
    }

    /// For threads of their own.
    pub fn handle(&self) -> tokio::runtime::Handle {
        self.runtime.handle().clone()
    }

    pub fn node(&self, name: &str) -> Option<Node> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        self.block_on(nodes.get_opt(name)).ok().flatten()
    }

    pub fn label(&self, name: &str) -> Option<String> {
        self.node(name)?.metadata.labels?.get(KEY).cloned()
    }

    pub fn annotation(&self, name: &str, suffix: &str) -> Option<String> {
        self.node(name)?.metadata.annotations?.get(&format!("{KEY}-{suffix}")).cloned()
    }

    /// As somebody with every right, and a field manager of his own.
    pub fn patch_node(&self, name: &str, metadata: Value) {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let patch = Patch::Merge(json!({"metadata": metadata}));
        self.block_on(nodes.patch(name, &PatchParams { field_manager: Some("somebody".to_owned()), ..Default::default() }, &patch))
            .unwrap();
    }

    /// How long it takes until the label says so; at most `limit`.
    pub fn label_within(&self, name: &str, label: &str, since: Instant, limit: Duration) -> Duration {
        wait(&format!("node {name} is {label} within {limit:?}"), limit.saturating_sub(since.elapsed()), || {
            (self.label(name).as_deref() == Some(label)).then_some(())
        });
        since.elapsed()
    }

    /// Reasons of the Events about a node, oldest first.
    pub fn events(&self, name: &str) -> Vec<String> {
        let events: Api<Event> = Api::namespaced(self.client.clone(), "default");
        let list = self.block_on(events.list(&ListParams::default())).unwrap();
        let mut ours: Vec<_> =
            list.items.into_iter().filter(|event| event.regarding.as_ref().and_then(|node| node.name.as_deref()) == Some(name)).collect();
        ours.sort_by_key(|event| event.event_time.as_ref().map(|time| time.0));
        ours.into_iter().filter_map(|event| event.reason).collect()
    }

    /// Starts the reaper with its own account. Its log shows when a test fails.
    pub fn start_reaper(&mut self, lease: &str) {
        let server = self.server.clone();
        self.start_reaper_with(&server, &[("LEASE_SECONDS", lease)]);
    }

    /// With other settings, and with the API server at `server`.
    pub fn start_reaper_with(&mut self, server: &str, settings: &[(&str, &str)]) {
        self.stop_reaper();
        let config = self.kubeconfig_of("reaper", &self.account_token("edgeloop-reaper"), server);
        let mut command = Command::new(AGENT);
        command.arg("reap").env("KUBECONFIG", config).env("ADMIN_ADDR", "127.0.0.1:0").env("LOG_FORMAT", "json");
        command.envs(settings.iter().copied());
        let reaper = Process::start("reaper", command);
        reaper.log("in contact");
        self.reaper = Some(reaper);
    }

    /// The reaper that runs.
    pub fn reaper(&self) -> &Process {
        self.reaper.as_ref().unwrap()
    }

    /// Resident memory of the reaper, now and at most (MiB).
    pub fn reaper_memory(&self) -> (f64, f64) {
        crate::node::memory_mib(self.reaper().pid())
    }

    /// The way in with every right.
    pub fn admin_file(&self) -> &Path {
        &self.kubeconfig
    }

    pub fn admin(&self) -> kube::config::Kubeconfig {
        kube::config::Kubeconfig::read_from(&self.kubeconfig).unwrap()
    }

    pub fn stop_reaper(&mut self) {
        if let Some(mut reaper) = self.reaper.take() {
            reaper.stop();
        }
    }

    /// Runs `edgeloop-agent` with `args` and that account to its end.
    pub fn run_agent(&self, account: &str, args: &[&str]) -> std::process::Output {
        let config = self.kubeconfig_of(account, &self.account_token(account), &self.server);
        Command::new(AGENT).args(args).env("KUBECONFIG", config).env("LOG_FORMAT", "json").output().unwrap()
    }

    /// A relay to the API server on `addr`.
    pub fn relay(&self, addr: &str) -> Relay {
        Relay::start(addr, self.server.clone())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop_reaper();
        if self.foreign {
            // Whatever was asked for and whatever failed: somebody goes on using it.
            for file in ["uninstall.yaml", "policy.yaml", "rbac.yaml"] {
                let _ = self.kubectl_try(&["delete", "-f", &Self::deploy_file(file), "--ignore-not-found", "--wait=false"]);
            }
            let _ = self.kubectl_try(&["delete", "nodes", "-l", "edgeloop-test=pretended", "--wait=false"]);
            let _ = self.kubectl_try(&["delete", "flowschema", crate::requests::SCHEMA, "--ignore-not-found"]);
            let _ = self.kubectl_try(&["delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=2m"]);
        } else {
            script(&["down", self.dir.path().to_str().unwrap()]);
        }
    }
}

fn script(args: &[&str]) -> String {
    let output = Command::new(SCRIPT).args(args).stdin(Stdio::null()).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "scripts/cluster {args:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Asks `look` until it answers, for at most `limit`.
pub fn wait<T>(what: &str, limit: Duration, look: impl FnMut() -> Option<T>) -> T {
    wait_at_leisure(what, limit, Duration::from_millis(50), look)
}

/// The same with a longer pause, for looks that are themselves a load.
pub fn wait_at_leisure<T>(what: &str, limit: Duration, pause: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "did not happen: {what}");
        std::thread::sleep(pause);
    }
}

pub fn agent_binary() -> &'static Path {
    Path::new(AGENT)
}
