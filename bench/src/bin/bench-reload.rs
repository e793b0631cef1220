//! Models change while requests come: what fails, what is mixed up, how long answers take, what memory comes to.
//!
//! Three real YOLOv8n networks with random weights take turns under requests at random moments at 70 % of what the server can
//! do. A request counts as «during a swap» when it was waiting at any time between the pointer's move and the first second of
//! the new version. Requests at random moments queue up, and a shared machine has bad minutes: so both sides take turns, each pair with
//! the same moments, and medians are compared.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use clap::Parser;
use edgeloop_bench::{
    figures::{median, percentile},
    inferer::{Inferer, program},
    load::Load,
    reload::{Answered, OpenLoop, Outcome, References, reference},
    versions,
};
use edgeloop_store::Store;
use serde_json::json;

/// Seeds of the three networks.
const SEEDS: [u64; 3] = [1, 2, 3];
/// The load, as a share of what can be done.
const SHARE: f64 = 0.7;
/// Swaps in a round, after a time without any.
const ROUND: usize = 20;
/// How long what can be done is measured.
const CAPACITY: Duration = Duration::from_secs(6);
/// Time from a version's first moment in service to the next move of the pointer.
const PAUSE: Duration = Duration::from_millis(400);
/// A swap's wake: what queued up during it is answered in this time.
const WAKE: Duration = Duration::from_millis(200);
/// A pointer that nobody follows for so long.
const LOST: Duration = Duration::from_secs(30);

/// Swaps models under load.
#[derive(Parser)]
struct Args {
    /// Swaps.
    #[arg(long, default_value_t = 200)]
    swaps: usize,
    /// Minutes to go on swapping instead of a number of swaps.
    #[arg(long)]
    minutes: Option<f64>,
    /// Seconds of load without swaps in each round of twenty swaps, for comparison: about as long as those take.
    #[arg(long, default_value_t = 45.0)]
    steady: f64,
    /// DEVICE of the inferer.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Width and height of the pictures.
    #[arg(long, num_args = 2, default_values_t = [1280, 720])]
    picture: Vec<u32>,
    /// Where the figures go as JSON.
    #[arg(long, default_value = "target/bench/reload.json")]
    out: PathBuf,
}

/// One change of the model.
struct Swap {
    moved: Instant,
    first_answer: Instant,
}

impl Swap {
    fn concerns(&self, answered: &Answered) -> bool {
        answered.due < self.first_answer + WAKE && answered.due + answered.latency > self.moved
    }
}

