//! The figures of models that are known to be right, confused or ignorant.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use super::*;
use crate::data::{Augment, DataOptions, Dataset, LoaderConfig, Scan, scan, testing::flat};

const ANCHORS: usize = 4;

fn val() -> (ValLoader, Vec<String>) {
    let dir = flat(12);
    let Scan::Ready(dataset) = scan(dir.path(), &DataOptions::default()).unwrap() else { panic!("labelled") };
    let all: Vec<_> = dataset.train.iter().chain(&dataset.val).cloned().collect();
    let dataset = Dataset { val: all, ..dataset };
    let config = LoaderConfig { imgsz: 64, batch: 5, seed: 0, workers: 0, augment: Augment::NONE, cache_mb: 16 };
    let classes = dataset.classes.clone();
    let loader = ValLoader::new(Arc::new(dataset), config).unwrap();
    // What is read here comes from memory afterwards: the folder goes away.
    assert_eq!(loader.batches().count(), 3);
    (loader, classes)
}

/// Says what the labels say; of the model's classes it takes the one with this number for each label.
fn oracle(batch: &Batch, classes: usize, number: impl Fn(u32) -> usize) -> anyhow::Result<Predictions> {
    let size = batch.w as f32;
    let mut data = vec![0.0; batch.n * (4 + classes) * ANCHORS];
    for target in &batch.targets {
        let image = &mut data[target.image as usize * (4 + classes) * ANCHORS..];
        let values = [target.cx * size, target.cy * size, target.w * size, target.h * size];
        values.into_iter().enumerate().for_each(|(row, value)| image[row * ANCHORS] = value);
        image[(4 + number(target.class)) * ANCHORS] = 0.9;
    }
    Ok(Predictions { data })
}

fn evaluated(knows: &[&str], number: impl Fn(u32) -> usize) -> Evaluation {
    let (val, classes) = val();
    let knows: Vec<String> = knows.iter().map(|&name| name.to_owned()).collect();
    let subject = Subject { name: "test", engine: "oracle".to_owned(), knows: &knows, imgsz: 64 };
    evaluate(&subject, &mut |batch| oracle(batch, knows.len(), &number), &val, &classes).unwrap()
}

#[test]
fn classes_are_matched_by_name_whatever_their_numbers() {
    let found = evaluated(&["washer", "nut", "bolt"], |class| if class == 0 { 2 } else { 1 });
    assert_eq!((found.map50, found.map50_95, found.images), (1.0, 1.0, 12));
    assert_eq!((found.confusion.count(0, 0), found.confusion.count(1, 1), found.confusion.counts.iter().sum::<u64>()), (6, 6, 12));
    assert!(found.notes.len() == 1 && found.notes[0].contains("washer"), "{:?}", found.notes);
    assert_eq!(found.classes[0].curve.precision, vec![1.0; 101]);
}

#[test]
fn confusions_and_unknown_classes_are_named() {
    let found = evaluated(&["bolt", "nut"], |class| 1 - class as usize);
    assert_eq!((found.map50, found.confusion.count(0, 1), found.confusion.count(1, 0)), (0.0, 6, 6));
    assert!(found.to_string().contains("6 × bolt taken for nut"), "{found}");
    let found = evaluated(&["bolt"], |_| 0);
    assert_eq!((found.classes[1].recall, found.classes[1].map50), (0.0, 0.0));
    assert!(found.notes[0].contains("does not know nut"), "{:?}", found.notes);
}

#[test]
fn pictures_and_json_hold_the_figures() {
    let found = evaluated(&["bolt", "nut"], |class| class as usize);
    for (name, png) in pictures::all(&found).unwrap() {
        let image = edgeloop_vision::decode::decode(&png, &edgeloop_vision::decode::Limits::default()).unwrap();
        assert!(image.width > 300 && image.height > 200, "{name}");
    }
    let json = serde_json::to_value(&found).unwrap();
    assert_eq!((json["map50"].as_f64(), json["classes"][1]["name"].as_str()), (Some(1.0), Some("nut")));
    assert!(found.to_string().contains("nut"));
}
