//! The demo's data: pictures of an inspection line with bolts, nuts and washers, and their labels, drawn by a program.
//!
//! Nobody needs to download or label anything to see the loop work. The pictures are made hard enough to be worth
//! learning (texture, noise, uneven light, overlap, blur, things that are not to be found) and easy enough for the
//! smallest network to learn from nothing in minutes: no object is smaller than about 9 % of the picture's side.

mod belt;
mod camera;
mod canvas;
mod parts;

use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};
use edgeloop_service::limits::available_cpus;
use edgeloop_vision::Image;
use edgeloop_vision::boxes::Xyxy;
use edgeloop_vision::encode::encode_jpeg;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use canvas::Canvas;
use parts::Part;

/// Class names, in the order of their indices.
pub const CLASSES: [&str; 3] = ["bolt", "nut", "washer"];

/// Side of a picture for which all lengths below are meant, in pixels.
const DESIGN_SIDE: f32 = 320.0;
/// Drawn around the picture and cut off at the end, so that objects may reach over the edge. Half a long bolt.
const MARGIN: f32 = 64.0;
/// An object is placed only where it, and each one below it, stays visible by at least this share: a label on something
/// that nobody can see teaches nothing.
const MIN_VISIBLE: f32 = 0.7;
/// Tries to place an object before the scene goes on with fewer.
const TRIES: usize = 25;

/// One labelled object.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Object {
    /// Index into [`CLASSES`].
    pub class: u32,
    /// Tight around the object, in pixels of the picture, cut at its edges.
    pub bbox: Xyxy,
}

/// What was written.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct DatasetSummary {
    /// Pictures, each with a label file.
    pub images: usize,
    /// Pictures with nothing to find; their label file is empty.
    pub background: usize,
    /// Labelled objects.
    pub objects: usize,
    /// Objects of each class, in the order of [`CLASSES`].
    pub per_class: [usize; 3],
    /// Size of all pictures together.
    pub bytes: u64,
}

