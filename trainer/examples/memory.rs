//! Does memory grow with the number of images? Trains 300 steps on 500 images and on 50,000 and compares the peaks.
//!
//! `make bench-memory`, or `cargo run --release -p edgeloop-trainer --example memory -- --out target/bench/memory.json`

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

use anyhow::{Context, ensure};
use clap::Parser;
use edgeloop_store::EpochLog;
use edgeloop_trainer::{
    data::{DataOptions, Scan, scan},
    fit::{BatchDone, Job, Observer, Plan, fit},
    machine,
    settings::Settings,
    start::{Request, Start},
};
use edgeloop_vision::{Image, encode::encode_jpeg};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

/// Side of the drawn pictures.
const SIDE: u32 = 256;

#[derive(Parser)]
struct Args {
    /// Images of the large set; its files beyond `distinct` are copies under other names.
    #[arg(long, default_value_t = 50_000)]
    images: usize,
    /// Different images, and those of the small set.
    #[arg(long, default_value_t = 500)]
    distinct: usize,
    /// Steps of each training.
    #[arg(long, default_value_t = 300)]
    steps: u64,
    /// Side of the input: 400 train images of 256 px are 79 MB, more than the cache holds, as 40,000 are.
    #[arg(long, default_value_t = 256)]
    imgsz: u32,
    /// Images a batch.
    #[arg(long, default_value_t = 8)]
    batch: u32,
    /// Memory for pictures, MiB.
    #[arg(long, default_value_t = 64)]
    cache_mb: usize,
    /// Disk for pictures, MiB.
    #[arg(long, default_value_t = 1024)]
    cache_disk_mb: u64,
    /// Where the figures go.
    #[arg(long, default_value = "target/bench/memory.json")]
    out: PathBuf,
    /// Trains on this folder and prints the figures: what this program starts as its own child.
    #[arg(long, hide = true)]
    child: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if let Some(dir) = &args.child {
        println!("{}", train(&args, dir)?);
        return Ok(());
    }
    ensure!(args.distinct >= 10 && args.images >= args.distinct, "at least ten different images");
    let work = tempfile::tempdir().context("no room for the images")?;
    let mut rows = Vec::new();
    for images in [args.distinct, args.images] {
        let dir = work.path().join(format!("{images}"));
        draw(&dir.join("images"), args.distinct, images)?;
        // The large one twice: the second scan knows the images.
        let runs: &[bool] = if images == args.images { &[false, true] } else { &[false] };
        for &again in runs {
            let row = child(&args, &dir)?;
            eprintln!("{images} images{}: {row}", if again { ", again" } else { "" });
            rows.push(json!({"images": images, "scanned_before": again, "figures": row}));
        }
    }
    let peak = |row: &Value| row["figures"]["training_peak_mb"].as_f64().context("a child said no figures");
    let peaks = rows.iter().map(peak).collect::<anyhow::Result<Vec<f64>>>()?;
    let (small, large) = (peaks[0], peaks[1..].iter().copied().fold(0.0, f64::max));
    let report = json!({"steps": args.steps, "imgsz": args.imgsz, "batch": args.batch, "cache_mb": args.cache_mb,
        "distinct": args.distinct, "rows": rows, "ratio": large / small, "allowed": 1.10});
    if let Some(dir) = args.out.parent() {
        fs::create_dir_all(dir)?;
    }
    fs::write(&args.out, serde_json::to_string_pretty(&report)? + "\n").with_context(|| format!("cannot write {}", args.out.display()))?;
    println!("{small:.0} MB at {} images, {large:.0} MB at {}: {:.3}×; {}", args.distinct, args.images, large / small, args.out.display());
    ensure!(large <= small * 1.10, "memory grows with the number of images");
    Ok(())
}

/// Coloured rectangles on noise, one box each; the same files for the same numbers. Copies are hard links: other names, the same
/// content, so that all of one picture are on one side of the split.
fn draw(dir: &Path, distinct: usize, images: usize) -> anyhow::Result<()> {
    fs::create_dir_all(dir)?;
    fs::write(dir.join("classes.txt"), "red\nblue\n")?;
    for thousand in 0..=images / 1000 {
        fs::create_dir_all(dir.join(format!("{thousand:03}")))?;
    }
    for number in 0..distinct {
        let mut rng = ChaCha8Rng::seed_from_u64(number as u64);
        let mut image = Image::filled(SIDE, SIDE, [0; 3]);
        image.data.iter_mut().for_each(|byte| *byte = rng.random_range(96..160));
        let (class, side) = (number % 2, rng.random_range(40..100u32));
        let (left, top) = (rng.random_range(0..SIDE - side), rng.random_range(0..SIDE - side));
        for (y, x) in (top..top + side).flat_map(|y| (left..left + side).map(move |x| (y, x))) {
            let at = ((y * SIDE + x) * 3) as usize;
            image.data[at..at + 3].copy_from_slice(&[[210, 40, 40], [40, 40, 210]][class]);
        }
        let of = |value: u32| f64::from(value) / f64::from(SIDE);
        let row = format!("{class} {} {} {} {}\n", of(left) + of(side) / 2.0, of(top) + of(side) / 2.0, of(side), of(side));
        fs::write(name(dir, number, "jpg"), encode_jpeg(&image, 85)?)?;
        fs::write(name(dir, number, "txt"), row)?;
    }
    for number in distinct..images {
        for ending in ["jpg", "txt"] {
            let (from, to) = (name(dir, number % distinct, ending), name(dir, number, ending));
            fs::hard_link(&from, &to)
                .or_else(|_| fs::copy(&from, &to).map(drop))
                .with_context(|| format!("cannot make {}", to.display()))?;
        }
    }
    Ok(())
}

