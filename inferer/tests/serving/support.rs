//! A running inferer, a store to publish into, pictures, and waiting on conditions.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use clap::Parser;
use edgeloop_engine::toy::Toy;
use edgeloop_engine::{Device, InputView, LoadOptions, Precision};
use edgeloop_inferer::load::{Native, Runtime};
use edgeloop_inferer::run::{Parts, run};
use edgeloop_inferer::settings::Settings;
use edgeloop_model::{Array, Weights, safetensors};
use edgeloop_service::shutdown::Shutdown;
use edgeloop_store::{Architecture, Decision, Draft, FileKind, Metadata, Owner, Producer, Store};
use image::{ExtendedColorType, ImageEncoder, Rgb, RgbImage};
use serde_json::Value;
use tokio::sync::oneshot;

/// Input side of the toy detector: 2×2 patches of 32 px.
pub const SIDE: u32 = 64;

/// Waits until `found` gives something.
pub fn wait_for<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(value) = found() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A detector of bright quarters of a 64×64 input: class 0 («bright») fires on a patch with its brightness, its box the
/// patch. Class 1 («sign») fires on anchor 0 alone with `sign`: the version's signature, seen while the top left is dark.
pub fn detector(sign: f32) -> Toy {
    // Rows cx, cy, w, h, bright, sign × the anchors of the four patches, row-major.
    let mut offsets = vec![16.0, 48.0, 16.0, 48.0, 16.0, 16.0, 48.0, 48.0];
    offsets.extend([32.0; 8]);
    offsets.extend([0.0; 4]);
    offsets.extend([sign, 0.0, 0.0, 0.0]);
    let names = ("names".to_owned(), "{0: 'bright', 1: 'sign'}".to_owned());
    Toy { scales: [0.0, 0.0, 0.0, 0.0, 1.0, 0.0], offsets, metadata: vec![names] }
}

/// What the model answers for two noisy images: the version's check file. `shift` makes it wrong.
pub fn check_file(onnx: &[u8], shift: f32) -> Vec<u8> {
    let side = SIDE as usize;
    let options = LoadOptions { device: Device::Cpu, precision: Precision::Fp32, threads: 1, height: side, width: side };
    let mut engine = edgeloop_engine::load(onnx, &options).unwrap();
    let images: Vec<f32> = (0..2 * 3 * side * side).map(|i| (i * 2_654_435_761 % 255) as f32 / 255.0).collect();
    let output = engine.run(InputView { n: 2, h: side, w: side, data: &images }).unwrap();
    let mut arrays = Weights::new();
    arrays.insert("images", Array::f32([2, 3, side, side], images));
    arrays.insert("output0", Array::f32(output.shape, output.data.iter().map(|v| v + shift).collect()));
    safetensors::write(&arrays, &[]).unwrap()
}

/// A version to publish.
pub fn draft(onnx: Vec<u8>, check: Vec<u8>) -> Draft {
    Draft {
        architecture: Architecture { family: "yolov8".into(), scale: "n".into() },
        image_size: SIDE,
        classes: vec!["bright".into(), "sign".into()],
        dataset: Default::default(),
        training: Default::default(),
        metrics: Default::default(),
        compared_with: None,
        producer: Producer { name: "test".into(), version: "0".into(), host: "here".into() },
        files: vec![(FileKind::Weights, b"weights".to_vec()), (FileKind::Onnx, onnx), (FileKind::Check, check)],
    }
}

/// Publishes and promotes.
pub fn publish_draft(store: &Store, draft: Draft) -> Metadata {
    let lock = store.lock_training(&Owner::current("test")).unwrap();
    store.publish(&lock, draft, Decision::Promote { reason: "test".into() }).unwrap()
}

/// Publishes and promotes a detector with a signature.
pub fn publish(store: &Store, sign: f32) -> Metadata {
    let onnx = detector(sign).onnx();
    let check = check_file(&onnx, 0.0);
    publish_draft(store, draft(onnx, check))
}

/// What was printed.
#[derive(Clone, Default)]
pub struct Printed(Arc<Mutex<Vec<u8>>>);

