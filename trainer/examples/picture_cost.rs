//! Decoding an image again, or reading its decoded picture from disk? `cargo run --release -p edgeloop-trainer --example picture_cost -- FOLDER`

use std::{fs, path::Path, time::Instant};

use anyhow::Context;
use edgeloop_trainer::data::{DiskCache, Fitted, read_image};
use edgeloop_vision::{
    Image,
    encode::encode_jpeg,
    letterbox::{Letterbox, resize},
};
use rand::{RngExt, SeedableRng};
use rustix::fs::Advice;

const IMAGES: u8 = 100;

fn main() -> anyhow::Result<()> {
    let dir = std::env::args().nth(1).context("say where: one argument, a folder on the disk to be measured")?;
    let dir = tempfile::tempdir_in(dir)?;
    for (width, height) in [(640, 360), (1280, 720), (1920, 1080)] {
        let paths: Vec<_> = (0..IMAGES).map(|number| dir.path().join(format!("{number}.jpg"))).collect();
        for (number, path) in paths.iter().enumerate() {
            fs::write(path, encode_jpeg(&scene(number as u64, width, height), 85)?)?;
        }
        let jpeg = fs::metadata(&paths[0])?.len();
        for imgsz in [320, 640] {
            let cache = DiskCache::open(&dir.path().join(format!("{width}-{imgsz}")), 1 << 30)?;
            let fitted: Vec<Fitted> = paths.iter().map(|path| fit(path, imgsz)).collect::<Result<_, _>>()?;
            let names: Vec<String> = (0..IMAGES).map(|number| DiskCache::name(&[number; 32], imgsz)).collect();
            let write = milliseconds(|| names.iter().zip(&fitted).for_each(|(name, fitted)| cache.put(name, fitted)));
            let decode = milliseconds(|| paths.iter().for_each(|path| drop(fit(path, imgsz))));
            let warm = milliseconds(|| names.iter().for_each(|name| drop(cache.get(name))));
            forget(dir.path())?;
            let cold = milliseconds(|| names.iter().for_each(|name| drop(cache.get(name))));
            let pixels = DiskCache::bytes(fitted[0].image.width, fitted[0].image.height);
            println!(
                "{width} x {height} ({} kB) at {imgsz}: decode and resize {decode:.2} ms; read {} kB: {warm:.2} ms cached by the kernel, {cold:.2} ms from the device; write {write:.2} ms",
                jpeg / 1000,
                pixels / 1000
            );
        }
    }
    Ok(())
}

/// Blobs with some noise: about as much detail as a photo.
fn scene(number: u64, width: u32, height: u32) -> Image {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(number);
    let mut small = Image::filled(width / 8, height / 8, [0; 3]);
    small.data.iter_mut().for_each(|byte| *byte = rng.random_range(30..220));
    let mut image = resize(&small, width, height);
    image.data.iter_mut().for_each(|byte| *byte += rng.random_range(0..8));
    image
}

fn fit(path: &Path, imgsz: u32) -> anyhow::Result<Fitted> {
    let image = read_image(path).map_err(anyhow::Error::msg)?;
    let fit = Letterbox::fit(image.width, image.height, imgsz, imgsz);
    Ok(Fitted { image: resize(&image, fit.fit_w, fit.fit_h), src_w: image.width, src_h: image.height })
}

fn milliseconds(work: impl FnOnce()) -> f64 {
    let started = Instant::now();
    work();
    started.elapsed().as_secs_f64() * 1e3 / f64::from(IMAGES)
}

/// Asks the kernel to drop what it has of the files.
fn forget(dir: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            forget(&path)?;
        } else {
            let file = fs::File::open(&path)?;
            file.sync_all()?;
            rustix::fs::fadvise(&file, 0, None, Advice::DontNeed)?;
        }
    }
    Ok(())
}
