//! A data set of another look than the demo's: a shop's counter seen by a camera on the wall. Six classes, small objects down to
//! ten pixels, heaps in which they hide each other, flat colours under changing light.

mod shapes;

use std::{fs, path::Path};

use anyhow::Context;
use edgeloop_vision::{Image, encode::encode_jpeg};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tiny_skia::{Color, Paint, Pixmap, Rect, Transform};

/// Class names, in the order of their indices.
pub const CLASSES: [&str; 6] = ["apple", "banana", "bottle", "can", "carton", "cup"];

/// A label on something of which less is seen teaches nothing.
const MIN_VISIBLE: f32 = 0.35;

/// One labelled object: left, top, right, bottom in pixels, cut at the picture's edges.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Object {
    /// Index into [`CLASSES`].
    pub class: usize,
    /// Its edges.
    pub bbox: [f32; 4],
}

/// Writes `images` pictures of `width` × `height` with YOLO rows, split 80 : 20, and a `data.yaml` over them.
///
/// # Errors
/// When a file cannot be written.
pub fn draw_dataset(dir: &Path, images: usize, width: u32, height: u32, seed: u64) -> anyhow::Result<usize> {
    let mut boxes = 0;
    for index in 0..images {
        let side = if index % 5 == 4 { "val" } else { "train" };
        let (image, objects) = draw(seed, index as u64, width, height);
        boxes += objects.len();
        let rows: String = objects.iter().map(|o| row(o, width as f32, height as f32)).collect();
        for (kind, ending, bytes) in [("labels", "txt", rows.into_bytes()), ("images", "jpg", encode_jpeg(&image, 90)?)] {
            let folder = dir.join(kind).join(side);
            fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
            let path = folder.join(format!("{index:05}.{ending}"));
            fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    let root = fs::canonicalize(dir)?;
    let names: String = CLASSES.iter().enumerate().map(|(i, name)| format!("  {i}: {name}\n")).collect();
    let yaml = format!("path: {}\ntrain: images/train\nval: images/val\nnames:\n{names}", root.display());
    fs::write(dir.join("data.yaml"), yaml)?;
    Ok(boxes)
}

fn row(object: &Object, width: f32, height: f32) -> String {
    let [x1, y1, x2, y2] = object.bbox;
    let (cx, cy) = ((x1 + x2) / 2.0 / width, (y1 + y2) / 2.0 / height);
    format!("{} {cx:.6} {cy:.6} {:.6} {:.6}\n", object.class, (x2 - x1) / width, (y2 - y1) / height)
}

/// Picture `index` and what is on it: a function of its arguments.
pub fn draw(seed: u64, index: u64, width: u32, height: u32) -> (Image, Vec<Object>) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed.wrapping_mul(0x9e37_79b9).wrapping_add(index));
    let mut canvas = Pixmap::new(width, height).expect("a picture has an area");
    counter_top(&mut canvas, &mut rng);
    // Who covers what: the number of the object that was drawn last on each pixel.
    let mut owner = vec![0u16; (width * height) as usize];
    let mut drawn = Vec::new();
    let (heap_x, heap_y) = (rng.random_range(0.2..0.8), rng.random_range(0.25..0.8));
    for number in 1..=rng.random_range(3..=14usize) {
        let class = rng.random_range(0..CLASSES.len());
        // Small ones are common: half of all sides are under 32 px of a 320-pixel picture.
        let side = (10.0 + 62.0 * rng.random_range(0.0f32..1.0).powf(1.6)) * width as f32 / 320.0;
        let heaped = rng.random_bool(0.5);
        let mut place = |centre: f32, extent: u32| {
            let spread = if heaped { 0.14 } else { 0.5 };
            let middle = if heaped { centre } else { 0.5 };
            (middle + rng.random_range(-spread..spread)) * extent as f32
        };
        let (x, y) = (place(heap_x, width), place(heap_y, height));
        let mut layer = Pixmap::new(width, height).expect("a picture has an area");
        shapes::paint(&mut layer, class, x, y, side, &mut rng);
        let Some((pixels, bbox)) = lay(&mut canvas, &layer, &mut owner, number as u16) else { continue };
        drawn.push(Drawn { number: number as u16, pixels, object: Object { class, bbox } });
    }
    let objects = visible(&drawn, &owner);
    (develop(&canvas, &mut rng), objects)
}

