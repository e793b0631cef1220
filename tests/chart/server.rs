//! What a real API server says: to every render (`kubectl apply --dry-run=server`), to the accounts' rights, to the pods in a namespace that
//! enforces the Pod Security level `restricted`. The cluster is one of `scripts/cluster`, on the loopback.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::rendered::{render_set, sets};
use crate::tools::{asked_for, good, run, same_or_update, script, text, tree, yamls};

struct Server {
    dir: tempfile::TempDir,
    kubectl: String,
}

impl Server {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        script("cluster", &["build"]);
        let server = Self { kubectl: format!("{}/kubectl", script("cluster", &["bin"]).trim()), dir };
        script("cluster", &["up", server.dir.path().to_str().unwrap()]);
        server
    }

    fn kubectl(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.kubectl);
        command.arg("--kubeconfig").arg(self.dir.path().join("admin.kubeconfig")).args(args);
        command
    }

    /// With objects on standard input: what it answers, and whether all is well.
    fn feed(&self, args: &[&str], objects: &[Value]) -> (bool, String, String) {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
        let mut command = self.kubectl(args);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // Dropped, and so closed, before the wait: kubectl reads to the end.
        child.stdin.take().unwrap().write_all(list.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        script("cluster", &["down", self.dir.path().to_str().unwrap()]);
    }
}

/// The objects of a set of values.
fn rendered(set: &str) -> Vec<Value> {
    yamls(&render_set(&sets().into_iter().find(|(name, _)| name == set).unwrap().1))
}

#[test]
fn a_real_api_server_takes_it() {
    if !asked_for() {
        return;
    }
    if run(Command::new("go").arg("version")).status.success() || script_says("built") {
        let server = Server::start();
        every_render_is_taken(&server);
        rights_are_those_of_the_golden_file(&server);
        restricted_namespaces_take_trainer_and_inferer(&server);
    } else {
        println!("SKIPPED: building Kubernetes needs Go");
        // CI must see it run.
        assert!(std::env::var("CI").is_err(), "no Go");
    }
}

fn script_says(verb: &str) -> bool {
    run(Command::new(tree("scripts/cluster")).arg(verb)).status.success()
}

