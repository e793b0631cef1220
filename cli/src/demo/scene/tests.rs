#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::*;

fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap().map(|e| e.unwrap());
    entries.map(|e| (e.file_name().into_string().unwrap(), fs::read(e.path()).unwrap())).collect()
}

#[test]
fn the_same_numbers_give_the_same_files_and_more_pictures_keep_the_first() {
    let (few, more, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    draw_dataset(few.path(), 3, 7, 128).unwrap();
    draw_dataset(more.path(), 4, 7, 128).unwrap();
    draw_dataset(other.path(), 3, 8, 128).unwrap();
    let (few, more, other) = (files(few.path()), files(more.path()), files(other.path()));
    assert!(few.iter().all(|(name, bytes)| more[name] == *bytes));
    assert_eq!(more.len(), few.len() + 2, "one picture and its labels more");
    assert_ne!(few["000000.jpg"], other["000000.jpg"]);
}

#[test]
fn every_picture_decodes_and_has_rows_within_it() {
    let dir = tempfile::tempdir().unwrap();
    let summary = draw_dataset(dir.path(), 12, 1, 160).unwrap();
    let files = files(dir.path());
    assert_eq!(files["classes.txt"], b"bolt\nnut\nwasher\n");
    let mut rows = 0;
    for index in 0..12 {
        let image = edgeloop_vision::decode::decode(&files[&format!("{index:06}.jpg")], &Default::default()).unwrap();
        assert_eq!((image.width, image.height), (160, 160));
        for row in std::str::from_utf8(&files[&format!("{index:06}.txt")]).unwrap().lines() {
            let v: Vec<f32> = row.split(' ').map(|v| v.parse().unwrap()).collect();
            assert!(v[0] == 0.0 || v[0] == 1.0 || v[0] == 2.0, "{row}");
            let b = Xyxy::from_cxcywh(v[1], v[2], v[3], v[4]);
            assert!(b.x1 > -1e-5 && b.y1 > -1e-5 && b.x2 < 1.00001 && b.y2 < 1.00001 && b.area() > 0.0, "{row}");
            rows += 1;
        }
    }
    assert_eq!((summary.images, summary.objects), (12, rows));
    assert_eq!(summary.per_class.iter().sum::<usize>(), rows);
}

#[test]
fn all_classes_are_common_and_no_object_is_tiny() {
    let mut per_class = [0; 3];
    for index in 0..24 {
        for object in draw_scene(3, index, 160).1 {
            per_class[object.class as usize] += 1;
            // 160 is half the design's side: 0.7 of the smallest washer, cut by the picture's edge, is still 8 px.
            assert!(object.bbox.width() >= 7.0 && object.bbox.height() >= 7.0, "{object:?} in picture {index}");
        }
    }
    assert!(per_class.iter().all(|&n| n >= 12), "{per_class:?}");
}

#[test]
fn a_size_that_shows_nothing_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let error = draw_dataset(dir.path(), 1, 0, 20).unwrap_err();
    assert!(error.to_string().contains("96 to 4096"), "{error}");
}
