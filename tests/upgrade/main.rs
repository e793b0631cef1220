//! Old and new releases on one store: what an older one left, what a newer one may add, and a schema that this one does not know.

#![allow(clippy::unwrap_used)]

mod newer;
mod older;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use edgeloop_store::{Metadata, Store};
use harness::{Daemon, Http, free_port, run_to_end, toy_jpeg, wait_for, write_toy_dataset};

/// The versions in `store-1.tar.gz`, which trainer and store of commit 1532a51 (2026-11-21) wrote: two trainings, both promoted. Afterwards the
/// weights were made zero, with checks and sums that fit, so that it packs small; metadata, history, status and locks are as they were.
const FIRST: &str = "20261122_052340";
const SECOND: &str = "20261122_052345";

/// A box with the old store and a few images.
struct OldBox {
    dir: tempfile::TempDir,
    models: PathBuf,
    images: PathBuf,
}

impl OldBox {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("upgrade/store-1.tar.gz");
        let unpacked = Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(dir.path()).status().unwrap();
        assert!(unpacked.success(), "{}", archive.display());
        let (models, images) = (dir.path().join("models"), dir.path().join("images"));
        write_toy_dataset(&images, 24);
        Self { dir, models, images }
    }

    fn serve(&self) -> (Daemon, Http) {
        let (serve, admin) = (free_port(), free_port());
        let (incoming, serving, administration) =
            (self.dir.path().join("incoming"), format!("127.0.0.1:{serve}"), format!("127.0.0.1:{admin}"));
        let settings = [
            ("MODEL_DIR", self.models.to_str().unwrap()),
            ("IMAGES_DIR", incoming.to_str().unwrap()),
            ("SERVE_ADDR", &serving),
            ("ADMIN_ADDR", &administration),
            ("DEVICE", "cpu"),
        ];
        (Daemon::start("edgeloop-inferer", self.dir.path(), &[], &settings), Http::new(serve))
    }

    fn train(&self) -> Output {
        let settings = [
            ("IMAGES_DIR", self.images.to_str().unwrap()),
            ("MODEL_DIR", self.models.to_str().unwrap()),
            ("EPOCHS", "1"),
            ("BATCH_SIZE", "8"),
            ("IMGSZ", "64"),
            ("GATE_MIN_MAP50", "0"),
            ("GATE_MAX_DROP", "1"),
        ];
        run_to_end("edgeloop-trainer", &[], &settings)
    }

    fn models(&self, args: &[&str]) -> Output {
        run_to_end("edgeloop", &[&["models"], args].concat(), &[("MODEL_DIR", self.models.to_str().unwrap())])
    }

    fn promoted(&self) -> Metadata {
        Store::open(&self.models).unwrap().pointer().unwrap().unwrap().metadata
    }
}

fn serves(http: &Http, version: &str) {
    wait_for(&format!("{version} answers"), || http.answering_model(&toy_jpeg(0)).filter(|model| model == version));
}

fn succeeded(output: &Output) -> String {
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    said
}
