//! Folders as people leave them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use crate::data::testing::{flat, write, write_picture};
use std::fs;
use tempfile::TempDir;

fn ready(dir: &TempDir, options: &DataOptions) -> Dataset {
    match scan(dir.path(), options).unwrap() {
        Scan::Ready(dataset) => dataset,
        Scan::WaitingForLabels(report) => panic!("{report}"),
    }
}

fn waiting(dir: &TempDir) -> ScanReport {
    match scan(dir.path(), &DataOptions::default()).unwrap() {
        Scan::Ready(dataset) => panic!("{}", dataset.report),
        Scan::WaitingForLabels(report) => report,
    }
}

fn error(dir: &TempDir) -> DataError {
    scan(dir.path(), &DataOptions::default()).unwrap_err()
}

fn names(samples: &[Sample]) -> Vec<&str> {
    samples.iter().map(|sample| sample.path.file_name().unwrap().to_str().unwrap()).collect()
}

#[test]
fn a_flat_folder_is_counted_and_split() {
    let dir = flat(30);
    write(dir.path(), "007.txt", "");
    write_picture(dir.path(), "unlabelled.png", 999);
    let dataset = ready(&dir, &DataOptions::default());
    let ScanReport { images, labelled, unlabelled, background, boxes, .. } = dataset.report;
    assert_eq!((images, labelled, unlabelled, background, boxes), (31, 30, 1, 1, 29));
    assert_eq!((dataset.train.len() + dataset.val.len(), dataset.report.train), (30, dataset.train.len()));
    assert!(!dataset.val.is_empty() && dataset.val.len() < 15);
    assert_eq!(dataset.classes, ["bolt", "nut"]);
    assert_eq!(dataset.split, "by content hash, 20 % val");
    assert_eq!(dataset.report.per_class.iter().map(|class| class.train_boxes + class.val_boxes).sum::<usize>(), 29);
}

#[test]
fn unlabelled_images_are_background_when_asked_for() {
    let dir = flat(10);
    write_picture(dir.path(), "unlabelled.png", 999);
    let dataset = ready(&dir, &DataOptions { unlabelled_as_background: true, ..DataOptions::default() });
    assert_eq!((dataset.report.labelled, dataset.report.unlabelled, dataset.report.background), (11, 0, 1));
}

#[test]
fn labels_under_labels_are_found_and_their_classes_too() {
    let dir = tempfile::tempdir().unwrap();
    for number in 0..8 {
        write_picture(dir.path(), &format!("images/day/{number}.png"), number);
        write(dir.path(), &format!("labels/day/{number}.txt"), "0 0.5 0.5 0.5 0.5");
    }
    write(dir.path(), "labels/classes.txt", "bolt\n\n");
    for root in ["images", "."] {
        let Scan::Ready(dataset) = scan(&dir.path().join(root), &DataOptions::default()).unwrap() else { panic!("labels are there") };
        assert_eq!((dataset.classes, dataset.report.labelled), (vec!["bolt".to_owned()], 8));
    }
}

#[test]
fn an_image_never_moves_as_the_folder_grows() {
    let dir = flat(20);
    let before = ready(&dir, &DataOptions::default());
    for number in 100..140 {
        write_picture(dir.path(), &format!("{number}.png"), number);
        write(dir.path(), &format!("{number}.txt"), "1 0.5 0.5 0.5 0.5");
    }
    let after = ready(&dir, &DataOptions::default());
    assert!(names(&before.train).iter().all(|name| names(&after.train).contains(name)));
    assert!(names(&before.val).iter().all(|name| names(&after.val).contains(name)));
}

#[test]
fn frames_of_a_day_stay_together() {
    let dir = tempfile::tempdir().unwrap();
    for number in 0..60_u64 {
        let name = format!("cam1_202611{:02}_{number:04}", number / 5 + 1);
        write_picture(dir.path(), &format!("{name}.png"), number);
        write(dir.path(), &format!("{name}.txt"), "0 0.5 0.5 0.5 0.5");
    }
    let dataset = ready(&dir, &DataOptions::default());
    let days = |samples| names(samples).iter().map(|name| name[..13].to_owned()).collect::<HashSet<_>>();
    assert!(days(&dataset.train).is_disjoint(&days(&dataset.val)), "{}", dataset.split);
    assert!(dataset.split.contains("12 groups"));
}