fn name(dir: &Path, number: usize, ending: &str) -> PathBuf {
    dir.join(format!("{:03}", number / 1000)).join(format!("{number:06}.{ending}"))
}

fn child(args: &Args, dir: &Path) -> anyhow::Result<Value> {
    let Args { steps, imgsz, batch, cache_mb, cache_disk_mb, .. } = args;
    let output = Command::new(std::env::current_exe()?)
        .args([format!("--steps={steps}"), format!("--imgsz={imgsz}"), format!("--batch={batch}")])
        .args([format!("--cache-mb={cache_mb}"), format!("--cache-disk-mb={cache_disk_mb}")])
        .arg("--child")
        .arg(dir)
        .stderr(std::process::Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "the training ended with {}", output.status);
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// What a run does, up to the last step: settings, scan, fit. Nothing is judged but what falls into these steps.
fn train(args: &Args, dir: &Path) -> anyhow::Result<Value> {
    let text = |path: PathBuf| path.to_string_lossy().into_owned();
    let settings = Settings::try_parse_from([
        "memory".to_owned(),
        format!("--images-dir={}", text(dir.join("images"))),
        format!("--imgsz={}", args.imgsz),
        format!("--batch-size={}", args.batch),
        format!("--cache-mb={}", args.cache_mb),
        format!("--cache-dir={}", text(dir.join("pictures"))),
        format!("--cache-disk-mb={}", args.cache_disk_mb),
        "--epochs=100000".to_owned(),
    ])?;
    machine::use_threads(settings.resources.threads());
    let started = Instant::now();
    let options = DataOptions { memory_dir: Some(dir.join("scan")), ..settings.data_options() };
    let Scan::Ready(dataset) = scan(&settings.images_dir, &options)? else { anyhow::bail!("no labels") };
    let (scan_s, scan_mb, remembered) = (started.elapsed().as_secs_f64(), memory_mb("VmRSS")?, dataset.report.remembered);
    let hyper = settings.hyper(&dataset, false);
    let start = Start::scratch(&Request { scale: settings.scale, classes: &dataset.classes, seed: settings.seed });
    let stop = AtomicBool::new(false);
    let train_images = dataset.train.len();
    let job = Job {
        hyper,
        network: &start.network,
        init: None,
        dataset: Arc::new(dataset),
        device: settings.device,
        workers: settings.resources.workers(),
        cache_mb: settings.resources.cache_mb(),
        checkpoint: None,
        budget: None,
        stop: &|| stop.load(Ordering::Relaxed),
    };
    let mut counter = Counter { steps: 0, most: args.steps, stop: &stop, before_judging: None };
    let began = Instant::now();
    fit(&job, &mut counter)?;
    ensure!(counter.steps == args.steps, "{} steps were done", counter.steps);
    let peak = memory_mb("VmHWM")?;
    Ok(json!({"steps": counter.steps, "train_images": train_images, "remembered": remembered, "scan_s": scan_s,
        "rss_after_scan_mb": scan_mb, "peak_rss_mb": peak, "training_peak_mb": counter.before_judging.unwrap_or(peak), "seconds": began.elapsed().as_secs_f64()}))
}

struct Counter<'a> {
    steps: u64,
    most: u64,
    stop: &'a AtomicBool,
    /// The small set is judged within these steps, the large one is not: what judging takes on top is left out of the comparison.
    before_judging: Option<f64>,
}

impl Observer for Counter<'_> {
    fn started(&mut self, _: &Plan, _: &[EpochLog]) {}

    fn batch(&mut self, _: &BatchDone) {
        self.steps += 1;
        self.stop.store(self.steps >= self.most, Ordering::Relaxed);
    }

    fn judging(&mut self) {
        self.before_judging = self.before_judging.or_else(|| memory_mb("VmHWM").ok());
    }

    fn epoch(&mut self, _: &EpochLog) -> anyhow::Result<()> {
        Ok(())
    }
}

/// A line of /proc/self/status, in MiB.
fn memory_mb(line: &str) -> anyhow::Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let value = status.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(':')).context("no such line")?;
    let kib: f64 = value.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib / 1024.0)
}
