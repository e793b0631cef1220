//! How long an answer takes, how many there are a second, and how soon a new model answers: `yardstick [SIDE]...`
//!
//! Publishes YOLOv8n with random weights, serves it in this process, and asks over loopback with a 1280×720 JPEG.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;
use std::time::{Duration, Instant};

use clap::Parser;
use edgeloop_engine::{Device, InputView, LoadOptions, Precision};
use edgeloop_inferer::Settings;
use edgeloop_inferer::run::{Parts, run};
use edgeloop_model::onnx::{OnnxMeta, emit};
use edgeloop_model::{Array, Network, Scale, Weights, safetensors};
use edgeloop_service::shutdown::Shutdown;
use edgeloop_store::{Architecture, Decision, Draft, FileKind, Owner, Producer, Store};
use image::{ExtendedColorType, ImageEncoder};
use serde_json::Value;
use tokio::sync::oneshot;

fn publish(store: &Store, side: usize, seed: u64) -> String {
    let network = Network::yolov8(Scale::N, 3);
    let names: Vec<String> = ["bolt", "nut", "washer"].map(Into::into).into();
    let weights = Weights::init(&network, seed);
    let onnx = emit(&network, &weights, &OnnxMeta { names: names.clone(), imgsz: side, stride: 32, extra: Vec::new() }).unwrap();
    let mut engine = edgeloop_engine::load(
        &onnx,
        &LoadOptions { device: Device::Cpu, precision: Precision::Fp32, threads: 2, height: side, width: side },
    )
    .unwrap();
    let images: Vec<f32> = (0..3 * side * side).map(|i| (i * 2_654_435_761 % 255) as f32 / 255.0).collect();
    let output = engine.run(InputView { n: 1, h: side, w: side, data: &images }).unwrap();
    let mut check = Weights::new();
    check.insert("images", Array::f32([1, 3, side, side], images));
    check.insert("output0", Array::f32(output.shape, output.data));
    let files = vec![(FileKind::Weights, vec![0]), (FileKind::Onnx, onnx), (FileKind::Check, safetensors::write(&check, &[]).unwrap())];
    let draft = Draft {
        architecture: Architecture { family: "yolov8".into(), scale: "n".into() },
        image_size: side as u32,
        classes: names,
        dataset: Default::default(),
        training: Default::default(),
        metrics: Default::default(),
        compared_with: None,
        producer: Producer { name: "yardstick".into(), version: "0".into(), host: "here".into() },
        files,
    };
    let lock = store.lock_training(&Owner::current("yardstick")).unwrap();
    store.publish(&lock, draft, Decision::Promote { reason: "yardstick".into() }).unwrap().version.to_string()
}

fn photo() -> Vec<u8> {
    let picture = image::RgbImage::from_fn(1280, 720, |x, y| {
        let noise = ((x * 7919 + y * 104_729).wrapping_mul(2_654_435_761) >> 27) as u8;
        image::Rgb([(x / 5) as u8 ^ noise, (y / 3) as u8, noise * 4])
    });
    let mut bytes = Vec::new();
    let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 85);
    encoder.write_image(&picture, 1280, 720, ExtendedColorType::Rgb8).unwrap();
    bytes
}

fn ask(agent: &ureq::Agent, url: &str, photo: &[u8]) -> Option<Value> {
    let mut response = agent.post(url).header("content-type", "image/jpeg").send(photo).ok()?;
    let status = response.status();
    let body = serde_json::from_str(&response.body_mut().read_to_string().ok()?).ok()?;
    (status == 200).then_some(body)
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_secs(60))).build().into()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn measure(dir: &Path, side: usize, photo: &[u8]) {
    let store = Store::create(dir).unwrap();
    publish(&store, side, 1);
    let settings = [
        "x",
        "--serve-addr",
        "127.0.0.1:0",
        "--admin-addr",
        "127.0.0.1:0",
        "--drain-delay",
        "0",
        "--inference-folder",
        "false",
        "--model-dir",
    ];
    let settings = Settings::try_parse_from(settings.iter().copied().chain([dir.to_str().unwrap()])).unwrap();
    let (shutdown, (bound, addresses)) = (Shutdown::new(), oneshot::channel());
    let stop = shutdown.clone();
    let server = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(run(settings, stop, Parts { bound: Some(bound), ..Parts::default() })).unwrap();
    });
    let url = format!("http://{}/infer", addresses.blocking_recv().unwrap().0);
    let one = agent();
    while ask(&one, &url, photo).is_none() {
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut rows: Vec<Value> = Vec::new();
    let walls: Vec<f64> = (0..100)
        .map(|_| {
            let started = Instant::now();
            rows.push(ask(&one, &url, photo).unwrap());
            started.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    let stage = |name: &str| median(rows.iter().map(|r| r["timing_ms"][name].as_f64().unwrap()).collect());
    let best = walls.iter().copied().fold(f64::INFINITY, f64::min);
    println!(
        "{side}: one client, median of 100: wall {:.1} ms (best {best:.1}): decode {:.1}, queue {:.2}, infer {:.1}, post {:.2}, total {:.1}",
        median(walls),
        stage("decode"),
        stage("queue"),
        stage("infer"),
        stage("post"),
        stage("total")
    );
    let until = Instant::now() + Duration::from_secs(5);
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (url, photo) = (url.clone(), photo.to_vec());
            std::thread::spawn(move || {
                let agent = agent();
                let mut answered = 0;
                while Instant::now() < until {
                    answered += u32::from(ask(&agent, &url, &photo).is_some());
                }
                answered
            })
        })
        .collect();
    let answered: u32 = clients.into_iter().map(|c| c.join().unwrap()).sum();
    println!("{side}: 4 clients: {:.1} images/s", f64::from(answered) / 5.0);
    let mut swaps = Vec::new();
    for seed in 2..7 {
        let version = publish(&store, side, seed);
        let moved = Instant::now();
        while ask(&one, &url, photo).unwrap()["model"] != version.as_str() {}
        swaps.push(moved.elapsed().as_secs_f64() * 1e3);
    }
    println!("{side}: pointer to first answer, one client asking: median {:.0} ms of {swaps:.0?}", median(swaps.clone()));
    shutdown.trigger();
    server.join().unwrap();
}

fn main() {
    let photo = photo();
    println!("photo: {} bytes; {} CPUs", photo.len(), edgeloop_service::limits::available_cpus());
    let sides: Vec<usize> = std::env::args().skip(1).map(|s| s.parse().unwrap()).collect();
    for side in if sides.is_empty() { vec![320, 640] } else { sides } {
        measure(tempfile::tempdir().unwrap().path(), side, &photo);
    }
}
