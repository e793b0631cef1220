//! Batches: the same for any number of workers and any cache; whole for any folder.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use crate::data::{DataOptions, Scan, ScanReport, scan, testing::flat};
use tempfile::TempDir;

fn dataset(dir: &TempDir) -> Arc<Dataset> {
    let Scan::Ready(dataset) = scan(dir.path(), &DataOptions::default()).unwrap() else { panic!("labelled") };
    Arc::new(dataset)
}

fn config() -> LoaderConfig {
    let augment = Augment { degrees: 5.0, flipud: 0.5, ..Augment::default() };
    LoaderConfig { imgsz: 64, batch: 4, seed: 1, workers: 2, augment, cache_mb: 64 }
}

fn batches(dataset: &Arc<Dataset>, config: LoaderConfig, epoch: u32, mosaic: bool) -> Vec<Batch> {
    TrainLoader::new(dataset.clone(), config).unwrap().epoch(epoch, mosaic).collect::<Result<_, _>>().unwrap()
}

#[test]
fn neither_workers_nor_cache_change_a_byte() {
    let dir = flat(20);
    let dataset = dataset(&dir);
    let one = batches(&dataset, LoaderConfig { workers: 1, ..config() }, 3, true);
    for (workers, cache_mb) in [(0, 0), (2, 64), (5, 0), (3, 1)] {
        assert_eq!(one, batches(&dataset, LoaderConfig { workers, cache_mb, ..config() }, 3, true), "{workers} workers, {cache_mb} MiB");
    }
}

#[test]
fn an_epoch_run_alone_is_the_one_of_a_longer_training() {
    let dir = flat(20);
    let dataset = dataset(&dir);
    let loader = TrainLoader::new(dataset.clone(), config()).unwrap();
    let epochs: Vec<Vec<Batch>> = (0..3).map(|epoch| loader.epoch(epoch, true).collect::<Result<_, _>>().unwrap()).collect();
    assert_eq!(epochs[2], batches(&dataset, config(), 2, true), "a resumed training sees what the first would have");
    assert_ne!(epochs[0], epochs[1]);
    assert_ne!(epochs[0], batches(&dataset, LoaderConfig { seed: 2, ..config() }, 0, true));
    assert_ne!(epochs[0], batches(&dataset, config(), 0, false));
}

#[test]
fn batches_have_their_shape_and_the_last_one_what_is_left() {
    let dir = flat(20);
    let dataset = dataset(&dir);
    let (train, loader) = (dataset.train.len(), TrainLoader::new(dataset.clone(), config()).unwrap());
    let all: Vec<Batch> = loader.epoch(0, true).collect::<Result<_, _>>().unwrap();
    assert_eq!((all.len(), all.iter().map(|batch| batch.n).sum::<usize>()), (loader.batches_per_epoch(), train));
    for batch in &all {
        assert_eq!((batch.h, batch.w, batch.images.len()), (64, 64, batch.n * 3 * 64 * 64));
        assert!(batch.targets.iter().all(|target| (target.image as usize) < batch.n && target.class < 2));
    }
    assert!(all.iter().map(|batch| batch.targets.len()).sum::<usize>() > train / 2);
}

#[test]
fn without_augmentation_an_epoch_is_every_image_once_letterboxed() {
    let dir = flat(12);
    let dataset = dataset(&dir);
    let plain = LoaderConfig { augment: Augment::NONE, batch: 1, ..config() };
    let train = batches(&dataset, plain.clone(), 0, false);
    let swapped = Dataset { val: dataset.train.clone(), ..(*dataset).clone() };
    let val = crate::data::ValLoader::new(Arc::new(swapped), plain).unwrap();
    let mut letterboxed: Vec<Batch> = val.batches().map(|batch| batch.unwrap().batch).collect();
    for batch in &train {
        let at = letterboxed.iter().position(|other| other.images == batch.images).expect("the same bytes as the val side makes");
        let (ours, theirs) = (batch.targets[0], letterboxed.remove(at).targets[0]);
        let off = [ours.cx - theirs.cx, ours.cy - theirs.cy, ours.w - theirs.w, ours.h - theirs.h].map(f32::abs);
        assert!(off.into_iter().all(|off| off < 1e-6) && ours.class == theirs.class);
    }
    assert!(letterboxed.is_empty());
}

