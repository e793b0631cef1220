//! A folder of images, a trainer on it, and the wait for its end.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    ops::Range,
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use edgeloop_store::{OutcomeKind, Store, TrainingStatus};
use edgeloop_vision::{Image, encode::encode_png};
use serde_json::Value;
use tempfile::TempDir;

/// Longer than anything here takes on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(300);

pub fn write(dir: &Path, name: &str, bytes: impl AsRef<[u8]>) {
    fs::write(dir.join(name), bytes).unwrap();
}

/// Grey pictures of 64×64 with a bright square, and their labels.
pub fn label(dir: &Path, numbers: Range<u32>) {
    for number in numbers {
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

/// A folder of `count` of them.
pub fn images(count: u32) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    label(dir.path(), 0..count);
    dir
}

/// A trainer at work. Killed when dropped, and when it does not end.
pub struct Trainer {
    child: Child,
    lines: Receiver<String>,
    said: String,
    stderr: Option<JoinHandle<String>>,
}

/// One that has ended.
pub struct Run {
    pub code: Option<i32>,
    /// Standard output and error.
    pub text: String,
}

impl Trainer {
    /// Two epochs of 64 px with a gate that anything passes, unless `more` says otherwise.
    pub fn start(images: &Path, models: &Path, more: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_edgeloop-trainer"))
            .envs([("IMAGES_DIR", images), ("MODEL_DIR", models)])
            .envs([("EPOCHS", "2"), ("BATCH_SIZE", "4"), ("IMGSZ", "64"), ("THREADS", "1"), ("WORKERS", "1"), ("GATE_MIN_MAP50", "0")])
            .envs(more.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || BufReader::new(stdout).lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let stderr = std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ = stderr.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        Self { child, lines, said: String::new(), stderr: Some(stderr) }
    }

    fn line(&mut self, deadline: Instant) -> Option<String> {
        let line = self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok()?;
        self.said.push_str(&line);
        self.said.push('\n');
        Some(line)
    }

    /// The next event of this name.
    pub fn event(&mut self, name: &str) -> Value {
        let deadline = Instant::now() + DEADLINE;
        while let Some(line) = self.line(deadline) {
            let event: Value = serde_json::from_str(&line).unwrap();
            if event["event"] == name {
                return event;
            }
        }
        let stderr = self.kill();
        panic!("no event {name}:\n{}{stderr}", self.said);
    }

    pub fn signal(&self, number: i32) {
        // SAFETY: the child has not been waited for, so the number is still its own.
        unsafe { libc::kill(self.child.id() as libc::pid_t, number) };
    }

    /// Waits for its end.
    pub fn end(mut self) -> Run {
        let deadline = Instant::now() + DEADLINE;
        while self.line(deadline).is_some() {}
        if Instant::now() >= deadline {
            let stderr = self.kill();
            panic!("the trainer did not end:\n{}{stderr}", self.said);
        }
        let status = self.child.wait().unwrap();
        let stderr = self.stderr.take().unwrap().join().unwrap();
        Run { code: status.code(), text: std::mem::take(&mut self.said) + &stderr }
    }

    /// Waits for its end until `deadline`, and kills it then: `None`.
    pub fn end_or_kill(mut self, deadline: Instant) -> Option<Run> {
        while self.line(deadline).is_some() {}
        if Instant::now() < deadline {
            return Some(self.end());
        }
        self.kill();
        None
    }

    fn kill(&mut self) -> String {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.stderr.take().map(|thread| thread.join().unwrap()).unwrap_or_default()
    }
}

impl Drop for Trainer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A trainer from start to end.
pub fn train(images: &Path, models: &Path, more: &[(&str, &str)]) -> Run {
    Trainer::start(images, models, more).end()
}

impl Run {
    /// It ended with `code` and said all of this.
    pub fn ends(&self, code: i32, says: &[&str]) {
        assert_eq!(self.code, Some(code), "{}", self.text);
        for words in says {
            assert!(self.text.contains(words), "`{words}` is missing in:\n{}", self.text);
        }
    }
}

pub fn status(models: &Path) -> TrainingStatus {
    Store::open(models).unwrap().training_status().unwrap().unwrap()
}

pub fn outcome(models: &Path) -> OutcomeKind {
    status(models).last_outcome.unwrap().result
}
