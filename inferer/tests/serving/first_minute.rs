//! A version that every check finds good, and that errs on what cameras really send.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use edgeloop_engine::{Engine, EngineError, EngineInfo, InputView, LoadOptions, Output};
use edgeloop_inferer::load::{Native, Runtime};
use edgeloop_store::Store;

use crate::support::*;

/// Real engines; of the runs of every model but the first that is loaded every `every`-th fails while that is not 0.
#[derive(Default)]
struct Flaky {
    every: Arc<AtomicUsize>,
    first: OnceLock<Vec<u8>>,
}

struct FlakyEngine(Box<dyn Engine>, Arc<AtomicUsize>, usize);

impl Engine for FlakyEngine {
    fn info(&self) -> &EngineInfo {
        self.0.info()
    }

    fn run(&mut self, input: InputView<'_>) -> Result<Output, EngineError> {
        self.2 += 1;
        match self.1.load(Ordering::SeqCst) {
            every if every > 0 && self.2.is_multiple_of(every) => {
                Err(EngineError::Run { device: self.0.info().device, reason: "asked to fail".into() })
            }
            _ => self.0.run(input),
        }
    }
}

impl Runtime for Flaky {
    fn load(&self, onnx: &[u8], options: &LoadOptions) -> Result<Box<dyn Engine>, EngineError> {
        let engine = Native.load(onnx, options)?;
        let first = self.first.get_or_init(|| onnx.to_owned()) == onnx;
        Ok(if !first { Box::new(FlakyEngine(engine, self.every.clone(), 0)) } else { engine })
    }
}

#[test]
fn a_share_of_failed_runs_in_the_first_minute_sends_it_back_to_the_predecessor_and_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path()).unwrap();
    let good = publish(&store, 0.5).version;
    let flaky = Arc::new(Flaky::default());
    let inferer = Inferer::start_with(dir.path(), &[], flaky.clone());
    wait_for("the first version", || (inferer.version()? == good.as_str()).then_some(()));
    let bad = publish(&store, 0.6).version;
    wait_for("the second version", || (inferer.version()? == bad.as_str()).then_some(()));
    flaky.every.store(4, Ordering::SeqCst);
    let photo = jpeg(&quarter(64, 64, 3));
    let mut failed = 0;
    wait_for("the predecessor", || {
        let (status, body) = inferer.post("image/jpeg", &photo);
        failed += usize::from(status != 200);
        assert!(status == 200 || body["error"] == "engine_failed", "{status} {body}");
        (inferer.version()? == good.as_str()).then_some(())
    });
    assert!(failed >= 3, "it was left after {failed} failures");
    let ready = wait_for("readiness", || Some(inferer.get(inferer.admin, "/readyz")).filter(|(status, _)| *status == 200)).1;
    let went = &ready["details"]["went_back"];
    assert_eq!((went["from"].as_str(), went["to"].as_str()), (Some(bad.as_str()), Some(good.as_str())), "{ready}");
    assert!(went["reason"].as_str().unwrap().contains("runs failed"), "{ready}");
    assert_eq!(ready["details"]["quarantined"][0]["version"], bad.as_str(), "{ready}");
    assert_eq!(inferer.metric("edgeloop_model_reloads_total", "bad_in_service"), 1.0);
    assert_eq!(inferer.metric("edgeloop_model_reloads_total", "went_back"), 1.0);
    assert_eq!(store.pointer().unwrap().unwrap().version(), &bad, "the store is not touched");
    // Somebody who promotes it again says that it is good now, and then it is.
    flaky.every.store(0, Ordering::SeqCst);
    store.promote(&good, "test", "first away from it", false).unwrap();
    store.promote(&bad, "test", "the camera was at fault", false).unwrap();
    wait_for("the second version again", || (inferer.version()? == bad.as_str()).then_some(()));
    wait_for("no news", || inferer.get(inferer.admin, "/readyz").1["details"]["went_back"].is_null().then_some(()));
}

#[test]
fn when_the_first_minute_is_over_single_failures_are_no_reason_to_leave() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path()).unwrap();
    let first = publish(&store, 0.5).version;
    let flaky = Arc::new(Flaky::default());
    let inferer = Inferer::start_with(dir.path(), &["--watch-new-model", "0"], flaky.clone());
    wait_for("the first version", || (inferer.version()? == first.as_str()).then_some(()));
    let second = publish(&store, 0.6).version;
    wait_for("the second version", || (inferer.version()? == second.as_str()).then_some(()));
    flaky.every.store(4, Ordering::SeqCst);
    let photo = jpeg(&quarter(64, 64, 3));
    let failed = (0..60).filter(|_| inferer.post("image/jpeg", &photo).0 != 200).count();
    assert!(failed >= 12, "only {failed} of 60 failed");
    assert_eq!(inferer.version().unwrap(), second.as_str());
    assert_eq!(inferer.metric("edgeloop_model_reloads_total", "bad_in_service"), 0.0);
}