#[test]
fn a_val_folder_can_be_pinned_inside_and_beside() {
    let (dir, beside) = (flat(6), flat(2));
    write_picture(dir.path(), "held/x.png", 50);
    write(dir.path(), "held/x.txt", "0 0.5 0.5 0.5 0.5");
    let inside = ready(&dir, &DataOptions { val_dir: Some("held".into()), ..DataOptions::default() });
    assert_eq!((names(&inside.val), inside.train.len()), (vec!["x.png"], 6));
    let outside = ready(&dir, &DataOptions { val_dir: Some(beside.path().to_owned()), ..DataOptions::default() });
    assert_eq!((outside.val.len(), outside.train.len()), (2, 7));
    assert!(outside.report.warnings.iter().any(|warning| warning.contains("in val as well")), "000.png is in both folders");
    let gone = scan(dir.path(), &DataOptions { val_dir: Some("gone".into()), ..DataOptions::default() }).unwrap_err();
    assert!(gone.to_string().contains("gone"), "{gone}");
}

#[test]
fn data_yaml_keeps_its_own_split_and_images_without_rows_are_background() {
    let dir = tempfile::tempdir().unwrap();
    for (number, name) in ["train/a", "train/b", "val/c"].into_iter().enumerate() {
        write_picture(dir.path(), &format!("images/{name}.png"), number as u64);
    }
    write(dir.path(), "labels/train/a.txt", "1 0.5 0.5 0.5 0.5");
    write(dir.path(), "data.yaml", "train: images/train\nval: images/val\nnames: [bolt, nut]\n");
    let dataset = ready(&dir, &DataOptions::default());
    assert_eq!((names(&dataset.train), names(&dataset.val)), (vec!["a.png", "b.png"], vec!["c.png"]));
    assert_eq!((dataset.report.background, dataset.report.unlabelled, &dataset.split[..]), (2, 0, "data.yaml"));
}

