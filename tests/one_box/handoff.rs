//! From the trainer's publish to the inferer's answer, and back by hand.

use std::{
    path::Path,
    process::Output,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use edgeloop_store::Store;
use harness::{Daemon, Http, free_port, run_to_end, toy_jpeg, wait_for, write_toy_dataset};

/// A training of two epochs: the gate is opened, since what is learned is not the subject.
pub fn train(images: &Path, models: &Path) -> Output {
    run_to_end(
        "edgeloop-trainer",
        &[],
        &[
            ("IMAGES_DIR", images.to_str().unwrap()),
            ("MODEL_DIR", models.to_str().unwrap()),
            ("EPOCHS", "2"),
            ("BATCH_SIZE", "8"),
            ("IMGSZ", "96"),
            ("GATE_MIN_MAP50", "0"),
            ("GATE_MAX_DROP", "1"),
            // The second time nothing is new.
            ("FORCE", "true"),
        ],
    )
}

fn pointed(models: &Path) -> String {
    Store::open(models).unwrap().pointer().unwrap().unwrap().metadata.version.to_string()
}

#[test]
fn each_published_model_is_picked_up_and_swaps_drop_no_request() {
    let dir = tempfile::tempdir().unwrap();
    let (images, models) = (dir.path().join("images"), dir.path().join("models"));
    std::fs::create_dir(&models).unwrap();
    write_toy_dataset(&images, 40);
    let (serve, admin) = (free_port(), free_port());
    let mut inferer = Daemon::start(
        "edgeloop-inferer",
        dir.path(),
        &[],
        &[
            ("MODEL_DIR", models.to_str().unwrap()),
            ("IMAGES_DIR", dir.path().join("incoming").to_str().unwrap()),
            ("SERVE_ADDR", &format!("127.0.0.1:{serve}")),
            ("ADMIN_ADDR", &format!("127.0.0.1:{admin}")),
        ],
    );
    let (http, health) = (Http::new(serve), Http::new(admin));

    wait_for("the inferer lives without a model", || health.get("/livez").filter(|(status, _)| *status == 200));
    assert_eq!(health.get("/readyz").unwrap().0, 503);
    let (status, body) = http.post("/infer", "image/jpeg", &toy_jpeg(0)).unwrap();
    assert_eq!(status, 503, "{body}");
    assert!(body["error"].is_string() && body["message"].is_string(), "the contract's error shape: {body}");

    let output = train(&images, &models);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let first = pointed(&models);
    wait_for("the first model answers", || http.answering_model(&toy_jpeg(1)).filter(|model| *model == first));
    assert_eq!(health.get("/readyz").unwrap().0, 200);

    // A client that never stops, while a second model is trained, swapped in, and taken back.
    let (stop, sent, failed) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in (0..16).cycle() {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                sent.fetch_add(1, Ordering::Relaxed);
                if http.answering_model(&toy_jpeg(n)).is_none() {
                    failed.fetch_add(1, Ordering::Relaxed);
                }
                // A camera's pace: the cores are the trainer's.
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        });
        let output = train(&images, &models);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let second = pointed(&models);
        assert_ne!(first, second);
        wait_for("the second model answers", || http.answering_model(&toy_jpeg(2)).filter(|model| *model == second));

        let output = run_to_end("edgeloop", &["models", "rollback", "--reason", "test"], &[("MODEL_DIR", models.to_str().unwrap())]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(pointed(&models), first);
        wait_for("the first model answers again", || http.answering_model(&toy_jpeg(3)).filter(|model| *model == first));
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(failed.load(Ordering::Relaxed), 0, "of {} requests", sent.load(Ordering::Relaxed));
    assert!(inferer.terminate().success(), "{}", inferer.log());
}
