//! The images folder: a JSON line for each image, and no more than that.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use edgeloop_store::Store;
use serde_json::Value;

use crate::program::Program;
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

/// Whole lines of a folder of results.
fn kept(dir: &Path) -> Vec<Value> {
    let mut files: Vec<_> = fs::read_dir(dir).map(|entries| entries.map(|entry| entry.unwrap().path()).collect()).unwrap_or_default();
    files.sort();
    let text: String = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    // The last line may be in the writing.
    text.split_inclusive('\n').filter(|line| line.ends_with('\n')).map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn results_are_kept_in_files_too() {
    let dir = tempfile::tempdir().unwrap();
    let (images, results) = (dir.path().join("images"), dir.path().join("results"));
    put(&images, "a.jpg", &jpeg(&quarter(64, 64, 0)));
    let (_models, store, inferer) =
        start(&images, &["--results-dir", results.to_str().unwrap(), "--results-file-bytes", "1000", "--results-files", "3"]);
    publish(&store, 0.5);
    let line = wait_for("the line", || kept(&results).pop());
    assert_eq!((line["file"].as_str(), line.as_object().unwrap().keys().next().unwrap().as_str()), (Some("a.jpg"), "at"));
    let printed = &inferer.printed.lines()[0];
    assert_eq!((&line["detections"], &line["timing_ms"]), (&printed["detections"], &printed["timing_ms"]), "the same line");
    for n in 0..20 {
        put(&images, &format!("{n}.jpg"), &jpeg(&quarter(64, 64, 0)));
    }
    wait_for("all", || (inferer.metric("edgeloop_results_lines_total", "written") == 21.0).then_some(()));
    assert_eq!(fs::read_dir(&results).unwrap().count(), 3);
    assert!(kept(&results).len() < 21 && inferer.printed.lines().len() == 21);
}

#[test]
fn a_folder_of_images_that_is_moved_here_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let images = dir.path().join("images");
    put(&images, "a.jpg", &jpeg(&quarter(64, 64, 0)));
    put(dir.path(), "day/one/b.jpg", &jpeg(&quarter(64, 64, 0)));
    let (_models, store, inferer) = start(&images, &[]);
    publish(&store, 0.5);
    wait_for("the first", || (lines_of(&inferer, "a.jpg").len() == 1).then_some(()));
    fs::rename(dir.path().join("day"), images.join("day")).unwrap();
    wait_for("the one that was moved", || (lines_of(&inferer, "day/one/b.jpg").len() == 1).then_some(()));
    fs::write(images.join("day/one/b.jpg"), jpeg(&quarter(128, 64, 0))).unwrap();
    wait_for("its change", || lines_of(&inferer, "day/one/b.jpg").into_iter().find(|line| line["image"]["width"] == 128));
}

#[test]
fn many_images_neither_hold_up_requests_nor_fill_memory() {
    let number: usize = std::env::var("FOLDER_IMAGES").map_or(2000, |text| text.parse().expect("a number"));
    let dir = tempfile::tempdir().unwrap();
    let (images, models, results) = (dir.path().join("images"), dir.path().join("models"), dir.path().join("results"));
    for n in 0..number {
        // ext4 allows a file 65,000 names.
        let (first, name) = (n / 50_000 * 50_000, format!("{n}.png"));
        if n == first {
            put(&images, &name, &png(&quarter(16, 16, 0)));
        } else {
            fs::hard_link(images.join(format!("{first}.png")), images.join(name)).unwrap();
        }
    }
    publish(&Store::create(&models).unwrap(), 0.5);
    let [folder, kept_in] = [&images, &results].map(|path| path.to_str().unwrap());
    let program = Program::ready(&models, &["--images-dir", folder, "--results-dir", kept_in, "--results-files", "1000"]);
    let before = program.memory_mb();
    let (photo, client) = (jpeg(&quarter(64, 64, 0)), agent());
    let mut times = Vec::new();
    let inferred = || metric(&client, program.admin, "edgeloop_infer_images_total", "folder");
    let began = Instant::now();
    while (inferred() as usize) < number {
        let asked = Instant::now();
        assert_eq!(post(&client, program.serving, "image/jpeg", &photo).0, 200);
        times.push(asked.elapsed());
        // A pause in which the folder has its turn: without it every image of it waits a whole second for a gap.
        std::thread::sleep(Duration::from_millis(20));
        assert!(began.elapsed() < Duration::from_secs(60 + number as u64 / 50), "the folder does not get on");
    }
    let took = began.elapsed();
    times.sort_unstable();
    let after = program.memory_mb();
    assert_eq!(kept(&results).len(), number, "each once");
    fs::hard_link(images.join("0.png"), images.join("new.png")).unwrap();
    wait_for("the new one", || (inferred() as usize > number).then_some(()));
    let [p50, p99] = [50, 99].map(|per_cent| times[times.len() * per_cent / 100]);
    eprintln!(
        "{number} images in {took:?}: {before} MB before, {after} MB after; {} requests meanwhile, p50 {p50:?}, p99 {p99:?}",
        times.len()
    );
    if std::env::var_os("FOLDER_IMAGES").is_some() {
        let (cpu, from) = (program.cpu_seconds(), Instant::now());
        std::thread::sleep(Duration::from_secs(90));
        eprintln!("idle then: {:.2} % of a core", 100.0 * (program.cpu_seconds() - cpu) / from.elapsed().as_secs_f64());
    }
    // 24 to 48 bytes an image, the names of one folder (50 bytes each, once), and an allocator's habits.
    assert!(after < before + 30 + number as u64 / 5000, "{before} MB before, {after} MB after");
}