#[test]
fn coco_in_train_and_val_folders_keeps_its_split() {
    let dir = tempfile::tempdir().unwrap();
    for (number, name) in ["train/a", "valid/b"].into_iter().enumerate() {
        write_picture(dir.path(), &format!("{name}.png"), number as u64);
    }
    let json = |name: &str, categories: &str| {
        format!(
            r#"{{"images": [{{"id": 1, "file_name": "{name}.png", "width": 48, "height": 32}}, {{"id": 2, "file_name": "gone.png"}}],
            "annotations": [{{"id": 1, "image_id": 1, "category_id": 5, "bbox": [0, 0, 24, 16]}}], "categories": [{categories}]}}"#
        )
    };
    write(dir.path(), "train/_annotations.coco.json", json("a", r#"{"id": 5, "name": "nut"}, {"id": 6, "name": "bolt"}"#));
    write(dir.path(), "valid/_annotations.coco.json", json("b", r#"{"id": 5, "name": "bolt"}"#));
    let dataset = ready(&dir, &DataOptions::default());
    assert_eq!((names(&dataset.train), names(&dataset.val)), (vec!["a.png"], vec!["b.png"]));
    assert_eq!((dataset.classes, dataset.val[0].objects[0].class), (vec!["nut".to_owned(), "bolt".to_owned()], 1));
    assert_eq!(dataset.report.skipped.len(), 2, "images that are listed and gone");
}

#[test]
fn one_bad_image_among_many_is_skipped_counted_and_named() {
    let dir = flat(12);
    write(dir.path(), "005.png", b"not an image");
    let good = fs::read(dir.path().join("006.png")).unwrap();
    write(dir.path(), "006.png", &good[..good.len() / 2]);
    let dataset = ready(&dir, &DataOptions::default());
    assert_eq!(dataset.report.labelled, 10);
    let skipped: Vec<_> = dataset.report.skipped.iter().map(|(path, _)| path.file_name().unwrap().to_owned()).collect();
    assert_eq!(skipped, ["005.png", "006.png"]);
    assert!(dataset.report.skipped[1].1.contains("the PNG file is"), "{:?}", dataset.report.skipped);
    assert!(dataset.report.to_string().contains("2 skipped"));
}

#[test]
fn unreadable_images_only_are_an_error_labelled_or_not() {
    let dir = tempfile::tempdir().unwrap();
    (0..3).for_each(|number| write(dir.path(), &format!("{number}.jpg"), b"garbage"));
    for labelled in [false, true] {
        if labelled {
            (0..3).for_each(|number| write(dir.path(), &format!("{number}.txt"), "0 0.5 0.5 0.5 0.5"));
        }
        let error = error(&dir);
        assert!(matches!(error, DataError::Unreadable { total: 3, usable: 0, .. }), "{error}");
        assert!(error.to_string().contains("2.jpg") && error.exit_code() == 2);
    }
}

#[test]
fn broken_rows_and_classes_out_of_range_are_named_with_file_and_line() {
    let dir = flat(5);
    write(dir.path(), "001.txt", "0 0.5 0.5 0.5 0.5\n0 0.5 0.5\n");
    write(dir.path(), "003.txt", "2 0.5 0.5 0.5 0.5\n");
    let error = error(&dir);
    let text = error.to_string();
    assert!(text.contains("2 broken label rows") && text.contains("001.txt:2: 3 values"), "{text}");
    assert!(text.contains("003.txt:1: class 2 is out of range: there are 2 classes, 0 to 1"), "{text}");
    assert_eq!(error.exit_code(), 2);
}

#[test]
fn no_images_and_no_folder_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "classes.txt", "bolt");
    assert!(matches!(error(&dir), DataError::NoImages { .. }));
    let gone = scan(&dir.path().join("gone"), &DataOptions::default()).unwrap_err();
    assert!(matches!(gone, DataError::Read { .. }) && gone.exit_code() == 2);
}

#[test]
fn images_without_any_label_wait_for_labels() {
    let dir = tempfile::tempdir().unwrap();
    (0..3).for_each(|number| write_picture(dir.path(), &format!("{number}.png"), number));
    assert_eq!((waiting(&dir).images, waiting(&dir).unlabelled), (3, 3));
    // Somebody has begun: one image is too few to learn from and judge by, and empty files teach no class.
    write(dir.path(), "0.txt", "0 0.5 0.5 0.5 0.5");
    assert!(waiting(&dir).warnings[0].contains("at least two"));
    write(dir.path(), "0.txt", "");
    write(dir.path(), "1.txt", "");
    assert!(waiting(&dir).warnings[0].contains("no image has a box"));
}

#[test]
fn the_fingerprint_follows_what_is_trained_on_and_not_names() {
    let dir = flat(8);
    let print = |dir: &TempDir| ready(dir, &DataOptions::default()).fingerprint;
    let before = print(&dir);
    fs::rename(dir.path().join("003.png"), dir.path().join("zzz.png")).unwrap();
    fs::rename(dir.path().join("003.txt"), dir.path().join("zzz.txt")).unwrap();
    assert_eq!(print(&dir), before);
    write(dir.path(), "zzz.txt", "1 0.5 0.5 0.75 0.75");
    assert_ne!(print(&dir), before);
}

#[test]
fn the_fingerprint_notices_an_image_that_is_gone_new_changed_or_on_the_other_side() {
    let dir = flat(10);
    let print = |options: &DataOptions| ready(&dir, options).fingerprint;
    let plain = DataOptions::default();
    let mut seen = vec![print(&plain)];
    let mut another = |print: String| {
        assert!(!seen.contains(&print), "change {} was not noticed", seen.len());
        seen.push(print);
    };
    // An image without boxes counts too: the model learns from it that there is nothing.
    write(dir.path(), "004.txt", "");
    another(print(&plain));
    fs::rename(dir.path().join("004.png"), dir.path().join("004.gone")).unwrap();
    another(print(&plain));
    fs::rename(dir.path().join("007.png"), dir.path().join("007.gone")).unwrap();
    another(print(&plain));
    write_picture(dir.path(), "new.png", 99);
    write(dir.path(), "new.txt", "0 0.5 0.5 0.5 0.5");
    another(print(&plain));
    write_picture(dir.path(), "new.png", 100);
    another(print(&plain));
    write(dir.path(), "classes.txt", "screw\nnut\n");
    another(print(&plain));
    another(print(&DataOptions { val_share: 0.7, ..plain.clone() }));
}

#[test]
fn a_second_scan_decodes_nothing_and_finds_the_same() {
    let (dir, memory) = (flat(12), tempfile::tempdir().unwrap());
    let options = DataOptions { memory_dir: Some(memory.path().to_owned()), ..DataOptions::default() };
    let first = ready(&dir, &options);
    assert_eq!(first.report.remembered, 0);
    // The images of this test are too young to be remembered: the wait is for a condition, their age.
    let (deadline, mut second) = (std::time::Instant::now() + std::time::Duration::from_secs(60), ready(&dir, &options));
    while second.report.remembered < 12 {
        assert!(std::time::Instant::now() < deadline, "{:?}", second.report);
        second = ready(&dir, &options);
    }
    assert_eq!((second.fingerprint, second.train, second.val), (first.fingerprint, first.train, first.val));
    let sample = &ready(&dir, &DataOptions::default()).train[0];
    assert_eq!((sample.width, sample.height), (48, 32));
}

#[test]
fn a_description_can_be_named_itself() {
    let dir = tempfile::tempdir().unwrap();
    for (number, name) in ["train/a", "train/b", "val/c"].into_iter().enumerate() {
        write_picture(dir.path(), &format!("images/{name}.png"), number as u64);
        write(dir.path(), &format!("labels/{name}.txt"), "0 0.5 0.5 0.5 0.5 0.1 0.1 2");
    }
    write(dir.path(), "bolts.yaml", "train: images/train\nval: images/val\nnames: [bolt]\nkpt_shape: [1, 3]\n");
    let Scan::Ready(dataset) = scan(&dir.path().join("bolts.yaml"), &DataOptions::default()).unwrap() else { panic!("labelled") };
    assert_eq!((names(&dataset.train), names(&dataset.val)), (vec!["a.png", "b.png"], vec!["c.png"]));
    assert!(scan(&dir.path().join("images/train/a.png"), &DataOptions::default()).unwrap_err().to_string().contains("name a folder"));
}

#[test]
fn coco_parts_of_one_side_are_put_together() {
    let dir = tempfile::tempdir().unwrap();
    let json = |images: &[&str], category: &str| {
        let images: Vec<String> =
            images.iter().enumerate().map(|(id, name)| format!(r#"{{"id": {id}, "file_name": "{name}.png"}}"#)).collect();
        format!(
            r#"{{"images": [{}], "annotations": [{{"id": 1, "image_id": 0, "category_id": 1, "bbox": [0, 0, 24, 16]}}],
            "categories": [{{"id": 1, "name": "{category}"}}]}}"#,
            images.join(",")
        )
    };
    for (number, name) in ["train2017/a", "train2017/b", "val2017/c"].into_iter().enumerate() {
        write_picture(dir.path(), &format!("{name}.png"), number as u64);
    }
    write(dir.path(), "annotations/instances_train2017.json", json(&["a", "b"], "nut"));
    write(dir.path(), "annotations/instances_val2017.json", json(&["c"], "nut"));
    let dataset = ready(&dir, &DataOptions::default());
    assert_eq!((names(&dataset.train), names(&dataset.val)), (vec!["a.png", "b.png"], vec!["c.png"]));
    // A second file for the same folder, with another class on the same image.
    write(dir.path(), "annotations/instances_train_more.json", json(&["train2017/a"], "bolt"));
    let dataset = ready(&dir, &DataOptions::default());
    assert_eq!((dataset.classes.as_slice(), dataset.train.len()), (["nut".to_owned(), "bolt".to_owned()].as_slice(), 2));
    assert_eq!(dataset.train[0].objects.iter().map(|object| object.class).collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn without_class_names_the_rows_tell_how_many() {
    let dir = flat(8);
    fs::remove_file(dir.path().join("classes.txt")).unwrap();
    assert_eq!(ready(&dir, &DataOptions::default()).classes, ["class0", "class1"]);
    write(dir.path(), "classes.txt", "bolt\n\nnut\n");
    assert!(error(&dir).to_string().contains("classes.txt:2: class 1 has an empty name"));
}
