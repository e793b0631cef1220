//! What a request may want: thresholds, classes, number, time; one image or several.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use edgeloop_store::{ClassMetrics, Store};
use image::RgbImage;
use serde_json::{Value, json};

use crate::overload::behind_a_gate;
use crate::support::*;

fn text(image: &[u8]) -> String {
    STANDARD.encode(image)
}

/// A version that answers four bright patches of 1.0 on a white picture, and its signature of 0.5 on a black one.
fn start(more: &[&str]) -> (tempfile::TempDir, Inferer) {
    let dir = tempfile::tempdir().unwrap();
    publish(&Store::create(dir.path()).unwrap(), 0.5);
    let inferer = Inferer::ready(dir.path(), &[&["--inference-folder", "false"], more].concat());
    (dir, inferer)
}

fn white() -> Vec<u8> {
    png(&RgbImage::from_pixel(64, 64, image::Rgb([255; 3])))
}

fn black() -> Vec<u8> {
    png(&RgbImage::new(64, 64))
}

fn ask(inferer: &Inferer, query: &str, image: &[u8]) -> (u16, Value) {
    let request = inferer.agent.post(format!("http://{}/infer{query}", inferer.serving)).header("content-type", "image/png");
    read(request.send(image).unwrap())
}

fn read(mut response: ureq::http::Response<ureq::Body>) -> (u16, Value) {
    let text = response.body_mut().read_to_string().unwrap();
    (response.status().as_u16(), serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text:?}")))
}

fn found(answer: &(u16, Value)) -> usize {
    assert_eq!(answer.0, 200, "{}", answer.1);
    answer.1["detections"].as_array().unwrap().len()
}

#[test]
fn wishes_count_in_every_form() {
    let (_dir, inferer) = start(&[]);
    assert_eq!(found(&ask(&inferer, "", &white())), 4);
    assert_eq!(found(&ask(&inferer, "?max_detections=2", &white())), 2);
    assert_eq!(found(&ask(&inferer, "?classes=sign", &white())), 0);
    assert_eq!(found(&ask(&inferer, "?classes=0", &white())), 4);
    assert_eq!(found(&ask(&inferer, "", &black())), 1);
    assert_eq!(found(&ask(&inferer, "?confidence=0.6", &black())), 0);
    let in_json = |wish: Value| {
        let mut body = json!({"image": text(&black())});
        body.as_object_mut().unwrap().extend(wish.as_object().unwrap().clone());
        inferer.post("application/json", body.to_string().as_bytes())
    };
    assert_eq!(found(&in_json(json!({"confidence": 0.6}))), 0);
    assert_eq!(found(&in_json(json!({"classes": ["sign"], "confidence": 0.4, "iou": 0.1}))), 1);
    assert_eq!(found(&in_json(json!({"classes": [0]}))), 0);
    let (status, error) = in_json(json!({"classes": ["sing"]}));
    assert_eq!((status, error["error"].as_str()), (400, Some("unknown_class")));
    assert!(error["message"].as_str().unwrap().contains("bright, sign"), "{error}");
    let form = |fields: &str| {
        let mut body = b"--b\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a\"\r\n\r\n".to_vec();
        body.extend(black());
        body.extend(format!("\r\n--b\r\nContent-Disposition: form-data; name=\"confidence\"\r\n\r\n{fields}\r\n--b--\r\n").into_bytes());
        inferer.post("multipart/form-data; boundary=b", &body)
    };
    assert_eq!((found(&form("0.4")), found(&form("0.6"))), (1, 0), "fields behind the image count too");
    assert_eq!(form("much").1["error"], "bad_option");
}

#[test]
fn thresholds_kept_with_the_model_count_until_a_request_says_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let onnx = detector(0.5).onnx();
    let check = check_file(&onnx, 0.0);
    let mut draft = draft(onnx, check);
    draft.metrics.per_class = vec![ClassMetrics { name: "sign".into(), threshold: Some(0.7), ..Default::default() }];
    publish_draft(&Store::create(dir.path()).unwrap(), draft);
    let inferer = Inferer::ready(dir.path(), &["--inference-folder", "false"]);
    assert_eq!(found(&ask(&inferer, "", &black())), 0, "0.5 is below the sign's 0.7");
    assert_eq!(found(&ask(&inferer, "", &white())), 4, "the other class is left to CONFIDENCE");
    assert_eq!(found(&ask(&inferer, "?confidence=0.4", &black())), 1);
}

