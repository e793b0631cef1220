//! Damaged pictures in numbers, against the built program: no crash, no hang, memory bounded. MUTATED_BODIES=10000 for the full run.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use edgeloop_store::Store;
use image::{ExtendedColorType, ImageEncoder, Rgb, RgbImage};
use serde_json::json;

use crate::program::Program;
use crate::support::*;

/// Largest picture: 4 Mpx are 12 MB decoded.
const MAX_PIXELS: &str = "4000000";
/// How much the process may grow while it is fed: pictures of 12 MB with decoders' working copies (16 bytes a pixel, 64 MB) in
/// each of its threads, of which CI has up to five, and an allocator's habits.
const GROWTH_MB: u64 = 500;

/// A small generator of its own: a failing case is found again by its number alone.
struct Draws(u64);

impl Draws {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

fn webp(picture: &RgbImage) -> Vec<u8> {
    let mut bytes = Vec::new();
    let encoder = image::codecs::webp::WebPEncoder::new_lossless(&mut bytes);
    encoder.write_image(picture, picture.width(), picture.height(), ExtendedColorType::Rgb8).unwrap();
    bytes
}

fn seeds() -> Vec<Vec<u8>> {
    let noisy =
        RgbImage::from_fn(97, 61, |x, y| Rgb([((x * 7) ^ (y * 3)) as u8, (x * y) as u8, (x.wrapping_mul(2_654_435_761) >> 24) as u8]));
    [quarter(160, 90, 1), noisy].iter().flat_map(|picture| [jpeg(picture), png(picture), webp(picture)]).collect()
}

/// One damaged picture: bits, bytes that mean something, numbers that are too large, pieces lost, doubled or of another picture.
fn mutate(seeds: &[Vec<u8>], draws: &mut Draws) -> Vec<u8> {
    let mut bytes = seeds[draws.below(seeds.len())].clone();
    let is_png = bytes.starts_with(b"\x89PNG");
    for _ in 0..1 + draws.below(6) {
        // Half of the time near the start: that is where lengths and tables are.
        let end = if draws.below(2) == 0 { bytes.len().min(200) } else { bytes.len() };
        let at = draws.below(end);
        match draws.below(8) {
            0 => bytes[at] ^= 1 << draws.below(8),
            1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff, 0xd8, 0xda, 0xc2][draws.below(8)],
            2 => {
                let large = [u32::MAX, 0x7fff_ffff, 0xffff, 0x0001_0000, 20_000][draws.below(5)];
                let four = if draws.below(2) == 0 { large.to_be_bytes() } else { large.to_le_bytes() };
                bytes.iter_mut().skip(at).zip(four).for_each(|(byte, new)| *byte = new);
            }
            3 => bytes.truncate(at.max(1)),
            4 => drop(bytes.drain(at..(at + 1 + draws.below(64)).min(bytes.len()))),
            5 => {
                let piece = bytes[at..(at + 1 + draws.below(512)).min(bytes.len())].to_vec();
                bytes.splice(at..at, piece);
            }
            6 => {
                let other = &seeds[draws.below(seeds.len())];
                let from = draws.below(other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            _ => bytes[at] = draws.next() as u8,
        }
        if bytes.is_empty() {
            bytes.push(0xff);
        }
    }
    if is_png && draws.below(4) > 0 {
        mend_checksums(&mut bytes);
    }
    bytes
}

/// Makes a PNG's checksums right again: otherwise nearly all damage ends at the first of them.
fn mend_checksums(bytes: &mut [u8]) {
    let mut at = 8;
    while let Some(length) = bytes.get(at..at + 4).map(|four| u32::from_be_bytes(four.try_into().unwrap()) as usize) {
        let Some(end) = at.checked_add(8).and_then(|start| start.checked_add(length)).filter(|end| end + 4 <= bytes.len()) else { return };
        let sum = crate::bad_input::crc32(&bytes[at + 4..end]);
        bytes[end..end + 4].copy_from_slice(&sum.to_be_bytes());
        at = end + 4;
    }
}

#[test]
fn thousands_of_damaged_pictures_neither_crash_nor_stop_nor_swell_the_server() {
    let bodies: usize = std::env::var("MUTATED_BODIES").map_or(1000, |text| text.parse().expect("a number"));
    let dir = tempfile::tempdir().unwrap();
    publish(&Store::create(dir.path()).unwrap(), 0.5);
    let program = Program::ready(dir.path(), &["--max-pixels", MAX_PIXELS]);
    let good = jpeg(&quarter(64, 64, 0));
    assert_eq!(post(&agent(), program.serving, "image/jpeg", &good).0, 200);
    let before = program.memory_mb();
    let (next, answered) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let seeds = seeds();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let agent: ureq::Agent =
                    ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_secs(20))).build().into();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= bodies {
                        return;
                    }
                    let picture = mutate(&seeds, &mut Draws(number as u64));
                    let (kind, body) = match number % 4 {
                        0 => ("application/json", json!({"image": STANDARD.encode(&picture)}).to_string().into_bytes()),
                        1 => ("multipart/form-data; boundary=b", crate::bad_input::multipart("image", &picture)),
                        _ => ("image/jpeg", picture),
                    };
                    let began = Instant::now();
                    let (status, answer) = post(&agent, program.serving, kind, &body);
                    assert!(status == 200 || (400..500).contains(&status), "body {number}: {status} {answer}");
                    assert!(began.elapsed() < Duration::from_secs(20), "body {number}");
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(answered.into_inner(), bodies);
    assert_eq!(post(&agent(), program.serving, "image/jpeg", &good).0, 200, "it still serves");
    let (after, peak) = (program.memory_mb(), program.peak_memory_mb());
    eprintln!("{bodies} bodies: {before} MB before, {after} MB after, {peak} MB at most");
    assert!(peak < before + GROWTH_MB, "{before} MB before, {peak} MB at most");
}
