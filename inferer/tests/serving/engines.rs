//! Which engine serves: chosen, replaced when it fails, back when it works, one for each shape. The engines are real ones of ONNX
//! Runtime under other names: what is asked about is who serves, not how fast a library is.

use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use edgeloop_engine::toy::Toy;
use edgeloop_engine::{Device, Engine, EngineError, EngineInfo, InputView, LoadOptions, Output, Precision};
use edgeloop_inferer::load::{Native, Runtime};
use edgeloop_model::{Array, Weights, safetensors};
use edgeloop_store::{Draft, Metadata, Store};
use serde_json::Value;

use crate::overload::behind_a_gate;
use crate::support::*;

/// What goes wrong with engines that are called `openvino`.
#[derive(Default)]
struct Faults {
    missing: AtomicBool,
    wrong: AtomicBool,
    failing: AtomicBool,
    panicking: AtomicBool,
    /// From the first of them on the machine is so busy that everything takes three times as long.
    crowding: AtomicBool,
    crowded: AtomicBool,
}

impl Faults {
    /// As long as a run takes that has the machine for itself.
    fn work(&self, milliseconds: u64) {
        let times = if self.crowded.load(Ordering::SeqCst) { 3 } else { 1 };
        std::thread::sleep(Duration::from_millis(milliseconds * times));
    }
}

/// ONNX Runtime under the name that is asked for. `cpu` takes its time.
#[derive(Default)]
struct Named {
    faults: Arc<Faults>,
    loads: Mutex<Vec<LoadOptions>>,
}

impl Named {
    fn loaded(&self, device: Device) -> usize {
        self.loads.lock().unwrap().iter().filter(|o| o.device == device).count()
    }
}

struct NamedEngine {
    engine: Box<dyn Engine>,
    info: EngineInfo,
    faults: Arc<Faults>,
}

impl Runtime for Named {
    fn load(&self, onnx: &[u8], options: &LoadOptions) -> Result<Box<dyn Engine>, EngineError> {
        self.loads.lock().unwrap().push(*options);
        let LoadOptions { device, precision, .. } = *options;
        if device == Device::OpenVino && self.faults.missing.load(Ordering::SeqCst) {
            return Err(EngineError::LibraryMissing { library: "libopenvino_c.so", variable: "OPENVINO_DYLIB_PATH", looked: Vec::new() });
        }
        if device == Device::OpenVino && self.faults.crowding.load(Ordering::SeqCst) {
            self.faults.crowded.store(true, Ordering::SeqCst);
        }
        let engine = Native.load(onnx, &LoadOptions { device: Device::Cpu, precision: Precision::Fp32, ..*options })?;
        let info = EngineInfo { device, precision, ..engine.info().clone() };
        Ok(Box::new(NamedEngine { engine, info, faults: self.faults.clone() }))
    }

    fn library_version(&self, _: Device) -> Result<String, EngineError> {
        Ok("1".into())
    }
}

impl Engine for NamedEngine {
    fn info(&self) -> &EngineInfo {
        &self.info
    }

    fn run(&mut self, input: InputView<'_>) -> Result<Output, EngineError> {
        let mut output = self.engine.run(input)?;
        if self.info.device == Device::Cpu {
            // Slower than any disturbance: what is slow in these tests is slow by this.
            self.faults.work(20);
            return Ok(output);
        }
        if self.faults.crowding.load(Ordering::SeqCst) {
            self.faults.work(10);
        }
        assert!(!self.faults.panicking.load(Ordering::SeqCst), "asked to panic");
        if self.faults.failing.load(Ordering::SeqCst) {
            return Err(EngineError::Run { device: self.info.device, reason: "asked to fail".into() });
        }
        if self.faults.wrong.load(Ordering::SeqCst) {
            output.data.iter_mut().for_each(|v| *v += 0.1);
        }
        Ok(output)
    }
}

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path()).unwrap();
    (dir, store)
}

fn start(models: &Path, runtime: &Arc<Named>, more: &[&str]) -> Inferer {
    // A child knows no engines under other names.
    let inferer = Inferer::start_with(models, &[more, &["--candidate-process", "false"]].concat(), runtime.clone());
    wait_for("a model", || inferer.version());
    inferer
}

