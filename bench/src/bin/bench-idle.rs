//! What an inferer costs that has nothing to do, and how long the first answer takes: after a start, after a move of the pointer.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use clap::Parser;
use edgeloop_bench::{
    client::Client,
    inferer::{Inferer, program, until, version_in_service},
    versions,
};
use edgeloop_store::Store;
use serde_json::json;

/// Nothing for so long is idling; and whatever a swap leaves to do is done by then.
const IDLE: Duration = Duration::from_secs(2);

/// Measures starts, swaps and idling.
#[derive(Parser)]
struct Args {
    /// DEVICE of the inferer.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Starts and swaps of each kind.
    #[arg(long, default_value_t = 10)]
    times: usize,
    /// Images in the folder.
    #[arg(long, default_value_t = 1000)]
    images: u64,
    /// Seconds that it idles.
    #[arg(long, default_value_t = 60.0)]
    idle: f64,
    /// CHECK_MODEL_INTERVAL where there are no notices, seconds.
    #[arg(long, default_value_t = 2.0)]
    interval: f64,
    /// Where the figures go as JSON.
    #[arg(long, default_value = "target/bench/idle.json")]
    out: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let Args { device, times, images, idle, interval, out } = Args::parse();
    let folder = tempfile::tempdir()?;
    let (models, pictures) = (folder.path().join("models"), folder.path().join("images"));
    let store = Store::create(&models)?;
    let names = [versions::publish(&store, 1)?, versions::publish(&store, 2)?];
    let photo = versions::jpeg(1280, 720, 1)?;
    let program = program()?;
    let quiet = ("INFERENCE_FOLDER", "false");
    let cache = folder.path().join("cache");
    let cache = ("CACHE_DIR", cache.to_str().context("a temporary folder has a plain name")?);

    let mut starts = Vec::new();
    for _ in 0..times {
        let began = Instant::now();
        let inferer = Inferer::start(&program, &models, &[("DEVICE", &device), cache, quiet])?;
        inferer.ready()?;
        starts.push(began.elapsed());
    }

    let inferer = Inferer::start(&program, &models, &[("DEVICE", &device), cache, quiet])?;
    inferer.ready()?;
    inferer.warm(std::slice::from_ref(&photo))?;
    let with_notices = swaps(&store, &inferer, &names, times, &photo)?;
    drop(inferer);
    let seconds = interval.to_string();
    let inferer = Inferer::start(
        &program,
        &models,
        &[("DEVICE", &device), cache, quiet, ("MODEL_NOTICES", "false"), ("CHECK_MODEL_INTERVAL", &seconds)],
    )?;
    inferer.ready()?;
    inferer.warm(std::slice::from_ref(&photo))?;
    let without = swaps(&store, &inferer, &names, times.min(5), &photo)?;
    drop(inferer);

    fill(&pictures, images)?;
    let dir = pictures.to_str().context("a temporary folder has a plain name")?;
    let inferer = Inferer::start(&program, &models, &[("DEVICE", &device), cache, ("IMAGES_DIR", dir)])?;
    let began = Instant::now();
    let inferred = || inferer.metric("edgeloop_infer_images_total", "folder").unwrap_or(0.0);
    while inferred() < images as f64 {
        ensure!(began.elapsed() < Duration::from_secs(600), "only {} of {images} images were inferred in ten minutes", inferred());
        std::thread::sleep(Duration::from_millis(200));
    }
    std::thread::sleep(Duration::from_secs(3));
    let (before, since) = (inferer.cpu()?, Instant::now());
    std::thread::sleep(Duration::from_secs_f64(idle));
    let idle_cpu = (inferer.cpu()? - before).as_secs_f64() / since.elapsed().as_secs_f64() * 100.0;
    let rss = inferer.rss_mb()?;

    let figures = json!({
        "device": device,
        "cold_start_to_ready_s": times_of(&mut starts),
        "pointer_to_first_answer_s": {"notices": times_of(&mut with_notices.clone()), "no_notices": times_of(&mut without.clone()), "interval_s": interval},
        "idle": {"images": images, "cpu_percent_of_a_core": rounded(idle_cpu), "rss_mb": rounded(rss), "seconds": idle},
    });
    if let Some(folder) = out.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(&out, format!("{figures:#}\n")).with_context(|| format!("cannot write {}", out.display()))?;
    println!("{figures:#}");
    let bound = if device == "cpu" { 0.5 } else { 3.0 };
    let median = |times: &[Duration]| times[times.len() / 2].as_secs_f64();
    ensure!(device != "cpu" || median(&starts) <= 1.0, "a cold start takes more than a second");
    ensure!(median(&sorted(with_notices)) <= bound, "the first answer of a new model takes more than {bound} s");
    ensure!(
        sorted(without).last().is_none_or(|t| t.as_secs_f64() <= interval + 3.0),
        "without notices it takes more than the interval and 3 s"
    );
    ensure!(idle_cpu <= 0.5, "idling takes {idle_cpu:.2} % of a core");
    Ok(())
}

/// From the pointer's move to the end of the first answer of the new version, with nothing else to do.
fn swaps(store: &Store, inferer: &Inferer, names: &[String], times: usize, photo: &[u8]) -> anyhow::Result<Vec<Duration>> {
    let mut client = Client::new(inferer.serving);
    let mut taken = Vec::new();
    std::thread::sleep(IDLE);
    for n in 0..times {
        let name = &names[n % names.len()];
        let promoted = store.promote(&name.parse()?, "bench", "next", false);
        let moved = Instant::now();
        promoted?;
        until(&format!("{name} is in service"), || version_in_service(&mut client).as_deref() == Some(name.as_str()))?;
        let (status, answer) = client.infer(photo)?;
        ensure!(status == 200 && answer["model"] == name.as_str(), "{status} {answer}");
        taken.push(moved.elapsed());
        std::thread::sleep(IDLE);
    }
    Ok(taken)
}

/// So many small pictures.
fn fill(folder: &Path, images: u64) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)?;
    for n in 0..images {
        std::fs::write(folder.join(format!("{n:05}.jpg")), versions::jpeg(320, 240, n)?)?;
    }
    Ok(())
}

fn sorted(mut times: Vec<Duration>) -> Vec<Duration> {
    times.sort();
    times
}

/// Median and maximum, seconds.
fn times_of(times: &mut [Duration]) -> serde_json::Value {
    times.sort();
    let seconds = |time: Option<&Duration>| rounded(time.map_or(f64::NAN, Duration::as_secs_f64));
    json!({"p50": seconds(times.get(times.len() / 2)), "max": seconds(times.last()), "n": times.len()})
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