fn every_render_is_taken(server: &Server) {
    let crds = script("chart", &["crds"]);
    good(&mut server.kubectl(&["create", "-f", crds.trim()]));
    good(&mut server.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"]));
    // A pod is taken only where its account is there.
    let sets: Vec<(String, Vec<Value>)> = sets().into_iter().map(|(set, path)| (set, yamls(&render_set(&path)))).collect();
    let of_all = sets.iter().flat_map(|(_, objects)| objects).filter(|object| object["kind"] == "ServiceAccount");
    let mut accounts: Vec<Value> = of_all.cloned().collect();
    accounts.sort_by_key(|account| account["metadata"]["name"].as_str().unwrap().to_owned());
    accounts.dedup_by_key(|account| account["metadata"]["name"].as_str().unwrap().to_owned());
    let (done, _, said) = server.feed(&["create", "-f", "-"], &accounts);
    assert!(done, "{said}");
    let take = ["apply", "--dry-run=server", "--validate=strict", "--warnings-as-errors", "-f", "-"];
    let mut refused = Vec::new();
    for (set, objects) in &sets {
        let (taken, _, said) = server.feed(&take, objects);
        if !taken {
            refused.push(format!("{set}: {said}"));
        }
    }
    assert!(refused.is_empty(), "{}", refused.join("\n"));
    // And it does look.
    let mut wrong = rendered("default").into_iter().find(|object| object["kind"] == "CronJob").unwrap();
    wrong["spec"]["schedule"] = json!("sometimes");
    assert!(!server.feed(&take, &[wrong]).0, "a wrong schedule is taken");
    println!("  {} renders taken by the API server", sets.len());
}

/// What is asked about each account: group, resource, namespace, verbs.
const ASKED: &[(&str, &str, &str, &[&str])] = &[
    ("", "nodes", "", &["get", "list", "watch", "create", "update", "patch", "delete"]),
    ("", "nodes/status", "", &["patch"]),
    ("", "nodes/proxy", "", &["get", "create"]),
    ("coordination.k8s.io", "leases", "default", &["get", "list", "watch", "create", "update", "patch", "delete"]),
    ("coordination.k8s.io", "leases", "kube-node-lease", &["get", "list", "create", "patch", "delete"]),
    ("events.k8s.io", "events", "default", &["get", "list", "create", "patch", "delete"]),
    ("events.k8s.io", "events", "kube-system", &["create", "patch"]),
    ("", "pods", "default", &["get", "list", "create", "delete"]),
    ("", "pods/exec", "default", &["create"]),
    ("", "secrets", "default", &["get", "list", "create"]),
    ("", "configmaps", "default", &["get", "list", "create"]),
    ("", "serviceaccounts/token", "default", &["create"]),
    ("", "persistentvolumes", "", &["list", "create", "delete"]),
    ("apps", "deployments", "default", &["list", "patch"]),
    ("batch", "jobs", "default", &["list", "create", "delete"]),
    ("rbac.authorization.k8s.io", "clusterrolebindings", "", &["create", "patch"]),
    ("admissionregistration.k8s.io", "validatingadmissionpolicies", "", &["patch", "delete"]),
];

/// A line for each thing, a column for each account: the verbs it has.
fn rights_are_those_of_the_golden_file(server: &Server) {
    let objects: Vec<Value> = rendered("default")
        .into_iter()
        .filter(|object| {
            let kind = object["kind"].as_str().unwrap();
            kind == "ServiceAccount" || kind.starts_with("Role") || kind.starts_with("ClusterRole")
        })
        .collect();
    let is_account = |object: &&Value| object["kind"] == "ServiceAccount";
    let mut accounts: Vec<&str> = objects.iter().filter(is_account).map(|object| object["metadata"]["name"].as_str().unwrap()).collect();
    accounts.sort_unstable();
    let (done, _, said) = server.feed(&["apply", "-f", "-"], &objects);
    assert!(done, "{said}");

    let review = |account: &str, (group, resource, namespace, _): &(&str, &str, &str, _), verb: &str| {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {
            "user": format!("system:serviceaccount:default:{account}"),
            "groups": ["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"],
            "resourceAttributes": {"group": group, "resource": resource, "subresource": subresource, "namespace": namespace, "verb": verb},
        }})
    };
    let asked: Vec<(&str, usize, &str)> = accounts
        .iter()
        .flat_map(|account| ASKED.iter().enumerate().flat_map(move |(i, (.., verbs))| verbs.iter().map(move |verb| (*account, i, *verb))))
        .collect();
    let reviews: Vec<Value> = asked.iter().map(|(account, i, verb)| review(account, &ASKED[*i], verb)).collect();
    let (done, answers, said) = server.feed(&["create", "-o", "json", "-f", "-"], &reviews);
    assert!(done, "{said}");
    // One object after the other, in the order of the questions.
    let answers: Vec<Value> = serde_json::Deserializer::from_str(&answers).into_iter().collect::<Result<_, _>>().unwrap();
    assert_eq!(answers.len(), asked.len());
    let allowed: Vec<_> =
        asked.iter().zip(&answers).filter(|(_, answer)| answer["status"]["allowed"] == true).map(|(asked, _)| *asked).collect();

    let mut table =
        String::from("# What each account may do: written by `scripts/chart generate` from the answers of a real API server.\n");
    for account in &accounts {
        writeln!(table, "\n{account}").unwrap();
        for (i, (group, resource, namespace, verbs)) in ASKED.iter().enumerate() {
            let has: Vec<&str> = verbs.iter().copied().filter(|verb| allowed.contains(&(*account, i, *verb))).collect();
            let thing = format!("{resource}{}{group}", if group.is_empty() { "" } else { "." });
            let place = if namespace.is_empty() { "the cluster" } else { namespace };
            let has = if has.is_empty() { "-".to_owned() } else { has.join(" ") };
            writeln!(table, "  {thing:<66} {place:<16} {has}").unwrap();
        }
    }
    same_or_update(&tree("tests/chart/golden/rights.txt"), &table);
    println!("  {} questions about {} accounts answered as they should be", asked.len(), accounts.len());
}

/// The pods that a workload makes.
fn pod_of(object: &Value, namespace: &str) -> Option<Value> {
    let template = ["/spec/template", "/spec/jobTemplate/spec/template"].iter().find_map(|path| object.pointer(path))?;
    let name = object["metadata"]["name"].as_str()?;
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace}, "spec": template["spec"]});
    pod["metadata"]["labels"] = template["metadata"]["labels"].clone();
    Some(pod)
}

fn restricted_namespaces_take_trainer_and_inferer(server: &Server) {
    let namespace = "restricted";
    good(&mut server.kubectl(&["create", "namespace", namespace]));
    good(&mut server.kubectl(&["label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted"]));
    let accounts: Vec<Value> = rendered("restricted")
        .into_iter()
        .filter(|object| object["kind"] == "ServiceAccount")
        .map(|mut account| {
            account["metadata"]["namespace"] = json!(namespace);
            account
        })
        .collect();
    let (done, _, said) = server.feed(&["create", "-f", "-"], &accounts);
    assert!(done, "{said}");

    let create = ["create", "--dry-run=server", "-f", "-"];
    let pods: Vec<Value> = rendered("restricted").iter().filter_map(|object| pod_of(object, namespace)).collect();
    assert!(pods.len() >= 5, "agent, reaper, uninstaller, trainer, inferer");
    for pod in &pods {
        let (done, _, said) = server.feed(&create, std::slice::from_ref(pod));
        assert!(done, "{}: {said}", pod["metadata"]["name"]);
    }
    // And it does look: the agent in the node's network, and the container that makes folders.
    for name in ["edge-ml-monitor-daemonset", "edge-inference"] {
        let pod = rendered("default").iter().filter_map(|object| pod_of(object, namespace)).find(|pod| pod["metadata"]["name"] == name);
        let (done, _, said) = server.feed(&create, &[pod.unwrap()]);
        assert!(!done && said.contains("violates PodSecurity"), "{name}: {said}");
    }
    println!("  {} pods admitted under `restricted`", pods.len());
}
