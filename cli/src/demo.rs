//! `edgeloop demo`: the whole loop once, on this box, with a sample data set or a folder of one's own.
//!
//! ```text
//! images ─► agent: online? ─► inferer waits ─► train ─► published ─► first answer ─► table, picture, curves
//!                                                         └─► train again while requests keep coming ─► swapped ─► summary
//! ```
//!
//! Every part is the real one: the binaries beside `edgeloop`, started as children, talking through the store and HTTP.

mod client;
mod handoff;
mod parts;
mod report;
pub mod scene;
mod traffic;
mod training;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use self::{client::InferClient, handoff::PointerWatch, parts::Parts, report::Summary, traffic::Traffic, training::Training};

/// A folder of ours carries this file, so that a second run clears only what a first run made.
const MARKER: &str = ".edgeloop-demo";
/// What the sample data set must reach (a like set and network reached 0.91 with the usual tool).
const SAMPLE_MAP50: f64 = 0.85;
/// The issue's limits, enforced with `--strict`.
const MAX_TOTAL: Duration = Duration::from_secs(300);
const MAX_PUBLISH_TO_ANSWER_S: f64 = 1.0;

/// Train, publish, serve and swap once, and show what came out.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  edgeloop demo                        draw a sample data set and run the loop on it
  edgeloop demo --data ~/photos        the same on your own images (YOLO txt, data.yaml or COCO labels)
  edgeloop demo --data d --imgsz 320 --epochs 100")]
pub struct DemoArgs {
    /// Your own folder of labelled images instead of the drawn ones
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where pictures, logs and summary.json go
    #[arg(long, value_name = "DIR", default_value = "demo/out")]
    out: PathBuf,
    /// Fail on a missed time too: 5 minutes in all, 1 s from publish to first answer
    #[arg(long)]
    strict: bool,
    /// Epochs of the first training, from scratch
    #[arg(long, default_value_t = 50)]
    epochs: u32,
    /// Epochs of the second training, which starts from the first model
    #[arg(long, default_value_t = 6)]
    second_epochs: u32,
    /// Input size in pixels, a multiple of 32
    #[arg(long, default_value_t = 160)]
    imgsz: u32,
    /// Images a batch
    #[arg(long, default_value_t = 8)]
    batch: u32,
    /// Network size
    #[arg(long, default_value = "n", value_parser = ["n", "s", "m", "l", "x"])]
    scale: String,
    /// Seed of the drawn images and of the training
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// Runs the demo.
///
/// # Errors
/// A part that does not start or dies, a training that publishes nothing, a folder that cannot be written.
pub fn run(args: DemoArgs) -> Result<ExitCode> {
    let started = Instant::now();
    let run_dir = prepare_out(&args.out)?;
    let images = images(&args)?;

    let parts = Parts::start(&run_dir, &args.out.join("logs"))?;
    step(started, "agent", &parts.wait_online()?);
    parts.wait_for_server()?;
    step(started, "inferer", &format!("up on {}, waiting for a first model", parts.serve_url()));

    let client = InferClient::new(parts.serve_url());
    let watch = PointerWatch::start(parts.models_dir());

    let first =
        Training { name: "train-1", images: &images, args: &args, epochs: args.epochs, beside_traffic: false }.run(&parts, started)?;
    let first_pointer = watch.wait_for(&first.version)?;
    let sample = fs::read(&first.val_image).with_context(|| format!("reading {}", first.val_image.display()))?;
    let (answer, answered) = client.wait_for_model(&first.version, &sample, Duration::from_secs(30))?;
    let publish_to_answer = answered.duration_since(first_pointer);
    step(started, "published", &format!("{} mAP50 {:.3}, mAP50-95 {:.3}", first.version, first.map50, first.map50_95));
    step(started, "answered", &format!("{:.0} ms after the pointer moved", publish_to_answer.as_secs_f64() * 1e3));

    println!("\n{}", report::table(&first.val_image, &answer));
    report::annotated(&sample, &answer, &args.out.join("detections.png"))?;
    report::curves(&first.epochs_log, &args.out.join("training.png"))?;

    let traffic = Traffic::start(&client, vec![sample]);
    let second = Training { name: "train-2", images: &images, args: &args, epochs: args.second_epochs, beside_traffic: true }
        .run(&parts, started)?;
    let second_pointer = watch.wait_for(&second.version)?;
    let swapped = traffic.wait_for_model(&second.version, Duration::from_secs(30))?;
    // A second of traffic on the new model, so that a swap that breaks later is seen too.
    traffic.wait_for_answers(&second.version, 20, Duration::from_secs(10))?;
    let counts = traffic.stop();
    parts.check_alive()?;
    step(
        started,
        "swapped",
        &format!(
            "{} → {} in {:.0} ms under traffic: {} requests, {} failed",
            first.version,
            second.version,
            swapped.duration_since(second_pointer).as_secs_f64() * 1e3,
            counts.requests,
            counts.failed
        ),
    );
    parts.stop()?;

    let summary = Summary {
        map50: first.map50,
        map50_95: first.map50_95,
        train_s: first.seconds,
        publish_to_answer_s: publish_to_answer.as_secs_f64(),
        requests: counts.requests,
        failed_requests: counts.failed,
        versions: vec![first.version.to_string(), second.version.to_string()],
        second_map50: second.map50,
        second_map50_95: second.map50_95,
        second_train_s: second.seconds,
        swap_to_answer_s: swapped.duration_since(second_pointer).as_secs_f64(),
        answers_by_version: counts.by_model,
        total_s: started.elapsed().as_secs_f64(),
        missed: Vec::new(),
    };
    let summary = summary.judged(args.data.is_none().then_some(SAMPLE_MAP50), args.strict, counts.first_failure);
    summary.write(&args.out.join("summary.json"))?;
    println!("\n{}", summary.text(&args.out));
    Ok(if summary.missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Prints what was reached and when.
fn step(started: Instant, what: &str, text: &str) {
    println!("[{:6.1} s] {what:10} {text}", started.elapsed().as_secs_f64());
}

/// Makes the output folder and an empty run folder in it; returns the latter.
fn prepare_out(out: &Path) -> Result<PathBuf> {
    let run = out.join("run");
    if run.exists() {
        if !run.join(MARKER).exists() {
            bail!("{} exists and is not a demo's: choose another --out", run.display());
        }
        fs::remove_dir_all(&run).with_context(|| format!("clearing {}", run.display()))?;
    }
    fs::create_dir_all(&run).with_context(|| format!("making {}", run.display()))?;
    fs::write(run.join(MARKER), "made by `edgeloop demo`; cleared by its next run\n")?;
    // The children get paths that hold wherever they run.
    fs::canonicalize(&run).with_context(|| format!("resolving {}", run.display()))
}

/// The user's folder, or the sample data set, drawn once and kept.
fn images(args: &DemoArgs) -> Result<PathBuf> {
    if let Some(dir) = &args.data {
        return fs::canonicalize(dir).with_context(|| format!("--data {}: no such folder", dir.display()));
    }
    let dir = args.out.join("images");
    if dir.exists() {
        fs::remove_dir_all(&dir)?;
    }
    let drawn = scene::draw_dataset(&dir, 240, args.seed, 320).context("drawing the sample data set")?;
    let [bolts, nuts, washers] = drawn.per_class;
    println!("drew {} images with {bolts} bolts, {nuts} nuts and {washers} washers into {}", drawn.images, dir.display());
    Ok(fs::canonicalize(&dir)?)
}
