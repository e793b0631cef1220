//! A folder with one of everything that can be wrong.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use edgeloop_vision::{
    Image,
    decode::{Limits, decode},
    encode::encode_png,
    letterbox::resize,
};

use super::*;
use crate::data::{
    DataOptions, look_through,
    testing::{flat, picture, write, write_picture},
};

fn inspected(dir: &tempfile::TempDir) -> (Survey, Inspection) {
    let survey = look_through(dir.path(), &DataOptions::default()).unwrap();
    let inspection = inspect(&survey, 64);
    (survey, inspection)
}

#[test]
fn everything_that_is_wrong_is_counted_and_named() {
    let dir = flat(20);
    write(dir.path(), "003.txt", "0 0.5 0.5 0.25 0.25\n0 0.5\n9 0.5 0.5 0.1 0.1\n");
    write(dir.path(), "004.png", b"not an image");
    write(dir.path(), "005.txt", "1 0.5 0.5 0.05 0.05\n1 0.9 0.5 0.5 0.5\n1 0.9 0.5 0.5 0.5\n");
    write_picture(dir.path(), "copy.png", 6);
    write(dir.path(), "copy.txt", "");
    let (_, found) = inspected(&dir);
    assert_eq!((found.images, found.labelled, found.skipped_count, found.broken_count), (21, 20, 1, 2));
    assert!(found.broken[0].file.ends_with("003.txt") && found.broken[0].line == 2);
    assert!(found.skipped[0].path.ends_with("004.png"));
    assert_eq!((found.clipped, found.repeated_rows, found.duplicates.exact), (1, 1, 1));
    assert!(found.duplicates.exact_pairs[0].second.ends_with("copy.png") && found.duplicates.leaks == 0);
    // 48 × 32 in 64 × 64: factor 4/3. 0.05 of 48 is 2.4, 3.2 px at the input.
    assert_eq!((found.classes[1].small, found.box_sizes.small), (1, 1));
    assert_eq!((found.image_sizes[0].width, found.image_sizes[0].images, found.distinct_image_sizes), (48, 20, 1));
    let text = found.to_string();
    assert!(text.contains("003.txt:2: 2 values") && text.contains("a training refuses them"), "{text}");
    let json = serde_json::to_value(&found).unwrap();
    assert_eq!((json["broken"][1]["line"].as_u64(), json["classes"][0]["name"].as_str()), (Some(3), Some("bolt")));
}

#[test]
fn copies_on_both_sides_are_leaks_also_when_they_were_compressed_again() {
    let dir = tempfile::tempdir().unwrap();
    let wide = |number: u64| resize(&picture(number, 20, 15), 200, 150);
    for number in 0..6 {
        write(dir.path(), &format!("images/{}/{number}.png", if number < 4 { "train" } else { "val" }), encode_png(&wide(number)).unwrap());
    }
    let jpeg = edgeloop_vision::encode::encode_jpeg(&wide(1), 70).unwrap();
    let again = decode(&jpeg, &Limits::default()).unwrap();
    write(dir.path(), "images/val/near.png", encode_png(&resize(&again, 160, 120)).unwrap());
    write(dir.path(), "images/val/same.png", encode_png(&wide(2)).unwrap());
    write(dir.path(), "labels/train/0.txt", "0 0.5 0.5 0.5 0.5");
    write(dir.path(), "data.yaml", "train: images/train\nval: images/val\nnames: [bolt]\n");
    let (survey, found) = inspected(&dir);
    assert_eq!((found.duplicates.exact, found.duplicates.leaks), (1, 1));
    assert_eq!((found.duplicates.near, found.duplicates.near_leaks), (1, 1), "{:?}", found.duplicates);
    assert!(found.duplicates.near_pairs[0].second.ends_with("near.png") && found.duplicates.near_pairs[0].across_sides);
    assert!(found.warnings.iter().any(|warning| warning.contains("in train as well")), "{:?}", found.warnings);
    for (name, png) in pictures::all(&survey, &found).unwrap() {
        let image: Image = decode(&png, &Limits::default()).unwrap();
        assert!(image.width > 300 && image.height > 60, "{name}");
    }
}

#[test]
fn a_folder_without_labels_can_be_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    write_picture(dir.path(), "a.png", 1);
    let (survey, found) = inspected(&dir);
    assert_eq!((found.images, found.unlabelled, found.labelled, found.imbalance), (1, 1, 0, None));
    assert_eq!(pictures::all(&survey, &found).unwrap().len(), 3);
}
