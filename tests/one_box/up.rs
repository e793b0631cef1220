//! `edgeloop up` and `edgeloop status`: the loop as one command.

use edgeloop_store::Store;
use harness::{Daemon, Http, free_port, run_to_end, toy_jpeg, wait_for, write_toy_dataset};

#[test]
fn up_trains_while_online_serves_what_came_out_and_stops_cleanly() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("data");
    let (images, models) = (state.join("images"), state.join("models"));
    write_toy_dataset(&images, 40);
    let (serve, admin, agent_admin) = (free_port(), free_port(), free_port());
    let settings = [
        ("STATE_DIR", state.to_str().unwrap().to_owned()),
        ("HEARTBEAT_IP", "127.0.0.1".to_owned()),
        ("CHECK_INTERVAL_SECONDS", "1".to_owned()),
        ("SERVE_ADDR", format!("127.0.0.1:{serve}")),
        ("ADMIN_ADDR", format!("127.0.0.1:{admin}")),
        ("AGENT_ADMIN_ADDR", format!("127.0.0.1:{agent_admin}")),
        // Nothing is due during the test: the one training is the one asked for.
        ("TRAIN_SCHEDULE", "0 0 29 2 *".to_owned()),
        ("EPOCHS", "2".to_owned()),
        ("BATCH_SIZE", "8".to_owned()),
        ("IMGSZ", "96".to_owned()),
        ("GATE_MIN_MAP50", "0".to_owned()),
        ("CLASS_THRESHOLDS", "disc=0.6".to_owned()),
    ];
    let settings: Vec<(&str, &str)> = settings.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let mut up = Daemon::start("edgeloop", dir.path(), &["up", "--train-now"], &settings);
    let http = Http::new(serve);

    let version = wait_for("the first training's model answers", || {
        assert!(up.ended().is_none(), "`edgeloop up` has ended");
        http.answering_model(&toy_jpeg(0))
    });
    let pointer = Store::open(&models).unwrap().pointer().unwrap().unwrap();
    assert_eq!(version, pointer.metadata.version.to_string());
    let kept: Vec<_> = pointer.metadata.metrics.per_class.iter().map(|class| class.threshold).collect();
    assert_eq!(kept, [None, Some(0.6)], "square, disc");

    let status = run_to_end("edgeloop", &["status", "--json"], &settings);
    assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["running"], true, "{status}");
    assert_eq!(status["gateway"]["status"], "online", "{status}");
    assert_eq!(status["promoted"]["version"], version.as_str(), "{status}");
    assert_eq!(status["serving"]["version"], version.as_str(), "{status}");

    assert!(up.terminate().success(), "{}", up.log());
    assert!(http.get("/v1/model").is_none(), "the inferer went with it");
    let status = run_to_end("edgeloop", &["status"], &settings);
    assert!(String::from_utf8_lossy(&status.stdout).contains(&version), "what is known without `up` is still told");
}
