//! More than fits: refused at once, in the error's shape, and the rest is answered.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use edgeloop_engine::{Engine, EngineError, EngineInfo, InputView, LoadOptions, Output};
use edgeloop_inferer::load::{Native, Runtime};
use edgeloop_store::Store;
use tempfile::TempDir;

use crate::support::*;

/// A gate that every run waits at while it is shut, and a switch that makes runs fail.
#[derive(Default)]
pub struct Gate {
    shut: Mutex<bool>,
    opened: Condvar,
    pub waiting: Mutex<usize>,
    pub failing: AtomicBool,
    pub panicking: AtomicBool,
}

impl Gate {
    pub fn set(&self, shut: bool) {
        *self.shut.lock().unwrap() = shut;
        self.opened.notify_all();
    }

    fn pass(&self) {
        *self.waiting.lock().unwrap() += 1;
        drop(self.opened.wait_while(self.shut.lock().unwrap(), |shut| *shut).unwrap());
        *self.waiting.lock().unwrap() -= 1;
    }
}

/// Opens the gate however a test ends: a shut one would keep the engine's thread.
pub struct Opens(pub Arc<Gate>);

impl Drop for Opens {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

struct Gated(Box<dyn Engine>, Arc<Gate>);

impl Engine for Gated {
    fn info(&self) -> &EngineInfo {
        self.0.info()
    }

    fn run(&mut self, input: InputView<'_>) -> Result<Output, EngineError> {
        self.1.pass();
        assert!(!self.1.panicking.load(Ordering::SeqCst), "asked to panic");
        if self.1.failing.load(Ordering::SeqCst) {
            return Err(EngineError::Run { device: self.0.info().device, reason: "asked to fail".into() });
        }
        self.0.run(input)
    }
}

/// Real engines behind a gate; `only` the first one when it is set.
pub struct GatedRuntime {
    pub gate: Arc<Gate>,
    pub only_first: bool,
    pub loaded: Mutex<usize>,
}

impl GatedRuntime {
    pub fn new(gate: &Arc<Gate>, only_first: bool) -> Arc<Self> {
        Arc::new(Self { gate: gate.clone(), only_first, loaded: Mutex::new(0) })
    }
}

impl Runtime for GatedRuntime {
    fn load(&self, onnx: &[u8], options: &LoadOptions) -> Result<Box<dyn Engine>, EngineError> {
        let engine = Native.load(onnx, options)?;
        let mut loaded = self.loaded.lock().unwrap();
        *loaded += 1;
        Ok(if self.only_first && *loaded > 1 { engine } else { Box::new(Gated(engine, self.gate.clone())) })
    }
}

/// An inferer with a model behind a gate that is shut. Dropped from the last to the first.
pub fn behind_a_gate(flags: &[&str]) -> (TempDir, Arc<Gate>, Opens, Inferer) {
    let dir = tempfile::tempdir().unwrap();
    publish(&Store::create(dir.path()).unwrap(), 0.5);
    let gate = Arc::new(Gate::default());
    let opens = Opens(gate.clone());
    let inferer = Inferer::start_with(dir.path(), flags, GatedRuntime::new(&gate, false));
    wait_for("a model", || inferer.version());
    gate.set(true);
    (dir, gate, opens, inferer)
}

#[test]
fn a_request_without_a_place_gets_429_and_the_others_are_answered() {
    let (_dir, gate, _opens, inferer) = behind_a_gate(&["--queue", "2"]);
    let photo = jpeg(&quarter(64, 64, 0));
    let address = inferer.serving;
    let inside: Vec<_> = (0..2)
        .map(|_| {
            let photo = photo.clone();
            // The probe below may have taken the place: then again.
            std::thread::spawn(move || {
                let again = || Some(post(&agent(), address, "image/jpeg", &photo)).filter(|(status, _)| *status != 429);
                wait_for("a place", again)
            })
        })
        .collect();
    let mut refused = wait_for("a refusal", || {
        let mut response =
            inferer.agent.post(format!("http://{address}/infer")).header("content-type", "image/jpeg").send(&b"x"[..]).unwrap();
        let body = response.body_mut().read_to_string().unwrap();
        // Until both are inside, this picture finds a place itself and is no picture.
        (response.status().as_u16() == 429).then_some((response, body))
    });
    assert_eq!(refused.0.headers()["retry-after"], "1");
    assert!(refused.1.contains("\"error\":\"busy\""), "{}", refused.1);
    // A large refused body is read on, so that its sender sees the answer.
    let (status, body) = inferer.post("image/jpeg", &vec![0; 5_000_000]);
    assert_eq!((status, body["error"].as_str()), (429, Some("busy")));
    assert_eq!(inferer.get(inferer.admin, "/livez").0, 200, "waiting requests hold nothing else up");
    assert_eq!(inferer.get(address, "/v1/model").0, 200);
    let _ = refused.0.body_mut();
    gate.set(false);
    for request in inside {
        assert_eq!(request.join().unwrap().0, 200);
    }
    assert!(inferer.metric("edgeloop_infer_dropped_total", "") >= 2.0);
    assert!(inferer.metric("edgeloop_infer_requests_total", "429") >= 2.0);
}

#[test]
fn a_version_that_fails_in_service_is_left_for_its_predecessor() {
    for panics in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::create(dir.path()).unwrap();
        let good = publish(&store, 0.5);
        let bad = publish(&store, 0.6);
        let gate = Arc::new(Gate::default());
        let inferer = Inferer::start_with(dir.path(), &[], GatedRuntime::new(&gate, true));
        wait_for("the promoted one", || (inferer.version()? == bad.version.as_str()).then_some(()));
        if panics { &gate.panicking } else { &gate.failing }.store(true, Ordering::SeqCst);
        let photo = jpeg(&quarter(64, 64, 3));
        wait_for("the predecessor", || {
            let (status, body) = inferer.post("image/jpeg", &photo);
            assert!(status == 503 && body["error"] == "engine_failed" || status == 200, "{status} {body}");
            (inferer.version()? == good.version.as_str()).then_some(())
        });
        let (status, answer) = inferer.post("image/jpeg", &photo);
        assert_eq!((status, read_answer(&answer).0), (200, 0.5));
        let ready = wait_for("readiness", || Some(inferer.get(inferer.admin, "/readyz")).filter(|(status, _)| *status == 200)).1;
        assert_eq!(ready["details"]["quarantined"][0]["version"], bad.version.as_str(), "{ready}");
        assert_eq!(inferer.metric("edgeloop_model_quarantined", ""), 1.0);
        assert_eq!(store.pointer().unwrap().unwrap().version(), &bad.version, "the store is not touched");
    }
}
