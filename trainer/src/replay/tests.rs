//! What is new, what is seen again.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use edgeloop_store::{Architecture, Decision, Draft, FileKind, Metrics, Owner, Producer, TrainLock};
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::data::{Object, ScanReport};

fn object(class: u32, cx: f32) -> Object {
    Object { class, cx, cy: 0.5, w: 0.1, h: 0.1 }
}

fn sample(number: u8, objects: Vec<Object>) -> Sample {
    Sample { path: format!("{number}.png").into(), objects, content: [number; 32], width: 8, height: 8 }
}

fn dataset(classes: &[&str], train: Vec<Sample>) -> Arc<Dataset> {
    let classes = classes.iter().map(|&name| name.to_owned()).collect();
    let val = vec![sample(255, vec![object(0, 0.5)])];
    Arc::new(Dataset { classes, train, val, report: ScanReport::default(), fingerprint: String::new(), split: String::new(), disk: None })
}

/// A store with one promoted version.
fn store() -> (TempDir, Store, TrainLock, Version) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path()).unwrap();
    let lock = store.lock_training(&Owner::current("test")).unwrap();
    let draft = Draft {
        architecture: Architecture { family: "yolov8".to_owned(), scale: "n".to_owned() },
        image_size: 64,
        classes: vec!["bolt".to_owned()],
        dataset: Default::default(),
        training: Default::default(),
        metrics: Metrics::default(),
        compared_with: None,
        producer: Producer { name: "test".to_owned(), version: "0".to_owned(), host: "box".to_owned() },
        files: vec![(FileKind::Weights, vec![1]), (FileKind::Onnx, vec![2])],
    };
    let version = store.publish(&lock, draft, Decision::Promote { reason: "test".to_owned() }).unwrap().version;
    (dir, store, lock, version)
}

fn replay(share: Option<f64>) -> Replay {
    Replay { replay_share: share }
}

fn paths(seen: &Seen) -> Vec<String> {
    seen.dataset.train.iter().map(|sample| sample.path.display().to_string()).collect()
}

#[test]
fn all_new_images_and_a_share_of_the_older_ones_and_the_whole_val_side() {
    let (_dir, store, lock, parent) = store();
    let old: Vec<Sample> = (0..40).map(|n| sample(n, vec![object(u32::from(n % 2), 0.5)])).collect();
    let before = Seen::plan(&replay(Some(0.25)), &store, None, &dataset(&["bolt", "nut"], old.clone()), 7);
    assert_eq!((before.new, before.older, before.dataset.train.len()), (40, 0, 40));
    store.write_seen(&lock, &parent, &before.images).unwrap();

    let grown = dataset(&["bolt", "nut"], old.into_iter().chain((100..110).map(|n| sample(n, vec![object(0, 0.2)]))).collect());
    let plan = |share, seed| Seen::plan(&replay(share), &store, Some(&parent), &grown, seed);
    let seen = plan(Some(0.5), 7);
    assert_eq!((seen.new, seen.older, seen.replayed), (10, 40, 20));
    assert_eq!((seen.dataset.train.len(), seen.dataset.val.len(), seen.images.len()), (30, 1, 50));
    assert!((100..110).all(|n| paths(&seen).contains(&format!("{n}.png"))));
    assert_eq!(paths(&seen), paths(&plan(Some(0.5), 7)), "the same run sees the same images");
    assert_ne!(paths(&seen), paths(&plan(Some(0.5), 8)), "another seed sees others");

    assert_eq!((plan(Some(0.0), 7).dataset.train.len(), plan(Some(1.0), 7).dataset.train.len()), (10, 50));
    // Few older ones: all of them.
    assert_eq!(plan(None, 7).dataset.train.len(), 50);
    assert!(seen.describe(Some(&parent)).contains("20 of 40 older ones"));
}