#[test]
fn a_list_is_answered_in_its_order_and_a_broken_image_spoils_no_other() {
    let (_dir, inferer) = start(&["--max-batch", "3"]);
    let list = |images: &[String]| inferer.post("application/json", json!({"images": images}).to_string().as_bytes());
    let (status, answer) = list(&[text(&white()), text(b"no picture"), text(&black())]);
    assert_eq!(status, 200, "{answer}");
    let results = answer["results"].as_array().unwrap();
    assert_eq!((results[0]["detections"].as_array().unwrap().len(), results[2]["detections"].as_array().unwrap().len()), (4, 1));
    assert_eq!(results[1]["error"], "unsupported_image");
    assert_eq!(answer["model"], results[0]["model"]);
    let (status, error) = list(&vec![text(&black()); 4]);
    assert_eq!((status, error["error"].as_str()), (413, Some("batch_too_large")), "{error}");
    assert_eq!(inferer.metric("edgeloop_infer_images_total", "http"), 2.0);
}

#[test]
fn a_deadline_ends_a_request_and_its_work_is_not_done() {
    let (_dir, gate, _opens, inferer) = behind_a_gate(&["--decode-threads", "1", "--request-timeout", "30"]);
    let address = inferer.serving;
    let first = std::thread::spawn(move || post(&agent(), address, "image/png", &white()));
    wait_for("the first in the engine", || (*gate.waiting.lock().unwrap() == 1).then_some(()));
    for (body, kind) in
        [(black(), "image/png"), (json!({"image": text(&black()), "timeout_ms": 50}).to_string().into_bytes(), "application/json")]
    {
        let request = inferer.agent.post(format!("http://{address}/infer?timeout_ms=60")).header("content-type", kind);
        let (status, error) = read(request.send(&body[..]).unwrap());
        assert_eq!((status, error["error"].as_str()), (408, Some("deadline_exceeded")), "{error}");
    }
    gate.set(false);
    assert_eq!(first.join().unwrap().0, 200);
    wait_for("the late ones to be passed over", || (inferer.metric("edgeloop_infer_queued", "") == 0.0).then_some(()));
    assert_eq!(found(&ask(&inferer, "", &black())), 1);
    assert_eq!(inferer.metric("edgeloop_infer_images_total", "http"), 2.0, "the late ones were inferred all the same");
    assert_eq!(inferer.metric("edgeloop_infer_dropped_total", "deadline"), 2.0);
}

#[test]
fn the_servers_own_deadline_is_a_504() {
    let (_dir, _gate, _opens, inferer) = behind_a_gate(&["--request-timeout", "0.05"]);
    let (status, error) = ask(&inferer, "?timeout_ms=5000", &white());
    assert_eq!((status, error["error"].as_str()), (504, Some("deadline_exceeded")), "{error}");
}

#[test]
fn what_a_client_asked_for_before_it_hung_up_is_not_done() {
    use std::io::Write;
    let (_dir, gate, _opens, inferer) = behind_a_gate(&["--decode-threads", "1"]);
    let address = inferer.serving;
    let first = std::thread::spawn(move || post(&agent(), address, "image/png", &white()));
    wait_for("the first in the engine", || (*gate.waiting.lock().unwrap() == 1).then_some(()));
    let streams: Vec<_> = (0..3)
        .map(|_| {
            let (mut stream, image) = (std::net::TcpStream::connect(address).unwrap(), black());
            write!(stream, "POST /infer HTTP/1.1\r\nhost: x\r\ncontent-type: image/png\r\ncontent-length: {}\r\n\r\n", image.len())
                .unwrap();
            stream.write_all(&image).unwrap();
            stream
        })
        .collect();
    wait_for("their places in the queue", || (inferer.metric("edgeloop_infer_queued", "") == 3.0).then_some(()));
    drop(streams);
    wait_for("their places to be free again", || (inferer.metric("edgeloop_infer_inside", "") == 1.0).then_some(()));
    gate.set(false);
    assert_eq!(first.join().unwrap().0, 200);
    wait_for("an empty queue", || (inferer.metric("edgeloop_infer_queued", "") == 0.0).then_some(()));
    assert_eq!(found(&ask(&inferer, "", &black())), 1);
    assert_eq!(inferer.metric("edgeloop_infer_images_total", "http"), 2.0);
    assert_eq!(inferer.metric("edgeloop_infer_dropped_total", "gone"), 3.0);
}
