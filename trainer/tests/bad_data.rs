//! The trainer as a process on folders that it cannot train on: exit status, and what the person reading the log is told.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test fails by panicking")]

use edgeloop_vision::{Image, encode::encode_png};
use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// Longer than one tiny epoch takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(300);

fn write(dir: &Path, name: &str, bytes: impl AsRef<[u8]>) {
    fs::write(dir.join(name), bytes).unwrap();
}

/// A grey picture with a bright square, and its label.
fn labelled(dir: &Path, count: u32) {
    for number in 0..count {
        let mut image = Image::filled(64, 64, [90, 90, 90]);
        let (left, top) = (number * 7 % 40, number * 11 % 40);
        for (y, x) in (top..top + 20).flat_map(|y| (left..left + 20).map(move |x| (y, x))) {
            let at = ((y * 64 + x) * 3) as usize;
            image.data[at..at + 3].copy_from_slice(&[250, 240, number as u8]);
        }
        write(dir, &format!("{number:02}.png"), encode_png(&image).unwrap());
        let (cx, cy) = (f64::from(left + 10) / 64.0, f64::from(top + 10) / 64.0);
        write(dir, &format!("{number:02}.txt"), format!("0 {cx} {cy} 0.3125 0.3125\n"));
    }
    write(dir, "classes.txt", "square\n");
}

struct Run {
    code: Option<i32>,
    text: String,
    models: TempDir,
}

fn train(images: &Path) -> Run {
    let models = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_edgeloop-trainer"))
        .env("IMAGES_DIR", images)
        .env("MODEL_DIR", models.path())
        .envs([("EPOCHS", "1"), ("BATCH_SIZE", "4"), ("IMGSZ", "64"), ("SCALE", "n"), ("THREADS", "1"), ("WORKERS", "1")])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let id = child.id();
    let (done, ended) = std::sync::mpsc::channel();
    let started = Instant::now();
    let watchdog = std::thread::spawn(move || {
        if ended.recv_timeout(DEADLINE).is_err() {
            // SAFETY: kill takes any number; the child is not waited for before the channel is used, so the id is still its own.
            unsafe { libc::kill(id as libc::pid_t, libc::SIGKILL) };
        }
    });
    drop(child.stdin.take());
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let _ = done.send(());
    watchdog.join().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(started.elapsed() < DEADLINE, "the trainer did not end:\n{text}");
    Run { code: status.code(), text, models }
}

impl Run {
    fn ends(&self, code: i32, says: &[&str]) {
        assert_eq!(self.code, Some(code), "{}", self.text);
        for words in says {
            assert!(self.text.contains(words), "`{words}` is missing in:\n{}", self.text);
        }
        assert!(!self.models.path().join("latest_metadata.json").exists());
    }
}

#[test]
fn no_folder_and_no_images_end_with_2() {
    let dir = tempfile::tempdir().unwrap();
    train(dir.path()).ends(2, &["no images", dir.path().to_str().unwrap()]);
    train(&dir.path().join("gone")).ends(2, &["gone", "cannot read"]);
}

#[test]
fn unreadable_images_end_with_2() {
    let dir = tempfile::tempdir().unwrap();
    for number in 0..3 {
        write(dir.path(), &format!("{number}.jpg"), b"no picture at all");
        write(dir.path(), &format!("{number}.txt"), "0 0.5 0.5 0.5 0.5");
    }
    train(dir.path()).ends(2, &["0 of 3 images", "1.jpg"]);
}

#[test]
fn broken_rows_and_classes_out_of_range_end_with_2_and_name_file_and_line() {
    let dir = tempfile::tempdir().unwrap();
    labelled(dir.path(), 6);
    write(dir.path(), "02.txt", "0 0.5 0.5 0.5 0.5\n0 0.5 oops 0.5 0.5\n");
    write(dir.path(), "04.txt", "7 0.5 0.5 0.5 0.5\n");
    train(dir.path()).ends(2, &["02.txt:2: `oops` is not a number", "04.txt:1: class 7 is out of range"]);
}

#[test]
fn images_without_labels_wait_for_them_and_end_with_0() {
    let dir = tempfile::tempdir().unwrap();
    labelled(dir.path(), 3);
    (0..3).for_each(|number| fs::remove_file(dir.path().join(format!("{number:02}.txt"))).unwrap());
    let run = train(dir.path());
    run.ends(0, &["waiting_for_labels"]);
    let status = edgeloop_store::Store::open(run.models.path()).unwrap().training_status().unwrap().unwrap();
    assert_eq!(serde_json::to_value(status).unwrap()["last_outcome"]["result"], "waiting_for_labels");
}

#[test]
fn one_bad_image_among_many_is_skipped_and_reported() {
    let dir = tempfile::tempdir().unwrap();
    labelled(dir.path(), 12);
    write(dir.path(), "05.png", b"half a pic");
    // One epoch teaches nothing: the gate rejects the model, which is no failure.
    let run = train(dir.path());
    run.ends(0, &["\"skipped\":1", "image skipped: ", "05.png"]);
    let candidates = edgeloop_store::Store::open(run.models.path()).unwrap().candidates().unwrap();
    assert_eq!(candidates.first().map(|metadata| metadata.dataset.skipped), Some(1));
}