fn engine(inferer: &Inferer) -> Value {
    inferer.get(inferer.serving, "/v1/model").1["engine"].clone()
}

/// An answer, which is never an error here, and its engine.
fn answered_by(inferer: &Inferer) -> Value {
    let (status, answer) = inferer.post("image/jpeg", &jpeg(&quarter(64, 64, 3)));
    assert_eq!((status, read_answer(&answer).1.len()), (200, 1), "{answer}");
    answer["engine"].clone()
}

#[test]
fn auto_serves_at_once_measures_meanwhile_and_remembers_across_starts() {
    let (dir, store) = store();
    publish(&store, 0.5);
    let cache = tempfile::tempdir().unwrap();
    let flags = ["--device", "auto", "--cache-dir", cache.path().to_str().unwrap()];
    let first = Arc::new(Named::default());
    {
        let inferer = start(dir.path(), &first, &flags);
        wait_for("the faster engine", || (answered_by(&inferer)["device"] == "openvino").then_some(()));
        let told = engine(&inferer);
        assert_eq!((told["fallback"].as_str(), told["device"].as_str()), (None, Some("openvino")), "{told}");
        assert!(told["reason"].as_str().unwrap().contains("fastest"), "{told}");
        let measured = told["measured"].as_array().unwrap();
        assert!(measured.iter().any(|m| m["device"] == "cpu" && m["ms"].as_f64().unwrap() >= 20.0), "{told}");
        wait_for("the metric", || (inferer.metric("edgeloop_engine_info", "device=\"openvino\"") == 1.0).then_some(()));
        assert!(inferer.metric("edgeloop_engine_measured_seconds", "device=\"cpu\"") >= 0.02);
        assert_eq!(inferer.metric("edgeloop_engine_fallback", ""), 0.0);
        // The next version goes to the fastest directly.
        let cpu = first.loaded(Device::Cpu);
        let second = publish(&store, 0.6).version;
        wait_for("the second version", || (inferer.version()? == second.as_str()).then_some(()));
        assert_eq!(engine(&inferer)["device"], "openvino");
        assert_eq!(first.loaded(Device::Cpu), cpu, "nothing was measured again");
    }
    let again = Arc::new(Named::default());
    let inferer = start(dir.path(), &again, &flags);
    wait_for("the faster engine", || (answered_by(&inferer)["device"] == "openvino").then_some(()));
    assert_eq!((again.loaded(Device::Cpu), again.loaded(Device::OpenVino)), (1, 1), "the soonest, then the fastest, and no measuring");
}

#[test]
fn a_machine_that_gets_busy_while_it_measures_does_not_hide_which_engine_is_faster() {
    let (dir, store) = store();
    publish(&store, 0.5);
    let runtime = Arc::new(Named::default());
    runtime.faults.crowding.store(true, Ordering::SeqCst);
    let inferer = start(dir.path(), &runtime, &["--device", "auto"]);
    let told = wait_for("what was measured", || {
        let told = engine(&inferer);
        (told["measured"].as_array()?.len() > 1).then_some(told)
    });
    assert_eq!(told["device"], "openvino", "30 ms in a crowd are better than 20 ms before it: {told}");
}

#[test]
fn a_faster_engine_that_does_not_reproduce_the_check_file_does_not_serve() {
    let (dir, store) = store();
    publish(&store, 0.5);
    let runtime = Arc::new(Named::default());
    runtime.faults.wrong.store(true, Ordering::SeqCst);
    let cache = tempfile::tempdir().unwrap();
    let inferer = start(dir.path(), &runtime, &["--device", "auto", "--cache-dir", cache.path().to_str().unwrap()]);
    let told = wait_for("the choice", || Some(engine(&inferer)).filter(|e| e["reason"].as_str().unwrap().contains("fastest")));
    assert_eq!((told["device"].as_str(), told["fallback"].as_str()), (Some("cpu"), None), "{told}");
    let refused = told["refused"].as_array().unwrap();
    assert!(!refused.is_empty() && refused.iter().all(|r| r["device"] == "openvino"), "{told}");
    assert_eq!(answered_by(&inferer)["device"], "cpu");
}

