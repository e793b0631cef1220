//! The images folder: a JSON line for each image, and no more than that.

use std::fs;
use std::path::Path;

use edgeloop_store::Store;
use serde_json::Value;

use crate::support::*;

fn put(dir: &Path, name: &str, bytes: &[u8]) {
    fs::create_dir_all(dir.join(name).parent().unwrap()).unwrap();
    fs::write(dir.join(".part"), bytes).unwrap();
    fs::rename(dir.join(".part"), dir.join(name)).unwrap();
}

fn lines_of(inferer: &Inferer, file: &str) -> Vec<Value> {
    inferer.printed.lines().into_iter().filter(|line| line["file"] == file).collect()
}

fn start(images: &Path, more: &[&str]) -> (tempfile::TempDir, Store, Inferer) {
    let models = tempfile::tempdir().unwrap();
    let store = Store::create(models.path()).unwrap();
    let fixed = ["--images-dir", images.to_str().unwrap(), "--inference-interval", "0.05"];
    let inferer = Inferer::start(models.path(), &[&fixed, more].concat());
    (models, store, inferer)
}

#[test]
fn every_image_once_a_model_then_new_and_changed_ones() {
    let dir = tempfile::tempdir().unwrap();
    let images = dir.path().join("images");
    put(&images, "a.jpg", &jpeg(&quarter(64, 64, 0)));
    put(&images, "cam1/b.png", &png(&quarter(64, 64, 1)));
    put(&images, "notes.txt", b"not an image");
    let (_models, store, inferer) = start(&images, &[]);
    let first = publish(&store, 0.5).version;
    wait_for("both images", || (inferer.printed.lines().len() == 2).then_some(()));
    let line = &lines_of(&inferer, "cam1/b.png")[0];
    assert_eq!((line["model"].as_str(), read_answer(line).0), (Some(first.as_str()), 0.5), "{line}");
    put(&images, "c.jpg", &jpeg(&quarter(64, 64, 2)));
    wait_for("the new one", || (lines_of(&inferer, "c.jpg").len() == 1).then_some(()));
    put(&images, "a.jpg", &jpeg(&quarter(128, 64, 3)));
    wait_for("the changed one", || (lines_of(&inferer, "a.jpg").len() == 2).then_some(()));
    assert_eq!(lines_of(&inferer, "a.jpg")[1]["image"]["width"], 128);
    assert_eq!(inferer.printed.lines().len(), 4, "an image was printed that is neither new nor changed");
    let second = publish(&store, 0.6).version;
    wait_for("all again", || {
        let by_second = inferer.printed.lines().into_iter().filter(|l| l["model"] == second.as_str()).count();
        (by_second == 3).then_some(())
    });
    assert_eq!(inferer.metric("edgeloop_infer_images_total", "folder"), 7.0);
}

#[test]
fn an_image_that_is_half_written_is_tried_again_and_a_broken_one_reported_once() {
    let dir = tempfile::tempdir().unwrap();
    let images = dir.path().join("images");
    let whole = jpeg(&quarter(64, 64, 0));
    let (_models, store, inferer) = start(&images, &[]);
    publish(&store, 0.5);
    // The folder comes into being while the loop runs.
    put(&images, "broken.jpg", b"no picture at all");
    put(&images, "good.jpg", &whole);
    wait_for("the good one", || (lines_of(&inferer, "good.jpg").len() == 1).then_some(()));
    let error = wait_for("the broken one", || lines_of(&inferer, "broken.jpg").pop());
    assert_eq!(error["error"], "unsupported_image", "{error}");
    fs::write(images.join("slow.jpg"), &whole[..whole.len() / 2]).unwrap();
    put(&images, "after.jpg", &whole);
    wait_for("a pass over the half one", || (lines_of(&inferer, "after.jpg").len() == 1).then_some(()));
    fs::write(images.join("slow.jpg"), &whole).unwrap();
    let slow = wait_for("the slow one", || lines_of(&inferer, "slow.jpg").into_iter().find(|l| l.get("detections").is_some()));
    assert_eq!(read_answer(&slow).1.len(), 1);
    assert_eq!(lines_of(&inferer, "broken.jpg").len(), 1, "reported once");
}

#[test]
fn with_inference_all_every_pass_takes_every_image() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "a.jpg", &jpeg(&quarter(64, 64, 0)));
    put(dir.path(), "b.jpg", &jpeg(&quarter(64, 64, 1)));
    let (_models, store, inferer) = start(dir.path(), &["--inference-all"]);
    publish(&store, 0.5);
    wait_for("three passes", || (lines_of(&inferer, "a.jpg").len() >= 3 && lines_of(&inferer, "b.jpg").len() >= 3).then_some(()));
}