/// Wood, tiles or cloth, with things that are no objects: price tags and shadows.
fn counter_top(canvas: &mut Pixmap, rng: &mut ChaCha8Rng) {
    let (width, height) = (canvas.width() as f32, canvas.height() as f32);
    let base: [f32; 3] = [rng.random_range(0.25..0.8), rng.random_range(0.25..0.75), rng.random_range(0.2..0.7)];
    let shade = |k: f32| Color::from_rgba((base[0] * k).min(1.0), (base[1] * k).min(1.0), (base[2] * k).min(1.0), 1.0);
    canvas.fill(shade(1.0).unwrap_or(Color::WHITE));
    let mut paint = Paint::default();
    let (pitch, tilt) = (rng.random_range(8.0..60.0f32), rng.random_range(-25.0..25.0f32));
    for at in 0..(2.0 * width / pitch) as usize {
        paint.set_color(shade(rng.random_range(0.86..1.14)).unwrap_or(Color::WHITE));
        if let Some(rect) = Rect::from_xywh(at as f32 * pitch - width / 2.0, -height, pitch * 0.96, 3.0 * height) {
            canvas.fill_rect(rect, &paint, Transform::from_rotate_at(tilt, width / 2.0, height / 2.0), None);
        }
    }
    for _ in 0..rng.random_range(0..5) {
        let grey = rng.random_range(0.1..1.0);
        paint.set_color(Color::from_rgba(grey, grey, grey * 0.95, rng.random_range(0.2..0.9)).unwrap_or(Color::WHITE));
        let (x, y) = (rng.random_range(0.0..width), rng.random_range(0.0..height));
        if let Some(rect) = Rect::from_xywh(x, y, rng.random_range(4.0..40.0), rng.random_range(3.0..16.0)) {
            canvas.fill_rect(rect, &paint, Transform::from_rotate_at(rng.random_range(0.0..180.0), x, y), None);
        }
    }
}

/// Puts a layer over the picture; how many pixels of it lie inside and their bounds, where there are any.
fn lay(canvas: &mut Pixmap, layer: &Pixmap, owner: &mut [u16], number: u16) -> Option<(usize, [f32; 4])> {
    let width = canvas.width() as usize;
    let (mut pixels, mut bounds) = (0, [f32::MAX, f32::MAX, 0.0f32, 0.0f32]);
    for (at, source) in layer.pixels().iter().enumerate() {
        // Soft shadows around an object are not the object.
        if source.alpha() < 200 {
            continue;
        }
        let (x, y) = ((at % width) as f32, (at / width) as f32);
        bounds = [bounds[0].min(x), bounds[1].min(y), bounds[2].max(x + 1.0), bounds[3].max(y + 1.0)];
        owner[at] = number;
        pixels += 1;
    }
    canvas.draw_pixmap(0, 0, layer.as_ref(), &tiny_skia::PixmapPaint::default(), Transform::identity(), None);
    (pixels > 20).then_some((pixels, bounds))
}

/// An object before others came to lie on it.
struct Drawn {
    number: u16,
    pixels: usize,
    object: Object,
}

fn visible(drawn: &[Drawn], owner: &[u16]) -> Vec<Object> {
    let mut seen = vec![0usize; 1 + usize::from(owner.iter().copied().max().unwrap_or(0))];
    owner.iter().for_each(|&number| seen[usize::from(number)] += 1);
    let enough = |d: &&Drawn| seen.get(usize::from(d.number)).is_some_and(|&n| n as f32 >= MIN_VISIBLE * d.pixels as f32);
    drawn.iter().filter(enough).map(|d| d.object).collect()
}

/// The camera: light falling off to one side, a tint, noise.
fn develop(canvas: &Pixmap, rng: &mut ChaCha8Rng) -> Image {
    let (width, height) = (canvas.width(), canvas.height());
    let gain: f32 = rng.random_range(0.55..1.25);
    let tint: [f32; 3] = std::array::from_fn(|_| rng.random_range(0.92..1.08));
    let (slope_x, slope_y): (f32, f32) = (rng.random_range(-0.35..0.35), rng.random_range(-0.35..0.35));
    let noise: f32 = rng.random_range(2.0..11.0);
    let mut data = Vec::with_capacity((width * height * 3) as usize);
    for (at, pixel) in canvas.pixels().iter().enumerate() {
        let u = (at as u32 % width) as f32 / width as f32 - 0.5;
        let v = (at as u32 / width) as f32 / height as f32 - 0.5;
        let light = gain * (1.0 + slope_x * u + slope_y * v);
        let grain = rng.random_range(-1.0f32..1.0) + rng.random_range(-1.0f32..1.0);
        for (value, tint) in [pixel.red(), pixel.green(), pixel.blue()].into_iter().zip(tint) {
            data.push((f32::from(value) * light * tint + noise * grain).clamp(0.0, 255.0) as u8);
        }
    }
    Image { width, height, data }
}
