//! The judge with models that are known to be perfect, blind or broken.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use crate::data::{Augment, DataOptions, Dataset, LoaderConfig, Scan, scan, testing::flat};
use std::sync::Arc;

fn loader() -> (ValLoader, Vec<String>) {
    let dir = flat(12);
    let Scan::Ready(dataset) = scan(dir.path(), &DataOptions::default()).unwrap() else { panic!("labelled") };
    let all: Vec<_> = dataset.train.iter().chain(&dataset.val).cloned().collect();
    let dataset = Dataset { val: all, ..dataset };
    let config = LoaderConfig { imgsz: 64, batch: 5, seed: 0, workers: 1, augment: Augment::NONE, cache_mb: 16 };
    let classes = dataset.classes.clone();
    let loader = ValLoader::new(Arc::new(dataset), config).unwrap();
    // The folder goes away with this function: what is judged afterwards comes from the cache.
    assert_eq!(loader.batches().map(|batch| batch.unwrap().batch.n).collect::<Vec<_>>(), [5, 5, 2]);
    (loader, classes)
}

const ANCHORS: usize = 8;

/// Says exactly what the labels say, `x_shift` input pixels to the right.
fn oracle(batch: &Batch, x_shift: f32) -> Predictions {
    let mut data = vec![0.0; batch.n * 6 * ANCHORS];
    for (at, target) in batch.targets.iter().enumerate() {
        let image = &mut data[target.image as usize * 6 * ANCHORS..][..6 * ANCHORS];
        let (size, anchor) = (batch.w as f32, at % ANCHORS);
        let values = [target.cx * size + x_shift, target.cy * size, target.w * size, target.h * size];
        values.into_iter().enumerate().for_each(|(row, value)| image[row * ANCHORS + anchor] = value);
        image[(4 + target.class as usize) * ANCHORS + anchor] = 0.9;
    }
    Predictions { data }
}

#[test]
fn a_model_that_says_what_the_labels_say_is_perfect() {
    let (val, classes) = loader();
    let report = judge(&mut |batch| Ok(oracle(batch, 0.0)), &val, &classes).unwrap();
    assert_eq!((report.map50, report.map50_95, report.images), (1.0, 1.0, 12));
    assert_eq!(report.per_class.iter().map(|class| class.boxes).collect::<Vec<_>>(), [6, 6]);
}

#[test]
fn boxes_a_little_off_count_at_loose_overlap_only() {
    let (val, classes) = loader();
    // A quarter of 48 px is 16 input px wide (48 px become 64): shifted by 3, IoU 13 / 19 = 0.68, good for .50 to .65: 4 of 10.
    let report = judge(&mut |batch| Ok(oracle(batch, 3.0)), &val, &classes).unwrap();
    assert_eq!(report.map50, 1.0);
    assert!((report.map50_95 - 0.4).abs() < 1e-9, "{}", report.map50_95);
}

#[test]
fn a_model_with_other_class_numbers_is_judged_by_names() {
    let (val, classes) = loader();
    assert_eq!(classes, ["bolt", "nut"]);
    // It says `gear` (class 0) where there is a bolt, and knows bolts as class 1 and nuts not at all.
    let knows = ["gear".to_owned(), "bolt".to_owned()];
    let report = evaluate(&mut |batch| Ok(oracle(batch, 0.0)), &val, &knows, &classes).unwrap().finish();
    assert_eq!(report.per_class.iter().map(|class| (class.boxes, class.map50)).collect::<Vec<_>>(), [(6, 0.0), (6, 0.0)]);
    let knows = ["nut".to_owned(), "bolt".to_owned()];
    let swapped = |batch: &Batch| {
        let mut batch = batch.clone();
        batch.targets.iter_mut().for_each(|target| target.class = 1 - target.class);
        Ok(oracle(&batch, 0.0))
    };
    let report = evaluate(&mut |batch| swapped(batch), &val, &knows, &classes).unwrap().finish();
    assert_eq!(report.map50_95, 1.0);
}

#[test]
fn a_blind_model_gets_nothing_and_a_broken_one_an_error() {
    let (val, classes) = loader();
    let blind = judge(&mut |batch| Ok(Predictions { data: vec![0.0; batch.n * 6 * ANCHORS] }), &val, &classes).unwrap();
    assert_eq!((blind.map50, blind.images), (0.0, 12));
    let shape = judge(&mut |batch| Ok(Predictions { data: vec![0.0; batch.n * 7] }), &val, &classes).unwrap_err();
    assert!(matches!(shape, JudgeError::Shape { classes: 2, .. }), "{shape}");
    let failed = judge(&mut |_| Err(anyhow::anyhow!("out of memory")), &val, &classes).unwrap_err();
    assert!(failed.to_string().contains("out of memory"));
}