#[test]
fn without_anything_new_all_are_seen() {
    let (_dir, store, lock, parent) = store();
    let data = dataset(&["bolt"], (0..9).map(|n| sample(n, vec![object(0, 0.5)])).collect());
    let images = Seen::plan(&replay(None), &store, None, &data, 0).images;
    store.write_seen(&lock, &parent, &images).unwrap();
    let seen = Seen::plan(&replay(Some(0.0)), &store, Some(&parent), &data, 0);
    assert_eq!((seen.new, seen.older, seen.dataset.train.len()), (0, 9, 9));
}

#[test]
fn a_parent_without_a_record_has_seen_nothing() {
    let (dir, store, lock, parent) = store();
    let data = dataset(&["bolt"], (0..9).map(|n| sample(n, vec![object(0, 0.5)])).collect());
    let plan = || Seen::plan(&replay(Some(0.0)), &store, Some(&parent), &data, 0);
    assert_eq!((plan().new, plan().dataset.train.len()), (9, 9));
    store.write_seen(&lock, &parent, &plan().images).unwrap();
    assert_eq!(plan().new, 0);
    std::fs::write(dir.path().join("seen").join(parent.as_str()), b"torn").unwrap();
    assert_eq!((plan().new, plan().dataset.train.len()), (9, 9));
}

#[test]
fn other_labels_make_an_image_new_and_other_numbers_or_another_order_do_not() {
    let names = |names: &[&str]| -> Vec<String> { names.iter().map(|&name| name.to_owned()).collect() };
    let (before, after) = (names(&["bolt", "nut"]), names(&["washer", "nut", "bolt"]));
    let old = image(&sample(1, vec![object(0, 0.2), object(1, 0.7)]), &before);
    assert_eq!(image(&sample(1, vec![object(1, 0.7), object(2, 0.2)]), &after), old);
    assert_ne!(image(&sample(1, vec![object(0, 0.2), object(1, 0.7)]), &after), old);
    for changed in [vec![object(0, 0.2)], vec![object(0, 0.2), object(1, 0.71)], vec![]] {
        assert_ne!(image(&sample(1, changed), &before), old);
    }
    assert_ne!(image(&sample(2, vec![object(0, 0.2), object(1, 0.7)]), &before), old);
}

#[test]
fn by_default_many_older_images_are_seen_by_half() {
    let share = |older| replay(None).share(older);
    assert_eq!((share(0), share(2_000), share(4_000), share(100_000)), (1.0, 1.0, 0.5, 0.5));
    assert!((share(2_500) - 0.8).abs() < 1e-12);
    for (good, share) in
        [(true, Some(0.0)), (true, None), (true, Some(1.0)), (false, Some(1.1)), (false, Some(-0.1)), (false, Some(f64::NAN))]
    {
        assert_eq!(replay(share).check().is_ok(), good, "{share:?}");
    }
}

fn olders() -> impl Strategy<Value = Vec<Older>> {
    // Class k is in one of 2^k images.
    let image = (any::<u64>(), any::<u64>())
        .prop_map(|(rank, bits)| (rank, (0..6).filter(|&k| bits >> (8 * k) & ((1 << k) - 1) == 0).collect::<Vec<u32>>()));
    prop::collection::vec(image, 1..200).prop_map(|images| {
        images
            .into_iter()
            .enumerate()
            .map(|(index, (rank, classes))| Older { index, rank, classes: if index % 7 == 0 { Vec::new() } else { classes } })
            .collect()
    })
}

proptest! {
    #[test]
    fn every_class_is_seen_again(older in olders(), share in 0.01_f64..1.0) {
        let chosen: HashSet<usize> = choose(&older, share).into_iter().collect();
        prop_assert!(chosen.len() as f64 >= older.len() as f64 * share);
        for class in 0..6 {
            let of: Vec<&Older> = older.iter().filter(|image| image.classes.contains(&class)).collect();
            let again = of.iter().filter(|image| chosen.contains(&image.index)).count();
            prop_assert!(again as f64 >= of.len() as f64 * share && again >= of.len().min(8), "class {}: {} of {}", class, again, of.len());
        }
        // The share, and what rare classes need beyond it.
        prop_assert!(chosen.len() <= (older.len() as f64 * share).ceil() as usize + 7 * 9);
    }
}