fn main() -> anyhow::Result<()> {
    let Args { swaps, minutes, steady, device, picture, out } = Args::parse();
    let &[width, height] = picture.as_slice() else { unreachable!("clap counts them") };
    let folder = tempfile::tempdir()?;
    let store = Store::create(folder.path().join("models"))?;
    let names = SEEDS.map(|seed| versions::publish(&store, seed)).into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    let images = (0..4).map(|seed| versions::jpeg(width, height, seed)).collect::<anyhow::Result<Vec<_>>>()?;
    let (models, cache) = (folder.path().join("models"), folder.path().join("cache"));
    let cache = cache.to_str().context("a temporary folder has a plain name")?;
    let settings = [("DEVICE", device.as_str()), ("CACHE_DIR", cache), ("INFERENCE_FOLDER", "false"), ("QUEUE", "64")];
    let inferer = Inferer::start(&program()?, &models, &settings)?;
    inferer.ready()?;
    inferer.warm(&images)?;

    let promote = |name: &str| store.promote(&name.parse()?, "bench", "next", false).map(drop).map_err(anyhow::Error::from);
    let mut references = References::new();
    for name in &names {
        promote(name)?;
        inferer.serves(name)?;
        references.insert(name.clone(), reference(inferer.serving, &images)?);
    }

    inferer.warm(&images)?;
    let closed =
        Load { address: inferer.serving, images: images.clone(), content_type: "image/jpeg", clients: 4, duration: CAPACITY, rate: None }
            .run()?;
    ensure!(closed.failed == 0, "{} requests failed without a swap", closed.failed);
    let rate = SHARE * closed.rate();
    eprintln!("{:.1} images/s can be done; {rate:.1} are asked for", closed.rate());

    let end = minutes.map(|minutes| Instant::now() + Duration::from_secs_f64(minutes * 60.0));
    let more = |done: usize| end.map_or(done < swaps, |end| Instant::now() < end);
    let (mut outcome, mut done, mut p99s, mut requests_during_swaps) = (Outcome::default(), Swapped::default(), Vec::new(), 0);
    while more(done.swaps.len()) {
        let load =
            OpenLoop { address: inferer.serving, images: &images, references: &references, rate, clients: 24, seed: p99s.len() as u64 };
        let until = Instant::now() + Duration::from_secs_f64(steady);
        let quiet = load.run(|| Instant::now() > until);
        let over = AtomicBool::new(false);
        let last = done.swaps.len() + ROUND;
        let busy = std::thread::scope(|scope| {
            let load = scope.spawn(|| load.run(|| over.load(Ordering::Relaxed)));
            let swapped = swap(&inferer, &promote, &names, &mut done, |done| done < last && more(done));
            over.store(true, Ordering::Relaxed);
            swapped.map(|()| load.join().unwrap_or_default())
        })?;
        let during = |answered: &Answered| done.swaps.iter().any(|swap| swap.concerns(answered));
        let [p50, p99, p99_swap] = [quiet.percentile(0.5, |_| true), quiet.percentile(0.99, |_| true), busy.percentile(0.99, during)];
        eprintln!(
            "{} swaps, {:.0} MB; p99 {p99:.0} ms without (p50 {p50:.0}), {p99_swap:.0} ms with, {:.2} x",
            done.swaps.len(),
            inferer.rss_mb()?,
            p99_swap / p99
        );
        requests_during_swaps += busy.answered.iter().filter(|answered| during(answered)).count();
        p99s.push([p50, p99, p99_swap]);
        outcome.add(quiet);
        outcome.add(busy);
    }
    ensure!(done.swaps.len() >= 10, "fewer than ten swaps say nothing about memory");
    let Swapped { swaps, rss_mb_10 } = done;
    let rss_mb_end = settled(&inferer)?;
    let [p50, p99, p99_swap] = [0, 1, 2].map(|which| median(p99s.iter().map(|round| round[which])));
    let Outcome { failed, mixed, first, .. } = &outcome;
    let times = || swaps.iter().map(|swap| (swap.first_answer - swap.moved).as_secs_f64());
    let figures = json!({
        "device": device,
        "image": format!("{width}x{height}"),
        "images_per_s": rounded(closed.rate()),
        "rate": rounded(rate),
        "swaps": swaps.len(),
        "requests": outcome.answered.len() as u64 + failed + mixed,
        "failed": failed,
        "mixed": mixed,
        "p50_ms": rounded(p50),
        "p99_ms": rounded(p99),
        "p99_swap_ms": rounded(p99_swap),
        "p99_ms_by_round": p99s.iter().map(|[_, p99, p99_swap]| [rounded(*p99), rounded(*p99_swap)]).collect::<Vec<_>>(),
        "requests_during_swaps": requests_during_swaps,
        "pointer_to_first_answer_s": {"p50": rounded(median(times())), "max": rounded(percentile(times(), 1.0))},
        "rss_mb_10": rounded(rss_mb_10),
        "rss_mb_end": rounded(rss_mb_end),
    });
    if let Some(folder) = out.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(&out, format!("{figures:#}\n")).with_context(|| format!("cannot write {}", out.display()))?;
    println!("{figures:#}");
    ensure!(failed + mixed == 0, "{failed} failed and {mixed} mixed: {}", first.as_deref().unwrap_or("see above"));
    let bound = if device == "cpu" { 1.5 } else { 2.0 };
    ensure!(p99_swap <= bound * p99, "p99 during swaps is {p99_swap:.1} ms, more than {bound} times the {p99:.1} ms without");
    ensure!(rss_mb_end <= 1.05 * rss_mb_10, "memory grew from {rss_mb_10:.0} MB after ten swaps to {rss_mb_end:.0} MB");
    Ok(())
}

#[derive(Default)]
struct Swapped {
    swaps: Vec<Swap>,
    rss_mb_10: f64,
}

/// Promotes one version after another while `more`.
fn swap(
    inferer: &Inferer,
    promote: &dyn Fn(&str) -> anyhow::Result<()>,
    names: &[String],
    done: &mut Swapped,
    more: impl Fn(usize) -> bool,
) -> anyhow::Result<()> {
    while more(done.swaps.len()) {
        let name = &names[done.swaps.len() % names.len()];
        let moved = Instant::now();
        promote(name)?;
        wait(inferer, name)?;
        done.swaps.push(Swap { moved, first_answer: Instant::now() });
        if done.swaps.len() == 10 {
            done.rss_mb_10 = settled(inferer)?;
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// Until the version answers: the load itself asks, this only looks which one is in the slot.
fn wait(inferer: &Inferer, name: &str) -> anyhow::Result<()> {
    let (began, mut client) = (Instant::now(), edgeloop_bench::client::Client::new(inferer.serving));
    while edgeloop_bench::inferer::version_in_service(&mut client).as_deref() != Some(name) {
        ensure!(began.elapsed() < LOST, "{name} is not in service after {LOST:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Memory some seconds after a swap, when the old model has gone and its memory has been given back: the median of a second.
fn settled(inferer: &Inferer) -> anyhow::Result<f64> {
    std::thread::sleep(Duration::from_secs(3));
    let seen = (0..11)
        .map(|_| {
            std::thread::sleep(Duration::from_millis(100));
            inferer.rss_mb()
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    Ok(median(seen))
}

fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
