//! Draws the data set that trainings are compared on.

use std::path::PathBuf;

use clap::Parser;

/// Draws pictures of a shop's counter with YOLO labels and a data.yaml: six classes, small and overlapping objects.
#[derive(Parser)]
struct Args {
    /// Folder to write to; made if missing.
    dir: PathBuf,
    /// How many pictures; every fifth is for judging.
    #[arg(long, default_value_t = 600)]
    images: usize,
    /// Width in pixels.
    #[arg(long, default_value_t = 320)]
    width: u32,
    /// Height in pixels.
    #[arg(long, default_value_t = 240)]
    height: u32,
    /// Of every random draw.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

fn main() -> anyhow::Result<()> {
    let Args { dir, images, width, height, seed } = Args::parse();
    let boxes = edgeloop_bench::counter::draw_dataset(&dir, images, width, height, seed)?;
    println!("{images} images with {boxes} boxes in {}", dir.display());
    Ok(())
}
