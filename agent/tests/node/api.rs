//! A fake API server that holds one node, its Lease and Events, in memory; below the client's HTTP. What a real one adds (watches,
//! admission, field ownership) is tested in tests/cluster.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Request, Response, StatusCode};
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::mpsc;

pub const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub struct Call {
    pub method: String,
    pub path: String,
    pub query: String,
    pub content_type: String,
    pub body: Value,
}

#[derive(Clone, Default)]
pub struct Api {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Answers to the next writes of the node; none left: success.
    node_answers: Vec<StatusCode>,
    lease_answers: Vec<StatusCode>,
    node: Value,
    lease: Option<Value>,
}

impl Api {
    /// A client of it, and every call that writes.
    pub fn start(&self) -> (kube::Client, mpsc::UnboundedReceiver<Call>) {
        let (sender, calls) = mpsc::unbounded_channel();
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let (sender, api) = (sender.clone(), api.clone());
            async move {
                let (head, body) = request.into_parts();
                let body = serde_json::from_slice(&body.collect_bytes().await.unwrap()).unwrap_or(Value::Null);
                let call = Call {
                    method: head.method.to_string(),
                    path: head.uri.path().to_owned(),
                    query: head.uri.query().unwrap_or_default().to_owned(),
                    content_type: head.headers.get("content-type").map_or("", |value| value.to_str().unwrap()).to_owned(),
                    body,
                };
                let (status, answer) = api.state.lock().unwrap().answer(&call);
                if call.method != "GET" {
                    let _ = sender.send(call);
                }
                Ok::<_, Infallible>(Response::builder().status(status).body(Body::from(answer.to_string().into_bytes())).unwrap())
            }
        });
        (kube::Client::new(service, "edge"), calls)
    }

    /// What the next writes of the node are answered with.
    pub fn node_answers(self, answers: &[StatusCode]) -> Self {
        self.state.lock().unwrap().node_answers = answers.to_vec();
        self
    }

    /// The same for the Lease.
    pub fn lease_answers(self, answers: &[StatusCode]) -> Self {
        self.state.lock().unwrap().lease_answers = answers.to_vec();
        self
    }

    /// What somebody has left on the node.
    pub fn with_metadata(self, metadata: Value) -> Self {
        self.state.lock().unwrap().node = metadata;
        self
    }
}

impl State {
    fn answer(&mut self, call: &Call) -> (StatusCode, Value) {
        let next = |answers: &mut Vec<StatusCode>| if answers.is_empty() { StatusCode::OK } else { answers.remove(0) };
        let status = match (call.path.as_str(), call.method.as_str()) {
            ("/api/v1/nodes/edge-7", "GET") => StatusCode::OK,
            ("/api/v1/nodes/edge-7", _) => next(&mut self.node_answers),
            (path, method) if path.contains("/leases") => match next(&mut self.lease_answers) {
                StatusCode::OK if method == "PATCH" && self.lease.is_none() => StatusCode::NOT_FOUND,
                status => status,
            },
            (path, "POST") if path.contains("/events") => StatusCode::CREATED,
            _ => StatusCode::NOT_FOUND,
        };
        if !status.is_success() {
            let code = status.as_u16();
            return (
                status,
                json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "message": "no", "reason": "No"}),
            );
        }
        if call.path.contains("/leases") {
            self.lease = Some(call.body.clone());
        }
        if call.path.contains("/nodes/") && call.method == "PATCH" {
            self.node = call.body["metadata"].clone();
        }
        if !call.path.contains("/nodes/") {
            return (status, call.body.clone());
        }
        let mut metadata = json!({"name": "edge-7", "uid": "u-7"});
        for part in ["labels", "annotations"] {
            metadata[part] = self.node.get(part).cloned().unwrap_or_else(|| json!({}));
        }
        (status, json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": metadata}))
    }
}

/// The next call.
pub async fn next(calls: &mut mpsc::UnboundedReceiver<Call>) -> Call {
    tokio::time::timeout(PATIENCE, calls.recv()).await.expect("a call in time").expect("a call")
}

/// The next write of the node; others are passed over.
pub async fn next_of_node(calls: &mut mpsc::UnboundedReceiver<Call>) -> Call {
    loop {
        let call = next(calls).await;
        if call.path.contains("/nodes/") {
            return call;
        }
    }
}