/// Draws `images` pictures of `size` x `size` pixels into `dir` (made if missing): `000000.jpg` and `000000.txt` (YOLO
/// rows) and so on, and `classes.txt`. The same numbers give the same files; more pictures leave the first ones as they
/// were.
///
/// # Errors
/// If `size` is below 96 (nothing could be made out) or above 4096, or a file cannot be written.
pub fn draw_dataset(dir: &Path, images: usize, seed: u64, size: u32) -> anyhow::Result<DatasetSummary> {
    ensure!((96..=4096).contains(&size), "the pictures' side must be 96 to 4096 pixels, {size} was asked for");
    fs::create_dir_all(dir).with_context(|| format!("cannot make the folder {} for the pictures", dir.display()))?;
    let write = &|name: String, bytes: &[u8]| {
        let path = dir.join(name);
        fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))
    };
    write("classes.txt".into(), (CLASSES.join("\n") + "\n").as_bytes())?;
    // Each picture is a function of its own index: the cores share them, and which core drew one cannot matter.
    let workers = available_cpus().clamp(1, 16);
    let draw = |worker: usize| -> anyhow::Result<DatasetSummary> {
        let mut part = DatasetSummary::default();
        for index in (worker..images).step_by(workers) {
            let (image, objects, quality) = draw_scene(seed, index as u64, size);
            let jpeg = encode_jpeg(&image, quality)?;
            // Labels first: whoever sees the picture finds its labels too.
            write(format!("{index:06}.txt"), yolo_rows(&objects, size).as_bytes())?;
            write(format!("{index:06}.jpg"), &jpeg)?;
            part.count(&objects, jpeg.len());
        }
        Ok(part)
    };
    let parts: Vec<anyhow::Result<DatasetSummary>> = std::thread::scope(|scope| {
        let draw = &draw;
        let threads: Vec<_> = (0..workers).map(|worker| scope.spawn(move || draw(worker))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    let mut summary = DatasetSummary::default();
    for part in parts {
        summary.add(&part?);
    }
    Ok(summary)
}

impl DatasetSummary {
    fn count(&mut self, objects: &[Object], bytes: usize) {
        self.images += 1;
        self.background += usize::from(objects.is_empty());
        self.objects += objects.len();
        self.bytes += bytes as u64;
        for object in objects {
            self.per_class[object.class as usize] += 1;
        }
    }

    fn add(&mut self, other: &Self) {
        self.images += other.images;
        self.background += other.background;
        self.objects += other.objects;
        self.bytes += other.bytes;
        for (mine, theirs) in self.per_class.iter_mut().zip(other.per_class) {
            *mine += theirs;
        }
    }
}

/// Draws picture number `index`: the picture, its objects, and the JPEG quality that its camera would use. A function of
/// the arguments alone.
pub fn draw_scene(seed: u64, index: u64, size: u32) -> (Image, Vec<Object>, u8) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(index);
    let unit = size as f32 / DESIGN_SIDE;
    let margin = (MARGIN * unit).round() as usize;
    let side = size as usize + 2 * margin;

    let mut canvas = Canvas::new(side, unit);
    belt::draw(&mut canvas, &mut rng);
    let sun = rng.random_range(0.0..std::f32::consts::TAU);
    let scene = Scene { margin, size: size as usize, canvas, owner: vec![0; side * side], objects: Vec::new() };
    let (mut canvas, objects) = scene.fill(&mut rng, sun);
    let quality = camera::shoot(&mut canvas, &mut rng);
    (canvas.crop(margin, size as usize), objects, quality)
}

struct Placed {
    object: Object,
    /// Pixels within the picture.
    area: usize,
}

struct Scene {
    margin: usize,
    size: usize,
    canvas: Canvas,
    /// For each pixel of the canvas the number of the topmost object there; 0 is the belt.
    owner: Vec<u16>,
    objects: Vec<Placed>,
}

impl Scene {
    fn fill(mut self, rng: &mut ChaCha8Rng, sun: f32) -> (Canvas, Vec<Object>) {
        let wanted = if rng.random_bool(0.04) { 0 } else { rng.random_range(2..=7) };
        for _ in 0..wanted {
            let class = rng.random_range(0..CLASSES.len() as u32);
            for _ in 0..TRIES {
                if self.try_place(class, rng, sun) {
                    break;
                }
            }
        }
        (self.canvas, self.objects.into_iter().map(|p| p.object).collect())
    }

    /// A place for the middle of a new object: anywhere, or at times on the rim of an earlier one.
    fn spot(&self, rng: &mut ChaCha8Rng) -> (f32, f32) {
        let (low, high) = (self.margin as f32, (self.margin + self.size) as f32);
        if let Some(neighbour) = self.objects.last().filter(|_| rng.random_bool(0.28)) {
            let (cx, cy, w, h) = neighbour.object.bbox.to_cxcywh();
            let (angle, reach) = (rng.random_range(0.0..std::f32::consts::TAU), rng.random_range(0.5..0.9));
            let at = |c: f32, extent: f32, share: f32| (c + low + extent * reach * share).clamp(low, high);
            return (at(cx, w, angle.cos()), at(cy, h, angle.sin()));
        }
        (rng.random_range(low..high), rng.random_range(low..high))
    }

    fn try_place(&mut self, class: u32, rng: &mut ChaCha8Rng, sun: f32) -> bool {
        let (x, y) = self.spot(rng);
        let part = Part::draw(class, &self.canvas, (x, y), sun, rng);
        let side = self.canvas.side;
        let (low, high) = (self.margin, self.margin + self.size);
        let inside = |at: usize| (low..high).contains(&(at % side)) && (low..high).contains(&(at / side));
        let (mut whole, mut area, mut covered) = (0usize, 0usize, vec![0usize; self.objects.len() + 1]);
        let (mut x1, mut y1, mut x2, mut y2) = (side, side, 0, 0);
        for at in part.solid() {
            whole += 1;
            if inside(at) {
                area += 1;
                covered[usize::from(self.owner[at])] += 1;
                (x1, y1) = (x1.min(at % side), y1.min(at / side));
                (x2, y2) = (x2.max(at % side + 1), y2.max(at / side + 1));
            }
        }
        if area == 0 || (area as f32) < MIN_VISIBLE * whole as f32 {
            return false;
        }
        let stays_visible = self.objects.iter().enumerate().all(|(index, below)| {
            let number = index as u16 + 1;
            let seen = self.owner.iter().filter(|&&o| o == number).count();
            seen.saturating_sub(covered[index + 1]) as f32 >= MIN_VISIBLE * below.area as f32
        });
        if !stays_visible {
            return false;
        }
        let number = self.objects.len() as u16 + 1;
        for at in part.solid().filter(|&at| inside(at)) {
            self.owner[at] = number;
        }
        part.stamp(&mut self.canvas, sun, rng);
        let shift = |v: usize| (v - low) as f32;
        let bbox = Xyxy::new(shift(x1), shift(y1), shift(x2), shift(y2));
        self.objects.push(Placed { object: Object { class, bbox }, area });
        true
    }
}

/// `class cx cy w h`, 0 to 1, a row for each object.
fn yolo_rows(objects: &[Object], size: u32) -> String {
    let side = size as f32;
    let row = |o: &Object| {
        let (cx, cy, w, h) = o.bbox.to_cxcywh();
        format!("{} {:.6} {:.6} {:.6} {:.6}\n", o.class, cx / side, cy / side, w / side, h / side)
    };
    objects.iter().map(row).collect()
}

#[cfg(test)]
mod tests;