#[test]
fn an_engine_that_fails_is_replaced_within_the_request_and_comes_back() {
    for panics in [false, true] {
        let (dir, store) = store();
        publish(&store, 0.5);
        let runtime = Arc::new(Named::default());
        let flags = ["--device", "openvino", "--precision", "fp32", "--engine-retry", "0.5", "--check-model-interval", "0.05"];
        let inferer = start(dir.path(), &runtime, &flags);
        assert_eq!(answered_by(&inferer)["device"], "openvino");
        let fault = if panics { &runtime.faults.panicking } else { &runtime.faults.failing };
        fault.store(true, Ordering::SeqCst);
        let told = answered_by(&inferer);
        assert_eq!(told["device"], "cpu", "the very request on which it failed is answered");
        assert!(told["fallback"].as_str().unwrap().contains("openvino fp32 failed"), "{told}");
        wait_for("the metric", || (inferer.metric("edgeloop_engine_fallback", "") == 1.0).then_some(()));
        wait_for("the detail", || {
            let detail = inferer.get(inferer.admin, "/readyz").1["details"]["model"]["engine"].clone();
            detail["fallback"].as_str()?.contains("openvino fp32 failed").then_some(())
        });
        assert_eq!(inferer.metric("edgeloop_engine_failures_total", "openvino"), 1.0);
        fault.store(false, Ordering::SeqCst);
        wait_for("its return", || (answered_by(&inferer)["device"] == "openvino").then_some(()));
        wait_for("the metric", || (inferer.metric("edgeloop_engine_fallback", "") == 0.0).then_some(()));
        assert_eq!(engine(&inferer)["fallback"], Value::Null);
    }
}

#[test]
fn without_its_library_another_engine_serves_unless_that_is_refused() {
    let (dir, store) = store();
    publish(&store, 0.5);
    let runtime = Arc::new(Named::default());
    runtime.faults.missing.store(true, Ordering::SeqCst);
    let flags = ["--device", "openvino", "--engine-retry", "0.1", "--check-model-interval", "0.05"];
    {
        let inferer = start(dir.path(), &runtime, &flags);
        let told = answered_by(&inferer);
        assert_eq!(told["device"], "cpu");
        assert!(told["fallback"].as_str().unwrap().contains("libopenvino_c.so was not found"), "{told}");
        assert_eq!(inferer.metric("edgeloop_engine_fallback", ""), 1.0);
        runtime.faults.missing.store(false, Ordering::SeqCst);
        wait_for("the engine that was asked for", || (answered_by(&inferer)["device"] == "openvino").then_some(()));
        runtime.faults.missing.store(true, Ordering::SeqCst);
    }
    let strict = Inferer::start_with(
        dir.path(),
        &[&flags[..], &["--device-strict", "true", "--candidate-process", "false"]].concat(),
        runtime.clone(),
    );
    wait_for("the refusal", || {
        let (status, ready) = strict.get(strict.admin, "/readyz");
        (status == 503 && ready["checks"]["model"]["detail"].as_str()?.contains("libopenvino_c.so was not found")).then_some(())
    });
    assert_eq!(strict.post("image/jpeg", &jpeg(&quarter(64, 64, 3))).0, 503);
}

#[test]
fn instances_run_requests_beside_each_other() {
    let (_dir, gate, _opens, inferer) = behind_a_gate(&["--instances", "2", "--decode-threads", "3"]);
    assert_eq!((engine(&inferer)["instances"].as_u64(), engine(&inferer)["threads"].as_u64()), (Some(2), Some(1)));
    let (address, photo) = (inferer.serving, jpeg(&quarter(64, 64, 3)));
    let held: Vec<_> = (0..2)
        .map(|_| {
            let photo = photo.clone();
            std::thread::spawn(move || post(&agent(), address, "image/jpeg", &photo))
        })
        .collect();
    wait_for("both in an engine at once", || (*gate.waiting.lock().unwrap() == 2).then_some(()));
    gate.set(false);
    assert!(held.into_iter().all(|request| request.join().unwrap().0 == 200));
}

