use std::time::Duration;

use anyhow::Context;
use serde_json::Value;

/// The API server answers within this or is away.
const ASK: Duration = Duration::from_secs(10);
/// Objects of a page, and pages of a kind: 25,000 are more than anybody's.
const PAGE: usize = 500;
const MOST_PAGES: usize = 50;

/// Objects as the API server tells them.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Key of the node label.
    pub key: String,
    /// Nodes.
    pub nodes: Vec<Value>,
    /// Pods.
    pub pods: Vec<Value>,
    /// PersistentVolumeClaims.
    pub claims: Vec<Value>,
    /// Services.
    pub services: Vec<Value>,
    /// CronJobs.
    pub cronjobs: Vec<Value>,
    /// Events.
    pub events: Vec<Value>,
}

/// A string in an object, empty where there is none.
pub fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// A list in an object, empty where there is none.
pub fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A value of an object's labels.
pub fn label<'a>(object: &'a Value, key: &str) -> &'a str {
    object["metadata"]["labels"][key].as_str().unwrap_or_default()
}

/// A value of an object's annotations.
pub fn annotation<'a>(object: &'a Value, key: &str) -> &'a str {
    object["metadata"]["annotations"][key].as_str().unwrap_or_default()
}

/// Name of an object.
pub fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

/// Namespace of an object.
pub fn namespace(object: &Value) -> &str {
    text(object, "/metadata/namespace")
}

impl Snapshot {
    /// Asks the API server of the kubeconfig, or of the pod that this runs in.
    ///
    /// # Errors
    /// When there is none, or it does not answer or refuses.
    pub fn read(key: &str, wanted: Option<&str>) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut config =
                kube::Config::infer().await.context("there is no kubeconfig here; set KUBECONFIG (k3s: /etc/rancher/k3s/k3s.yaml)")?;
            (config.connect_timeout, config.read_timeout) = (Some(ASK), Some(ASK));
            let server = config.cluster_url.to_string();
            let namespace = wanted.unwrap_or(&config.default_namespace).to_owned();
            let client = kube::Client::try_from(config).context("the kubeconfig does not make a client")?;
            let asks = Asks { client, namespace };
            let answers = async {
                Ok::<_, kube::Error>(Self {
                    key: key.to_owned(),
                    nodes: asks.pages("/api/v1/nodes").await?,
                    pods: asks.all("/api/v1", "pods").await?,
                    claims: asks.all("/api/v1", "persistentvolumeclaims").await?,
                    services: asks.all("/api/v1", "services").await?,
                    cronjobs: asks.all("/apis/batch/v1", "cronjobs").await?,
                    events: asks.all("/api/v1", "events").await?,
                })
            };
            answers.await.with_context(|| format!("the API server {server} cannot be asked"))
        })
    }

    /// Pods whose label `key` is `value`.
    pub fn pods_of<'a>(&'a self, key: &'a str, value: &'a str) -> impl Iterator<Item = &'a Value> {
        self.pods.iter().filter(move |pod| label(pod, key) == value)
    }

    /// Pods of any component of ours.
    pub fn our_pods(&self) -> impl Iterator<Item = &Value> {
        let ours = [("component", "monitor"), ("app", "edge-inference"), ("app", "edge-training-job")];
        self.pods.iter().filter(move |pod| ours.iter().any(|(key, value)| label(pod, key) == *value))
    }

    /// The last event about an object with one of `reasons`.
    pub fn event(&self, kind: &str, object: &Value, reasons: &[&str]) -> Option<&Value> {
        let about = |event: &&Value| {
            text(event, "/involvedObject/kind") == kind
                && text(event, "/involvedObject/name") == name(object)
                && text(event, "/involvedObject/namespace") == namespace(object)
                && reasons.contains(&text(event, "/reason"))
        };
        let when = |event: &&Value| {
            [text(event, "/lastTimestamp"), text(event, "/eventTime"), text(event, "/metadata/creationTimestamp")].concat()
        };
        self.events.iter().filter(about).max_by_key(when)
    }
}

struct Asks {
    client: kube::Client,
    namespace: String,
}

impl Asks {
    /// All objects of a kind; those of our namespace where the account may not see the others.
    async fn all(&self, group: &str, kind: &str) -> kube::Result<Vec<Value>> {
        match self.pages(&format!("{group}/{kind}")).await {
            Err(kube::Error::Api(status)) if status.code == 403 => {
                self.pages(&format!("{group}/namespaces/{}/{kind}", self.namespace)).await
            }
            answer => answer,
        }
    }

    async fn pages(&self, path: &str) -> kube::Result<Vec<Value>> {
        let (mut found, mut token) = (Vec::new(), String::new());
        for _ in 0..MOST_PAGES {
            let more = if token.is_empty() { String::new() } else { format!("&continue={token}") };
            let request = http::Request::get(format!("{path}?limit={PAGE}{more}")).body(Vec::new()).map_err(kube::Error::HttpError)?;
            let mut page: Value = self.client.request(request).await?;
            if let Some(Value::Array(items)) = page.get_mut("items").map(Value::take) {
                found.extend(items);
            }
            token = text(&page, "/metadata/continue").to_owned();
            if token.is_empty() {
                break;
            }
        }
        Ok(found)
    }
}
