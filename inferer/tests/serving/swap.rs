//! Models change under load, and nobody notices but the version in the answer.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use edgeloop_store::Store;

use crate::engines::publish_shapeless;
use crate::overload::{Gate, GatedRuntime, Opens};
use crate::support::*;

#[test]
fn no_request_fails_while_models_change_and_every_answer_is_its_versions_own() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path()).unwrap();
    let signs: Vec<f32> = (0..6).map(|n| 0.5 + n as f32 / 100.0).collect();
    let mut sign_of = HashMap::from([(publish(&store, signs[0]).version.to_string(), signs[0])]);
    let inferer = Inferer::ready(dir.path(), &["--queue", "64"]);
    let (stop, address, photo) = (Arc::new(AtomicBool::new(false)), inferer.serving, jpeg(&quarter(64, 64, 2)));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (stop, photo) = (stop.clone(), photo.clone());
            std::thread::spawn(move || {
                let (agent, mut answers) = (agent(), Vec::new());
                while !stop.load(Ordering::Relaxed) {
                    let (status, answer) = post(&agent, address, "image/jpeg", &photo);
                    assert_eq!(status, 200, "{answer}");
                    answers.push((answer["model"].as_str().unwrap().to_owned(), read_answer(&answer)));
                }
                answers
            })
        })
        .collect();
    for sign in &signs[1..] {
        let version = publish(&store, *sign).version.to_string();
        sign_of.insert(version.clone(), *sign);
        wait_for("the new version", || (inferer.version()? == version).then_some(()));
    }
    let back = store.rollback("test", "looks worse").unwrap().version().to_string();
    wait_for("the version before", || (inferer.version()? == back).then_some(()));
    stop.store(true, Ordering::Relaxed);
    let answers: Vec<_> = clients.into_iter().flat_map(|c| c.join().unwrap()).collect();
    let mut seen: Vec<&String> = answers.iter().map(|(version, _)| version).collect();
    for (version, (sign, boxes)) in &answers {
        assert_eq!((*sign as f32 * 100.0).round() / 100.0, sign_of[version], "an answer of {version} is another version's");
        assert_eq!(boxes, &[[0.0, 32.0, 32.0, 64.0]]);
    }
    seen.sort();
    seen.dedup();
    assert!(seen.len() >= 2, "the requests saw only {seen:?}");
    assert_eq!(inferer.metric("edgeloop_model_reloads_total", "ok"), 7.0);
    assert_eq!(inferer.metric("edgeloop_model_info", ""), 1.0, "one version is in service");
}

#[test]
fn a_request_in_flight_is_answered_by_the_model_it_began_with() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path()).unwrap();
    let first = publish(&store, 0.5);
    let gate = Arc::new(Gate::default());
    let _opens = Opens(gate.clone());
    let inferer = Inferer::start_with(dir.path(), &[], GatedRuntime::new(&gate, true));
    wait_for("a model", || inferer.version());
    gate.set(true);
    let (address, photo) = (inferer.serving, jpeg(&quarter(64, 64, 3)));
    let held = {
        let photo = photo.clone();
        std::thread::spawn(move || post(&agent(), address, "image/jpeg", &photo))
    };
    wait_for("the request in the engine", || (*gate.waiting.lock().unwrap() > 0).then_some(()));
    let second = publish(&store, 0.6);
    wait_for("the new version", || (inferer.version()? == second.version.as_str()).then_some(()));
    let (status, answer) = inferer.post("image/jpeg", &photo);
    assert_eq!((status, answer["model"].as_str(), read_answer(&answer).0), (200, Some(second.version.as_str()), 0.6));
    gate.set(false);
    let (status, answer) = held.join().unwrap();
    assert_eq!((status, answer["model"].as_str(), read_answer(&answer).0), (200, Some(first.version.as_str()), 0.5));
}

#[test]
fn it_waits_for_a_folder_and_a_model_that_come_later() {
    let dir = tempfile::tempdir().unwrap();
    let models = dir.path().join("data/models");
    // An hour between looks: only change notices can tell it.
    let inferer = Inferer::start(&models, &["--check-model-interval", "3600"]);
    let (status, body) = inferer.post("image/jpeg", &jpeg(&quarter(64, 64, 0)));
    assert_eq!((status, body["error"].as_str()), (503, Some("no_model")), "{body}");
    let (status, ready) = inferer.get(inferer.admin, "/readyz");
    assert_eq!(status, 503);
    wait_for("a reason", || {
        inferer.get(inferer.admin, "/readyz").1["checks"]["model"]["detail"].as_str()?.contains("data/models").then_some(())
    });
    assert_eq!(ready["details"]["model"], serde_json::Value::Null);
    assert_eq!(inferer.get(inferer.admin, "/livez").0, 200);
    let version = publish(&Store::create(&models).unwrap(), 0.5).version;
    wait_for("the first model", || (inferer.version()? == version.as_str()).then_some(()));
    let ready = wait_for("readiness", || Some(inferer.get(inferer.admin, "/readyz")).filter(|(status, _)| *status == 200)).1;
    assert_eq!(ready["details"]["model"]["version"], version.as_str());
}

#[test]
fn without_change_notices_the_timer_finds_it() {
    let dir = tempfile::tempdir().unwrap();
    let real = dir.path().join("real");
    let store = Store::create(&real).unwrap();
    publish(&store, 0.5);
    // The folder is reached over a link, so that notices name another path than the one that is asked for.
    let link = dir.path().join("models");
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let inferer = Inferer::ready(&link, &["--check-model-interval", "0.05"]);
    let other = dir.path().join("other");
    let second = publish(&Store::create(&other).unwrap(), 0.6);
    std::fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(&other, &link).unwrap();
    wait_for("the other folder's version", || (inferer.version()? == second.version.as_str()).then_some(()));
}

#[test]
fn a_new_version_comes_in_the_shape_that_the_images_want() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path()).unwrap();
    publish_shapeless(&store);
    let inferer = Inferer::ready(dir.path(), &["--shapes", "auto"]);
    let (wide, square) = (jpeg(&quarter(128, 64, 0)), jpeg(&quarter(64, 64, 0)));
    let shapes = |model: serde_json::Value| model["engine"]["shapes"].as_array().unwrap().len();
    (0..20).for_each(|_| assert_eq!(inferer.post("image/jpeg", &wide).0, 200));
    wait_for("the wide shape", || (shapes(inferer.get(inferer.serving, "/v1/model").1) == 2).then_some(()));
    let second = publish_shapeless(&store).version;
    let model = wait_for("the new version", || {
        let model = inferer.get(inferer.serving, "/v1/model").1;
        // Images of another shape: what the new version has for wide ones it was given.
        assert_eq!(inferer.post("image/jpeg", &square).0, 200);
        (model["version"] == second.as_str()).then_some(model)
    });
    assert_eq!(shapes(model.clone()), 2, "{model}");
    assert_eq!(inferer.post("image/jpeg", &wide).0, 200);
}