#[test]
fn an_image_that_goes_away_is_replaced_and_named_and_a_folder_that_does_is_an_error() {
    let dir = flat(30);
    let dataset = dataset(&dir);
    std::fs::write(&dataset.train[2].path, b"overwritten").unwrap();
    let loader = TrainLoader::new(dataset.clone(), config()).unwrap();
    let images: usize = loader.epoch(0, true).map(|batch| batch.unwrap().n).sum();
    assert_eq!(images, dataset.train.len());
    assert_eq!(loader.unreadable().iter().map(|(path, _)| path).collect::<Vec<_>>(), [&dataset.train[2].path]);
    drop(dir);
    let error = TrainLoader::new(dataset, config()).unwrap().epoch(0, true).find_map(Result::err).unwrap();
    assert!(matches!(error, DataError::Vanished { .. }), "{error}");
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let dir = flat(10);
    let dataset = dataset(&dir);
    let augment = Augment { scale: 1.5, ..Augment::default() };
    let wrong = [
        LoaderConfig { imgsz: 100, ..config() },
        LoaderConfig { batch: 0, ..config() },
        LoaderConfig { augment, ..config() },
        LoaderConfig { augment: Augment { hsv_h: f32::NAN, ..augment }, ..config() },
    ];
    for config in wrong {
        assert!(matches!(TrainLoader::new(dataset.clone(), config), Err(DataError::Settings(_))));
    }
    let empty = Dataset { train: Vec::new(), report: ScanReport::default(), ..(*dataset).clone() };
    assert!(matches!(TrainLoader::new(Arc::new(empty), config()), Err(DataError::EmptySide { side: "train", .. })));
}

#[test]
fn every_batch_has_a_side_of_its_own_and_boxes_stay_where_they_were() {
    let dir = flat(40);
    let dataset = dataset(&dir);
    let plain = LoaderConfig { augment: Augment::NONE, imgsz: 128, ..config() };
    let varied = LoaderConfig { augment: Augment { multi_scale: 0.5, ..Augment::NONE }, ..plain.clone() };
    let (one, many) = (batches(&dataset, plain, 1, false), batches(&dataset, varied.clone(), 1, false));
    let sides: std::collections::BTreeSet<usize> = many.iter().map(|batch| batch.h).collect();
    assert!(sides.len() > 1 && sides.iter().all(|side| side % 32 == 0 && (64..=192).contains(side)), "{sides:?}");
    for (number, (one, many)) in one.iter().zip(&many).enumerate() {
        assert_eq!((many.h as u32, many.images.len()), (side(0.5, 128, 1, 1, number), many.n * 3 * many.h * many.w));
        assert_eq!(one.targets.len(), many.targets.len());
        for (a, b) in one.targets.iter().zip(&many.targets) {
            let off = [a.cx - b.cx, a.cy - b.cy, a.w - b.w, a.h - b.h].map(f32::abs);
            assert!(a.class == b.class && a.image == b.image && off.into_iter().all(|off| off < 1e-5), "{a:?} {b:?}");
        }
    }
    assert_eq!(many, batches(&dataset, LoaderConfig { workers: 0, ..varied }, 1, false));
}

#[test]
fn a_mixed_picture_has_the_boxes_of_both() {
    let dir = flat(40);
    let dataset = dataset(&dir);
    let plain = LoaderConfig { augment: Augment::NONE, ..config() };
    let mixed = LoaderConfig { augment: Augment { mixup: 1.0, ..Augment::NONE }, ..plain.clone() };
    let count = |batches: &[Batch]| batches.iter().map(|batch| batch.targets.len()).sum::<usize>();
    let (alone, both) = (batches(&dataset, plain, 1, true), batches(&dataset, mixed.clone(), 1, true));
    for (alone, both) in alone.iter().zip(&both) {
        // Every box of the first picture is still there, and those of another one beside it.
        for image in 0..alone.n as u32 {
            let of = |batch: &Batch| batch.targets.iter().filter(|t| t.image == image).copied().collect::<Vec<_>>();
            assert_eq!(of(both)[..of(alone).len()], of(alone)[..]);
        }
    }
    let images = dataset.train.iter().map(|sample| sample.objects.len()).collect::<Vec<_>>();
    let (least, most) = (images.iter().min().unwrap(), images.iter().max().unwrap());
    let n = dataset.train.len();
    assert!((count(&alone) + n * least..=count(&alone) + n * most).contains(&count(&both)) && *most > 0);
    // The last epochs are without.
    let last = LoaderConfig { augment: Augment::NONE, ..mixed.clone() };
    assert_eq!(batches(&dataset, mixed, 1, false), batches(&dataset, last, 1, false));
}
