//! How long an answer takes, how many there are a second, and how soon a new model answers:
//! `yardstick [SIDE | WIDTHxHEIGHT]... [-- flags of the inferer]`
//!
//! Publishes YOLOv8n with random weights, runs it bare (the better of one session on all cores and one a core), serves it in this
//! process, and asks over loopback with a JPEG of 1280×720 unless another size is given.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/random_model.rs"]
mod random_model;

use std::path::Path;
use std::time::{Duration, Instant};

use clap::Parser;
use edgeloop_engine::{Device, InputView, LoadOptions, Precision};
use edgeloop_inferer::Settings;
use edgeloop_inferer::run::{Parts, run};
use edgeloop_service::shutdown::Shutdown;
use edgeloop_store::Store;
use image::{ExtendedColorType, ImageEncoder};
use random_model::publish;
use serde_json::Value;
use tokio::sync::oneshot;

fn photo(width: u32, height: u32) -> Vec<u8> {
    let picture = image::RgbImage::from_fn(width, height, |x, y| {
        // Smooth shapes with grain, about as hard to decode as a camera's picture.
        let (u, v) = (f64::from(x) * 1280.0 / f64::from(width), f64::from(y) * 1280.0 / f64::from(width));
        let grain = ((x.wrapping_mul(7919) ^ y.wrapping_mul(104_729)).wrapping_mul(2_654_435_761) >> 28) as f64;
        let wave = |a: f64, b: f64| (128.0 + 90.0 * (u / a).sin() * (v / b).cos() + grain).clamp(0.0, 255.0) as u8;
        image::Rgb([wave(37.0, 53.0), wave(61.0, 29.0), wave(83.0, 41.0)])
    });
    let mut bytes = Vec::new();
    let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 88);
    encoder.write_image(&picture, width, height, ExtendedColorType::Rgb8).unwrap();
    bytes
}

/// Images a second and median milliseconds of `instances` bare sessions, each in a loop of its own.
fn bare(onnx: &[u8], side: usize, instances: usize, threads: usize) -> (f64, f64) {
    let options = LoadOptions { device: Device::Cpu, precision: Precision::Fp32, threads, height: side, width: side };
    let engines = edgeloop_engine::load_many(onnx, &options, instances).unwrap();
    let (started, until) = (Instant::now(), Instant::now() + Duration::from_secs(4));
    let loops: Vec<_> = engines
        .into_iter()
        .map(|mut engine| {
            std::thread::spawn(move || {
                let data = vec![0.3; 3 * side * side];
                let mut runs = Vec::new();
                while Instant::now() < until {
                    let run = Instant::now();
                    engine.run(InputView { n: 1, h: side, w: side, data: &data }).unwrap();
                    runs.push(run.elapsed().as_secs_f64() * 1e3);
                }
                runs
            })
        })
        .collect();
    let runs: Vec<f64> = loops.into_iter().flat_map(|l| l.join().unwrap()).collect();
    (runs.len() as f64 / started.elapsed().as_secs_f64(), median(runs))
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

fn throughput(url: &str, photo: &[u8], clients: usize) -> f64 {
    let until = Instant::now() + Duration::from_secs(6);
    let clients: Vec<_> = (0..clients)
        .map(|_| {
            let (url, photo) = (url.to_owned(), photo.to_vec());
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
    f64::from(answered) / 6.0
}

fn measure(dir: &Path, side: usize, photo: &[u8], flags: &[String]) {
    let store = Store::create(dir).unwrap();
    publish(&store, side, 1);
    let onnx = std::fs::read(dir.join("latest.onnx")).unwrap();
    let cores = edgeloop_service::limits::available_cpus();
    for (instances, threads) in [(1, cores), (cores, 1)] {
        let (rate, ms) = bare(&onnx, side, instances, threads);
        println!("{side}: bare ONNX Runtime fp32, {instances} × {threads}: {rate:.1} images/s, median {ms:.1} ms");
    }
    let decodes = (0..20).map(|_| {
        let started = Instant::now();
        std::hint::black_box(edgeloop_vision::decode::decode(photo, &Default::default()).unwrap());
        started.elapsed().as_secs_f64() * 1e3
    });
    println!("{side}: decode alone, median {:.1} ms", median(decodes.collect()));
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
        // The child would be this example.
        "--candidate-process",
        "false",
        "--model-dir",
    ];
    let settings =
        Settings::try_parse_from(settings.iter().copied().chain([dir.to_str().unwrap()]).chain(flags.iter().map(String::as_str))).unwrap();
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
    // Until the keeper has nothing left to do: measured, upgraded, another shape, solo engines.
    let settled = Instant::now() + Duration::from_secs(12);
    while Instant::now() < settled {
        ask(&one, &url, photo).unwrap();
    }
    let model: Value = one.get(url.replace("/infer", "/v1/model")).call().unwrap().body_mut().read_to_string().unwrap().parse().unwrap();
    println!("{side}: engine {}", model["engine"]);
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
    for clients in [4, 16] {
        println!("{side}: {clients} clients: {:.1} images/s", throughput(&url, photo, clients));
    }
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
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let flags = arguments.iter().position(|a| a == "--").map(|at| arguments.split_off(at)).unwrap_or_default();
    let (mut sides, mut size) = (Vec::new(), (1280, 720));
    for argument in &arguments {
        match argument.split_once('x') {
            Some((w, h)) => size = (w.parse().unwrap(), h.parse().unwrap()),
            None => sides.push(argument.parse().unwrap()),
        }
    }
    let photo = photo(size.0, size.1);
    println!("photo: {size:?}, {} bytes; {} CPUs", photo.len(), edgeloop_service::limits::available_cpus());
    for side in if sides.is_empty() { vec![320, 640] } else { sides } {
        measure(tempfile::tempdir().unwrap().path(), side, &photo, flags.get(1..).unwrap_or_default());
    }
}
