//! Defaults, what is refused, and the numbers that follow from settings.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use edgeloop_model::Scale;

use super::*;
use crate::{
    data::{Dataset, Sample, ScanReport},
    fit::{Hyper, optimiser::Rule},
};

fn settings(more: &[&str]) -> Result<Settings, clap::Error> {
    Settings::try_parse_from(["edgeloop-trainer"].iter().chain(more))
}

#[test]
fn the_manuals_defaults_hold() {
    let s = settings(&[]).unwrap();
    assert_eq!((s.epochs(), s.batch_size, s.device, s.imgsz, s.scale), (20, 4, Device::Cpu, 640, Scale::N));
    assert_eq!((s.images_dir, s.model_dir), ("/data/images".into(), "/data/models".into()));
}

#[test]
fn what_makes_no_sense_is_refused_with_its_name() {
    assert!(settings(&["--epochs", "0"]).is_err());
    assert!(settings(&["--device", "tpu"]).is_err());
    assert!(settings(&["--imgsz", "100"]).unwrap().check().unwrap_err().contains("IMGSZ"));
    assert!(settings(&["--lr0=-1"]).unwrap().check().unwrap_err().contains("LR0"));
    assert!(settings(&["--mosaic", "7"]).unwrap().check().unwrap_err().contains("mosaic"));
    settings(&[]).unwrap().check().unwrap();
}

/// `train` images of `classes` classes; nothing else of it is looked at.
fn dataset(train: usize, classes: usize) -> Dataset {
    let sample = Sample { path: PathBuf::new(), content: [0; 32], width: 64, height: 64, objects: Vec::new() };
    Dataset {
        classes: vec!["a".to_owned(); classes],
        train: vec![sample; train],
        val: Vec::new(),
        report: ScanReport::default(),
        fingerprint: String::new(),
        split: String::new(),
        disk: None,
    }
}

fn hyper(more: &[&str], train: usize, from_weights: bool) -> Hyper {
    let s = settings(more).unwrap();
    s.check().unwrap();
    s.hyper(&dataset(train, 6), from_weights)
}

fn near(got: f64, want: f64) {
    assert!((got - want).abs() < 1e-9, "{got} is not {want}");
}

#[test]
fn a_tiny_folder_gets_its_iterations_unless_epochs_are_asked_for() {
    // 40 images in batches of 4: 10 batches an epoch, 1000 / 10 = 100 epochs.
    assert_eq!(hyper(&[], 40, false).epochs, 100);
    assert_eq!(hyper(&[], 40, true).epochs, 20);
    assert_eq!(hyper(&["--epochs", "20"], 40, false).epochs, 20);
    assert_eq!(hyper(&["--epochs", "20", "--min-iterations", "255"], 40, false).epochs, 26);
    assert_eq!(hyper(&[], 4_000, false).epochs, 20);
    assert_eq!(hyper(&["--recipe", "family"], 40, false).epochs, 20);
}

#[test]
fn patience_is_in_epochs_and_long_enough_for_a_small_folder() {
    assert_eq!(hyper(&[], 4_000, false).recipe.patience, 100);
    // 8 images: 2 batches an epoch, 1000 / 2.
    assert_eq!(hyper(&[], 8, false).recipe.patience, 500);
    assert_eq!(hyper(&["--patience", "7"], 8, false).recipe.patience, 7);
    assert_eq!(hyper(&["--patience", "0"], 8, false).recipe.patience, 0);
}

#[test]
fn the_familys_recipe_is_the_familys() {
    // 4,000 images in batches of 4, 20 epochs: 20,000 batches, so SGD. Warm-up of 3 epochs: 3,000 batches.
    let h = hyper(&["--recipe", "family"], 4_000, true);
    assert_eq!((h.optimiser, h.nominal_batch, h.warmup_batches, h.close_mosaic), (Rule::Sgd, 64, 3_000, 10));
    assert!(!h.recipe.cosine);
    near(h.lr0, 0.01);
    near(h.momentum, 0.9);
    near(h.recipe.warmup_bias_lr, 0.0);
    // 400 images: 2,000 batches, so AdamW at 0.002 · 5 / (4 + 6).
    let h = hyper(&["--recipe", "family"], 400, false);
    assert_eq!((h.optimiser, h.nominal_batch, h.warmup_batches), (Rule::AdamW, 64, 300));
    near(h.lr0, 0.001);
    // One that is asked for by name has the rates of the family's table.
    let h = hyper(&["--recipe", "family", "--optimizer", "SGD"], 400, false);
    assert_eq!(h.optimiser, Rule::Sgd);
    near(h.momentum, 0.937);
    near(h.recipe.warmup_bias_lr, 0.1);
    near(h.lr0, 0.01);
}

#[test]
fn the_edges_recipe_is_made_for_short_runs() {
    // 400 images in batches of 4, 20 epochs: 2,000 batches, 8 images a step; 0.028 / 10 · √(8 / 16).
    let h = hyper(&[], 400, false);
    assert_eq!((h.optimiser, h.nominal_batch, h.warmup_batches), (Rule::AdamW, 8, 200));
    assert!(h.recipe.cosine);
    near(h.lr0, 0.0028 * 0.5_f64.sqrt());
    near(hyper(&[], 400, true).lr0, 0.0028 * 0.5_f64.sqrt() / 4.0);
    near(hyper(&["--optimizer", "sgd"], 400, true).lr0, 0.0025);
}

#[test]
fn what_is_set_reaches_the_run() {
    let all = [
        "--box",
        "8",
        "--cls",
        "0.6",
        "--dfl",
        "1.6",
        "--clip-norm",
        "3",
        "--freeze",
        "10",
        "--cos-lr=false",
        "--nbs",
        "32",
        "--momentum",
        "0.8",
        "--warmup-momentum",
        "0.7",
        "--warmup-bias-lr",
        "0.05",
        "--mixup",
        "0.1",
        "--perspective",
        "0.0005",
        "--multi-scale",
    ];
    let h = hyper(&all, 400, false);
    assert_eq!((h.recipe.gains.bbox, h.recipe.gains.class, h.recipe.gains.dfl), (8.0, 0.6, 1.6));
    assert_eq!((h.recipe.clip_norm, h.recipe.freeze, h.recipe.cosine, h.nominal_batch), (3.0, 10, false, 32));
    assert_eq!((h.momentum, h.recipe.warmup_momentum, h.recipe.warmup_bias_lr), (0.8, 0.7, 0.05));
    assert_eq!((h.augment.mixup, h.augment.perspective, h.augment.multi_scale), (0.1, 0.0005, 0.5));
    assert_eq!(hyper(&["--multi-scale", "0.25"], 400, false).augment.multi_scale, 0.25);
    assert_eq!(hyper(&["--multi-scale", "false"], 400, false).augment.multi_scale, 0.0);
}

#[test]
fn the_recipes_numbers_have_their_bounds() {
    for (flag, name) in [("--box=-1", "BOX"), ("--clip-norm=-1", "CLIP_NORM"), ("--warmup-momentum=1", "WARMUP_MOMENTUM")] {
        assert!(settings(&[flag]).unwrap().check().unwrap_err().contains(name), "{flag}");
    }
    assert!(settings(&["--perspective", "0.1"]).unwrap().check().unwrap_err().contains("perspective"));
    assert!(settings(&["--multi-scale", "0.9"]).unwrap().check().unwrap_err().contains("multi_scale"));
    assert!(settings(&["--freeze", "23"]).is_err() && settings(&["--multi-scale", "much"]).is_err());
}