/// A model for any shape: every anchor says the same box and its patch's brightness.
pub fn publish_shapeless(store: &Store) -> Metadata {
    const SIDE: usize = 128;
    let names = ("names".to_owned(), "{0: 'bright', 1: 'sign'}".to_owned());
    let toy = Toy { scales: [0.0, 0.0, 0.0, 0.0, 1.0, 0.0], offsets: vec![64.0, 48.0, 32.0, 32.0, 0.0, 0.0], metadata: vec![names] };
    let onnx = toy.onnx();
    let options = LoadOptions { device: Device::Cpu, precision: Precision::Fp32, threads: 1, height: SIDE, width: SIDE };
    let images: Vec<f32> = (0..3 * SIDE * SIDE).map(|i| (i * 2_654_435_761 % 255) as f32 / 255.0).collect();
    let input = InputView { n: 1, h: SIDE, w: SIDE, data: &images };
    let output = edgeloop_engine::load(&onnx, &options).unwrap().run(input).unwrap();
    let mut arrays = Weights::new();
    arrays.insert("images", Array::f32([1, 3, SIDE, SIDE], images));
    arrays.insert("output0", Array::f32(output.shape, output.data));
    let check = safetensors::write(&arrays, &[]).unwrap();
    publish_draft(store, Draft { image_size: SIDE as u32, ..draft(onnx, check) })
}

#[test]
fn images_that_are_not_square_get_an_engine_of_their_shape_and_two_shapes_are_the_most() {
    let (dir, store) = store();
    publish_shapeless(&store);
    let inferer = Inferer::ready(dir.path(), &["--shapes", "auto"]);
    let white = |w, h| jpeg(&image::RgbImage::from_pixel(w, h, image::Rgb([255; 3])));
    let shapes = || engine(&inferer)["shapes"].as_array().unwrap().iter().map(|s| s.as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let ask = |photo: &[u8]| {
        let (status, answer) = inferer.post("image/jpeg", photo);
        assert_eq!(status, 200, "{answer}");
        answer["detections"][0]["box"][1].as_f64().unwrap()
    };
    let (wide, tall) = (white(128, 72), white(72, 128));
    assert_eq!(shapes(), ["128x128"]);
    // The box lies 32 to 64 px below the input's top edge, of which the square input pads 28 and the other one 12.
    assert_eq!(ask(&wide), 4.0);
    wait_for("an engine for wide images", || {
        ask(&wide);
        (shapes() == ["128x128", "96x128"]).then_some(())
    });
    assert_eq!(ask(&wide), 20.0, "the same picture, in its own shape");
    assert_eq!(inferer.metric("edgeloop_engine_info", ""), 2.0);
    wait_for("an engine for tall images instead", || {
        ask(&tall);
        (shapes() == ["128x128", "128x96"]).then_some(())
    });
    assert_eq!(ask(&wide), 4.0, "wide ones are back on the square engine");
}

#[test]
fn what_is_not_needed_is_loaded_only_within_the_memory_for_engines() {
    let (dir, store) = store();
    publish_shapeless(&store);
    let wide = jpeg(&image::RgbImage::from_pixel(128, 72, image::Rgb([255; 3])));
    // One thread alone is all that a box with one core has: nothing is left for a solo engine there.
    let solo = edgeloop_service::limits::available_cpus() > 1;
    for (memory, room) in [("1", false), ("0", true)] {
        let flags = ["--shapes", "auto", "--solo-engine", "true", "--threads", "1", "--engine-memory-mb", memory];
        let inferer = Inferer::ready(dir.path(), &flags);
        for _ in 0..40 {
            assert_eq!(inferer.post("image/jpeg", &wide).0, 200);
        }
        let seen = || {
            let engine = engine(&inferer);
            (engine["instances"].as_u64() > Some(0), engine["solo"] == true, engine["shapes"].as_array().map(Vec::len))
        };
        // With several cores the first engine is the one of all of them.
        let first_alone = (!solo, solo, Some(1));
        if room {
            wait_for("instances, the solo engine and the other shape", || (seen() == (true, solo, Some(2))).then_some(()));
        } else {
            assert_eq!(seen(), first_alone);
        }
    }
}

#[test]
fn an_impossible_pair_ends_with_2_before_anything_is_opened() {
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_edgeloop-inferer"))
        .args(["--device", "cpu", "--precision", "bf16", "--serve-addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for("its end", || child.try_wait().unwrap());
    let out = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned() + &String::from_utf8_lossy(&out.stdout);
    assert_eq!(out.status.code(), Some(2), "{said}");
    assert!(said.contains("DEVICE=openvino"), "{said}");
}
