//! Yardstick of the train loader: images a second, CPU time an image, and a look at a batch.
//!
//! `cargo run --release -p edgeloop-trainer --example loader -- data/images --imgsz 160 --workers 1 --draw batch.png`

use anyhow::Context;
use clap::Parser;
use edgeloop_trainer::data::{Augment, Batch, DataOptions, LoaderConfig, Scan, TrainLoader, scan};
use edgeloop_vision::{
    Image,
    boxes::Xyxy,
    draw::{Annotation, draw_detections},
    encode::encode_png,
};
use std::{path::PathBuf, sync::Arc, time::Instant};

/// Measures the train loader on a folder.
#[derive(Parser)]
struct Args {
    /// Images with labels.
    dir: PathBuf,
    /// Side of the input.
    #[arg(long, default_value_t = 160)]
    imgsz: u32,
    /// Images a batch.
    #[arg(long, default_value_t = 16)]
    batch: usize,
    /// Loader threads.
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// Cache in MiB.
    #[arg(long, default_value_t = 512)]
    cache_mb: usize,
    /// Epochs after the first, which fills the cache.
    #[arg(long, default_value_t = 20)]
    epochs: u32,
    /// Rotation in degrees.
    #[arg(long, default_value_t = 0.0)]
    degrees: f32,
    /// Writes the first batch with its boxes as a PNG.
    #[arg(long)]
    draw: Option<PathBuf>,
    /// Leaves the mosaic out.
    #[arg(long)]
    single: bool,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let started = Instant::now();
    let Scan::Ready(dataset) = scan(&args.dir, &DataOptions::default())? else { anyhow::bail!("{} has no labels", args.dir.display()) };
    println!("{}\nscan {:.3} s", dataset.report, started.elapsed().as_secs_f64());
    let augment = Augment { degrees: args.degrees, ..Augment::default() };
    let config = LoaderConfig { imgsz: args.imgsz, batch: args.batch, seed: 0, workers: args.workers, augment, cache_mb: args.cache_mb };
    let loader = TrainLoader::new(Arc::new(dataset), config)?;
    measure("first epoch", &loader, 0..1, !args.single)?;
    measure("next epochs", &loader, 1..1 + args.epochs, !args.single)?;
    if let Some(path) = args.draw {
        let batch = loader.epoch(0, !args.single).next().context("no batch")??;
        std::fs::write(&path, encode_png(&sheet(&batch))?)?;
        println!("{} boxes drawn in {}", batch.targets.len(), path.display());
    }
    Ok(())
}

fn measure(what: &str, loader: &TrainLoader, epochs: std::ops::Range<u32>, mosaic: bool) -> anyhow::Result<()> {
    let (started, cpu, mut images) = (Instant::now(), cpu_seconds(), 0);
    for epoch in epochs {
        for batch in loader.epoch(epoch, mosaic) {
            images += batch?.n;
        }
    }
    let (seconds, cpu) = (started.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    println!("{what}: {images} images, {:.0} images/s, {:.3} ms CPU an image", images as f64 / seconds, cpu * 1e3 / images as f64);
    Ok(())
}

fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// The batch as one picture, four in a row, each box in its class' colour.
fn sheet(batch: &Batch) -> Image {
    let (columns, rows) = (batch.n.min(4), batch.n.div_ceil(4));
    let mut sheet = Image::filled((columns * batch.w) as u32, (rows * batch.h) as u32, [0; 3]);
    let stride = columns * batch.w * 3;
    for (number, planes) in batch.images.chunks_exact(3 * batch.w * batch.h).enumerate() {
        let (left, top) = (number % columns * batch.w, number / columns * batch.h);
        for (plane, values) in planes.chunks_exact(batch.w * batch.h).enumerate() {
            for (at, &value) in values.iter().enumerate() {
                sheet.data[(top + at / batch.w) * stride + (left + at % batch.w) * 3 + plane] = value;
            }
        }
    }
    let place = |target: &edgeloop_trainer::data::Target| {
        let (left, top) = ((target.image as usize % columns * batch.w) as f32, (target.image as usize / columns * batch.h) as f32);
        let (w, h) = (batch.w as f32, batch.h as f32);
        let bbox = Xyxy::from_cxcywh(left + target.cx * w, top + target.cy * h, target.w * w, target.h * h);
        Annotation { bbox, label: target.class.to_string(), confidence: None, class: target.class }
    };
    draw_detections(&mut sheet, &batch.targets.iter().map(place).collect::<Vec<_>>());
    sheet
}