impl Write for Printed {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Printed {
    /// The lines so far.
    pub fn lines(&self) -> Vec<Value> {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// A running inferer in this process. Dropping it stops it and looks whether it ended well.
pub struct Inferer {
    pub serving: SocketAddr,
    pub admin: SocketAddr,
    pub printed: Printed,
    pub shutdown: Shutdown,
    pub agent: ureq::Agent,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Inferer {
    pub fn start(models: &Path, more: &[&str]) -> Self {
        Self::start_with(models, more, Arc::new(Native))
    }

    pub fn start_with(models: &Path, more: &[&str], runtime: Arc<dyn Runtime>) -> Self {
        Self::start_parts(models, more, runtime, env!("CARGO_BIN_EXE_edgeloop-inferer").into())
    }

    /// With another program to try candidates with.
    pub fn start_program(models: &Path, more: &[&str], program: PathBuf) -> Self {
        Self::start_parts(models, more, Arc::new(Native), program)
    }

    fn start_parts(models: &Path, more: &[&str], runtime: Arc<dyn Runtime>, program: PathBuf) -> Self {
        let fixed = [
            ("--model-dir", models.to_str().unwrap()),
            ("--serve-addr", "127.0.0.1:0"),
            ("--admin-addr", "127.0.0.1:0"),
            ("--drain-delay", "0"),
            ("--device", "cpu"),
            // One engine in all unless a test asks for more.
            ("--instances", "1"),
            ("--threads", "1"),
            ("--solo-engine", "false"),
            ("--shapes", "square"),
            // No folder that root could make.
            ("--cache-dir", "/dev/null/cache"),
            ("--images-dir", "/nonexistent/images"),
        ];
        let fixed = fixed.into_iter().filter(|(flag, _)| !more.contains(flag)).flat_map(|(flag, value)| [flag, value]);
        let settings = Settings::try_parse_from(std::iter::once("edgeloop-inferer").chain(fixed).chain(more.iter().copied())).unwrap();
        let (shutdown, printed) = (Shutdown::new(), Printed::default());
        let (bound, addresses) = oneshot::channel();
        let parts = Parts { runtime, program, out: Box::new(printed.clone()), bound: Some(bound) };
        let stop = shutdown.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(run(settings, stop, parts))
        });
        let (serving, admin) = addresses.blocking_recv().expect("it starts");
        Self { serving, admin, printed, shutdown, agent: agent(), thread: Some(thread) }
    }

    /// Starts and waits until a model serves.
    pub fn ready(models: &Path, more: &[&str]) -> Self {
        let inferer = Self::start(models, more);
        wait_for("a model", || inferer.version());
        inferer
    }

    /// The version in service.
    pub fn version(&self) -> Option<String> {
        let (status, body) = self.get(self.serving, "/v1/model");
        (status == 200).then(|| body["version"].as_str().unwrap().to_owned())
    }

    pub fn get(&self, address: SocketAddr, path: &str) -> (u16, Value) {
        let mut response = self.agent.get(format!("http://{address}{path}")).call().unwrap();
        let text = response.body_mut().read_to_string().unwrap();
        (response.status().as_u16(), serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    pub fn post(&self, kind: &str, body: &[u8]) -> (u16, Value) {
        post(&self.agent, self.serving, kind, body)
    }

    /// The value of a metric; the sum over its labels that contain `label`.
    pub fn metric(&self, name: &str, label: &str) -> f64 {
        metric(&self.agent, self.admin, name, label)
    }

    /// Stops it; the way it ended.
    pub fn stop(mut self) -> anyhow::Result<()> {
        self.shutdown.trigger();
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Inferer {
    fn drop(&mut self) {
        self.shutdown.trigger();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            if !std::thread::panicking() {
                ended.expect("it did not panic").expect("it ended well");
            }
        }
    }
}

/// The value of a metric of whoever has this admin port; the sum over its labels that contain `label`.
pub fn metric(agent: &ureq::Agent, admin: SocketAddr, name: &str, label: &str) -> f64 {
    let text = agent.get(format!("http://{admin}/metrics")).call().unwrap().body_mut().read_to_string().unwrap();
    let lines = text.lines().filter(|l| l.starts_with(name) && l.contains(label));
    lines.map(|l| l.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

/// A client that gives up after a minute and takes every status as an answer.
pub fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_secs(60))).build().into()
}

pub fn post(agent: &ureq::Agent, address: SocketAddr, kind: &str, body: &[u8]) -> (u16, Value) {
    let mut request = agent.post(format!("http://{address}/infer"));
    if !kind.is_empty() {
        request = request.header("content-type", kind);
    }
    let mut response = request.send(body).expect("an answer, not a reset");
    let text = response.body_mut().read_to_string().unwrap();
    (response.status().as_u16(), serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text:?}")))
}

/// A black picture with one quarter white: 0 is top left, 1 top right, 2 and 3 below.
pub fn quarter(width: u32, height: u32, which: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let here = u32::from(x >= width / 2) + 2 * u32::from(y >= height / 2);
        Rgb(if here == which { [255; 3] } else { [0; 3] })
    })
}

pub fn jpeg(picture: &RgbImage) -> Vec<u8> {
    let mut bytes = Vec::new();
    let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 95);
    encoder.write_image(picture, picture.width(), picture.height(), ExtendedColorType::Rgb8).unwrap();
    bytes
}

pub fn png(picture: &RgbImage) -> Vec<u8> {
    let mut bytes = Vec::new();
    let encoder = image::codecs::png::PngEncoder::new(&mut bytes);
    encoder.write_image(picture, picture.width(), picture.height(), ExtendedColorType::Rgb8).unwrap();
    bytes
}

/// The confidence of the signature and the boxes of the bright patches in an answer.
pub fn read_answer(answer: &Value) -> (f64, Vec<[f64; 4]>) {
    let list = answer["detections"].as_array().unwrap_or_else(|| panic!("no detections in {answer}"));
    let confidences: Vec<f64> = list.iter().map(|d| d["confidence"].as_f64().unwrap()).collect();
    assert!(confidences.is_sorted_by(|a, b| a >= b), "not sorted: {answer}");
    let of = |class: u64| list.iter().filter(move |d| d["class"] == class);
    let sign = of(1).map(|d| d["confidence"].as_f64().unwrap()).next().unwrap_or(0.0);
    assert!(of(0).all(|d| d["label"] == "bright") && of(1).all(|d| d["label"] == "sign"));
    let boxes = of(0).map(|d| std::array::from_fn(|i| d["box"][i].as_f64().unwrap())).collect();
    (sign, boxes)
}
