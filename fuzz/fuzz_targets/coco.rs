//! A COCO file, and its boxes as fractions of an image.
#![no_main]

use edgeloop_fuzz::data::coco::parse;
use libfuzzer_sys::fuzz_target;
use std::path::{Path, PathBuf};

fuzz_target!(|bytes: &[u8]| {
    let Ok(coco) = parse(Path::new("a.json"), bytes, &mut |name| PathBuf::from(name)) else { return };
    for image in &coco.images {
        assert!(image.boxes.iter().all(|(class, _)| (*class as usize) < coco.classes.len()));
        for object in image.rows(640, 480).map(|rows| rows.objects).unwrap_or_default() {
            assert!(object.w > 0.0 && object.h > 0.0 && object.cx + object.w / 2.0 < 1.0 + 1e-6, "{object:?}");
        }
    }
});
