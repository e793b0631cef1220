//! Limits are decided before memory is asked for: a test of its own process, because it counts every allocation in it.

#![allow(clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use edgeloop_vision::decode::{DecodeError, Excess, Limits, decode, header};

struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system allocator unchanged; the counters do not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        PEAK.fetch_max(NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise is handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise is handed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes asked for at most at one time while `work` ran, beyond what was held before.
fn peak<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = NOW.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let result = work();
    (result, PEAK.load(Ordering::Relaxed) - before)
}

/// CRC-32 of PNG chunks, one bit at a time.
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, &b| (0..8).fold(crc ^ u32::from(b), |c, _| if c & 1 == 1 { c >> 1 ^ 0xEDB8_8320 } else { c >> 1 }))
}

fn jpeg(width: u16, height: u16) -> Vec<u8> {
    let mut file = edgeloop_vision::encode::encode_jpeg(&edgeloop_vision::Image::filled(16, 16, [9; 3]), 80).unwrap();
    let frame = file.windows(2).position(|m| m == [0xFF, 0xC0]).unwrap();
    file[frame + 5..frame + 7].copy_from_slice(&height.to_be_bytes());
    file[frame + 7..frame + 9].copy_from_slice(&width.to_be_bytes());
    file
}

fn png(width: u32, height: u32) -> Vec<u8> {
    let mut file = edgeloop_vision::encode::encode_png(&edgeloop_vision::Image::filled(16, 16, [9; 3])).unwrap();
    file[16..20].copy_from_slice(&width.to_be_bytes());
    file[20..24].copy_from_slice(&height.to_be_bytes());
    let sum = crc(&file[12..29]);
    file[29..33].copy_from_slice(&sum.to_be_bytes());
    file
}

fn bmp(width: i32, height: i32) -> Vec<u8> {
    let mut file = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0".to_vec();
    file.extend(width.to_le_bytes());
    file.extend(height.to_le_bytes());
    file.extend([1, 0, 24, 0]);
    file.extend([0; 24]);
    file.extend([0; 4096]);
    file
}

#[test]
fn a_header_of_twenty_thousand_squared_is_refused_before_any_memory_is_asked_for() {
    for (name, file) in [("jpeg", jpeg(20_000, 20_000)), ("png", png(20_000, 20_000)), ("bmp", bmp(20_000, 20_000))] {
        let (result, used) = peak(|| decode(&file, &Limits::default()));
        let wanted = DecodeError::TooLarge(Excess::Pixels { width: 20_000, height: 20_000, max: 64_000_000 });
        assert_eq!(result.unwrap_err(), wanted, "{name}");
        assert!(used < 1 << 20, "{name}: {used} bytes were allocated to refuse 400 megapixels");
        let head = header(&file).unwrap();
        assert_eq!((head.width, head.height), (20_000, 20_000), "{name}");
    }
    let large = vec![0xFF; 30_000_000];
    let (result, used) = peak(|| decode(&large, &Limits::default()));
    assert!(matches!(result, Err(DecodeError::TooLarge(Excess::Bytes { .. }))));
    assert!(used < 1 << 10, "{used}");
    // The counter counts: a picture within the limits does take its memory.
    let (result, used) = peak(|| decode(&jpeg(1000, 1000), &Limits::default()));
    assert!(result.is_err() && used > 3_000_000, "{used}");
}
