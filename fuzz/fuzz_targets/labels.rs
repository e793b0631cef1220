//! YOLO label rows. Whatever the text, boxes lie inside the image and have a class and an area.
#![no_main]

use edgeloop_fuzz::data::yolo_txt::{Format, parse};
use libfuzzer_sys::fuzz_target;
use std::path::Path;

fuzz_target!(|bytes: &[u8]| {
    let [classes, keypoints, text @ ..] = bytes else { return };
    let (classes, keypoints, Ok(text)) = (*classes, *keypoints, std::str::from_utf8(text)) else { return };
    let format = Format { classes: usize::from(classes), keypoints: usize::from(keypoints) };
    for object in parse(Path::new("a.txt"), text, format).map(|rows| rows.objects).unwrap_or_default() {
        assert!(object.class < u32::from(classes) && object.w > 0.0 && object.h > 0.0);
        for (centre, length) in [(object.cx, object.w), (object.cy, object.h)] {
            assert!(centre - length / 2.0 > -1e-6 && centre + length / 2.0 < 1.0 + 1e-6, "{object:?}");
        }
    }
});
