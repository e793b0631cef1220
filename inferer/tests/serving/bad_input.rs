//! Whatever comes in, the answer is a 4xx in the error's shape or detections, and the process goes on.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::LazyLock;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use edgeloop_store::Store;
use image::RgbImage;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::*;

fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

fn as_json(image: &[u8]) -> Vec<u8> {
    json!({"image": base64(image)}).to_string().into_bytes()
}

pub fn multipart(name: &str, file: &[u8]) -> Vec<u8> {
    let mut body = format!("--b\r\nContent-Disposition: form-data; name=\"api_key\"\r\n\r\nx\r\n--b\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"a.jpg\"\r\nContent-Type: image/jpeg\r\n\r\n").into_bytes();
    body.extend_from_slice(file);
    body.extend_from_slice(b"\r\n--b--\r\n");
    body
}

const MULTIPART: &str = "multipart/form-data; boundary=b";

/// A PNG's head that promises many pixels.
fn huge_png() -> Vec<u8> {
    let mut bytes = png(&RgbImage::new(1, 1));
    for at in [16, 20] {
        bytes[at..at + 4].copy_from_slice(&20_000u32.to_be_bytes());
    }
    let crc = crc32(&bytes[12..29]);
    bytes[29..33].copy_from_slice(&crc.to_be_bytes());
    bytes
}

pub fn crc32(bytes: &[u8]) -> u32 {
    !bytes
        .iter()
        .fold(!0u32, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |c, _| if c & 1 == 1 { c >> 1 ^ 0xEDB8_8320 } else { c >> 1 }))
}

/// One inferer for the tests of this file.
static SHARED: LazyLock<Inferer> = LazyLock::new(|| {
    let dir = Box::leak(Box::new(tempfile::tempdir().unwrap()));
    let store = Store::create(dir.path()).unwrap();
    publish(&store, 0.5);
    Inferer::ready(dir.path(), &["--inference-folder", "false"])
});

fn assert_error(case: &str, (status, body): &(u16, Value)) {
    assert!((400..500).contains(status), "{case}: {status} {body}");
    let shape = body.as_object().unwrap_or_else(|| panic!("{case}: {body}"));
    assert_eq!(shape.keys().collect::<Vec<_>>(), ["error", "message"], "{case}");
    let kind = body["error"].as_str().unwrap();
    assert!(!kind.is_empty() && kind.bytes().all(|b| b.is_ascii_lowercase() || b == b'_' || b.is_ascii_digit()), "{case}: {kind}");
    assert!(body["message"].as_str().unwrap().len() > 10, "{case}: {body}");
}

fn assert_serves() {
    let (status, answer) = SHARED.post("image/jpeg", &jpeg(&quarter(64, 64, 0)));
    assert_eq!(status, 200, "{answer}");
    assert_eq!(SHARED.get(SHARED.admin, "/livez").0, 200);
}

#[test]
fn every_bad_body_gets_a_4xx_in_the_error_shape() {
    let photo = jpeg(&quarter(200, 100, 1));
    let cut = &photo[..photo.len() / 2];
    let cases: &[(&str, &str, Vec<u8>, u16, &str)] = &[
        ("not JSON", "application/json", b"image=3".to_vec(), 400, "bad_json"),
        ("half JSON", "application/json", b"{\"image\": \"".to_vec(), 400, "bad_json"),
        ("deep JSON", "application/json", [b"{\"a\":".as_slice(), &b"[".repeat(100_000)].concat(), 400, "bad_json"),
        ("not UTF-8", "application/json", b"{\"image\": \"\xff\xfe\"}".to_vec(), 400, "bad_json"),
        ("no image", "application/json", b"{\"picture\": \"\"}".to_vec(), 400, "missing_image"),
        ("image is a number", "application/json", b"{\"image\": 7}".to_vec(), 400, "missing_image"),
        ("JSON of another kind", "application/json", b"[1, 2]".to_vec(), 400, "missing_image"),
        ("not base64", "application/json", b"{\"image\": \"%%%%\"}".to_vec(), 400, "bad_base64"),
        ("a URL", "application/json", b"{\"image\": \"data:image/jpeg,abc\"}".to_vec(), 400, "bad_base64"),
        ("empty image", "application/json", b"{\"image\": \"\"}".to_vec(), 400, "empty_image"),
        ("not an image", "application/json", as_json(b"hello, this is text"), 415, "unsupported_image"),
        ("truncated JPEG in JSON", "application/json", as_json(cut), 422, "truncated_image"),
        ("truncated JPEG", "image/jpeg", cut.to_vec(), 422, "truncated_image"),
        ("20000×20000", "image/png", huge_png(), 413, "image_too_large"),
        ("20000×20000 in JSON", "application/json", as_json(&huge_png()), 413, "image_too_large"),
        ("empty", "application/json", vec![], 400, "empty_body"),
        ("empty picture", "image/jpeg", vec![], 400, "empty_body"),
        ("empty without a type", "", vec![], 400, "empty_body"),
        ("30 MB", "image/jpeg", vec![0; 30_000_000], 413, "body_too_large"),
        ("30 MB of JSON", "application/json", vec![b' '; 30_000_000], 413, "body_too_large"),
        ("30 MB multipart", MULTIPART, multipart("image", &vec![0; 30_000_000]), 413, "body_too_large"),
        ("multipart without an end", MULTIPART, multipart("image", &photo)[..300].to_vec(), 400, "bad_multipart"),
        ("multipart without a boundary", "multipart/form-data", multipart("image", &photo), 400, "bad_multipart"),
        (
            "multipart without a file",
            MULTIPART,
            b"--b\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\n1\r\n--b--\r\n".to_vec(),
            400,
            "missing_image",
        ),
        ("multipart with an empty file", MULTIPART, multipart("image", b""), 400, "empty_body"),
        ("a video", "video/mp4", vec![1; 1000], 415, "unsupported_media_type"),
    ];
    for (case, kind, body, status, error) in cases {
        let answer = SHARED.post(kind, body);
        assert_error(case, &answer);
        assert_eq!((answer.0, answer.1["error"].as_str().unwrap()), (*status, *error), "{case}: {}", answer.1);
    }
    assert_serves();
}

#[test]
fn the_three_forms_give_the_same_answer() {
    let photo = jpeg(&quarter(300, 300, 3));
    let wrapped = base64(&photo).as_bytes().chunks(76).map(|l| std::str::from_utf8(l).unwrap()).collect::<Vec<_>>().join("\n");
    let unpadded = base64(&photo).trim_end_matches('=').to_owned();
    let forms: &[(&str, Vec<u8>)] = &[
        ("application/json", as_json(&photo)),
        ("application/json; charset=utf-8", json!({"image": wrapped, "more": [1, {"a": null}]}).to_string().into_bytes()),
        ("application/json", json!({"image": unpadded}).to_string().into_bytes()),
        ("", as_json(&photo)),
        ("application/x-www-form-urlencoded", as_json(&photo)),
        ("application/json", json!({"image": format!("data:image/jpeg;base64,{}", base64(&photo))}).to_string().into_bytes()),
        ("image/jpeg", photo.clone()),
        ("application/octet-stream", photo.clone()),
        (MULTIPART, multipart("image", &photo)),
        (MULTIPART, multipart("upload", &photo)),
    ];
    for (kind, body) in forms {
        let (status, answer) = SHARED.post(kind, body);
        assert_eq!(status, 200, "{kind}: {answer}");
        let (sign, boxes) = read_answer(&answer);
        assert_eq!((sign, boxes), (0.5, vec![[150.0, 150.0, 300.0, 300.0]]), "{kind}: {answer}");
        assert_eq!(answer["image"], json!({"width": 300, "height": 300}));
        assert_eq!(answer["engine"], json!({"device": "cpu", "precision": "fp32", "fallback": null}));
        let timing = |name: &str| answer["timing_ms"][name].as_f64().unwrap();
        assert!(["decode", "queue", "infer", "post"].iter().map(|n| timing(n)).sum::<f64>() <= timing("total") + 0.01, "{answer}");
        assert_eq!(answer.as_object().unwrap().keys().collect::<Vec<_>>(), ["detections", "model", "image", "engine", "timing_ms"]);
    }
}

#[test]
fn one_pixel_and_a_thin_line_are_answered() {
    for (width, height) in [(1, 1), (5000, 1), (1, 5000)] {
        let (status, answer) = SHARED.post("image/png", &png(&RgbImage::new(width, height)));
        assert_eq!(status, 200, "{width}×{height}: {answer}");
        assert_eq!(answer["image"], json!({"width": width, "height": height}));
    }
}

/// A JPEG with an EXIF orientation.
fn oriented(picture: &RgbImage, orientation: u8) -> Vec<u8> {
    let plain = jpeg(picture);
    let mut exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    exif.extend([orientation, 0, 0, 0, 0, 0, 0]);
    let mut bytes = plain[..2].to_vec();
    bytes.extend([0xff, 0xe1]);
    bytes.extend(u16::try_from(exif.len() + 2).unwrap().to_be_bytes());
    bytes.extend(exif);
    bytes.extend(&plain[2..]);
    bytes
}

#[test]
fn a_photo_that_exif_turns_gives_boxes_in_the_upright_frame() {
    // Orientation 6: the camera was turned left, a viewer turns it 90° clockwise: stored 200×100 is seen as 100×200, and
    // what is stored at the top left is seen at the top right. 8 is the other way round, 3 upside down.
    for (orientation, size, expected) in [
        (1, [200, 100], [0.0, 0.0, 100.0, 50.0]),
        (6, [100, 200], [50.0, 0.0, 100.0, 100.0]),
        (8, [100, 200], [0.0, 100.0, 50.0, 200.0]),
        (3, [200, 100], [100.0, 50.0, 200.0, 100.0]),
    ] {
        let (status, answer) = SHARED.post("image/jpeg", &oriented(&quarter(200, 100, 0), orientation));
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["image"], json!({"width": size[0], "height": size[1]}), "orientation {orientation}");
        let (_, boxes) = read_answer(&answer);
        assert_eq!(boxes.len(), 1, "{answer}");
        // The input is square: a 2:1 picture fills its middle half, in patches that reach over its edges and are clipped.
        let centre = |b: [f64; 4]| [(b[0] + b[2]) / 2.0, (b[1] + b[3]) / 2.0];
        assert_eq!(centre(boxes[0]), centre(expected), "orientation {orientation}: {answer}");
    }
}

fn raw(request: &[u8]) -> String {
    let mut stream = TcpStream::connect(SHARED.serving).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(request).unwrap();
    let mut text = Vec::new();
    stream.read_to_end(&mut text).unwrap();
    String::from_utf8(text).unwrap()
}

#[test]
fn a_body_that_says_it_is_too_large_is_refused_before_it_is_sent() {
    let head = b"POST /infer HTTP/1.1\r\nhost: x\r\ncontent-type: image/jpeg\r\ncontent-length: 30000000\r\nexpect: 100-continue\r\n\r\n";
    let answer = raw(head);
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(answer.contains("connection: close") && answer.contains("body_too_large"), "{answer}");
}

#[test]
fn chunks_that_add_up_to_too_much_are_refused() {
    let mut stream = TcpStream::connect(SHARED.serving).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(b"POST /infer HTTP/1.1\r\nhost: x\r\ncontent-type: image/jpeg\r\ntransfer-encoding: chunked\r\n\r\n").unwrap();
    let chunk = [b"100000\r\n".as_slice(), &vec![0; 0x10_0000], b"\r\n"].concat();
    for _ in 0..20 {
        if stream.write_all(&chunk).is_err() {
            break;
        }
    }
    let mut head = [0; 12];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 413");
}

#[test]
fn other_paths_and_methods_have_the_error_shape_too() {
    for (path, status) in [("/", 404), ("/v1/nothing", 404), ("/infer", 405)] {
        let answer = SHARED.get(SHARED.serving, path);
        assert_error(path, &answer);
        assert_eq!(answer.0, status, "{path}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_are_answered_with_4xx(kind in prop::sample::select(vec!["", "application/json", "image/jpeg", "image/png", MULTIPART]), body in prop::collection::vec(any::<u8>(), 0..2000)) {
        assert_error(kind, &SHARED.post(kind, &body));
    }

    #[test]
    fn a_damaged_picture_is_answered(format in 0..2, cut in 0.0..1.0f64, damage in prop::collection::vec((0.0..1.0f64, any::<u8>()), 0..8), wrapped in any::<bool>()) {
        let picture = quarter(40, 30, 2);
        let mut bytes = if format == 0 { jpeg(&picture) } else { png(&picture) };
        let length = bytes.len();
        for (at, value) in damage {
            bytes[(at * length as f64) as usize] = value;
        }
        bytes.truncate((length as f64 * (0.3 + cut)) as usize);
        let answer = if wrapped { SHARED.post("application/json", &as_json(&bytes)) } else { SHARED.post("image/jpeg", &bytes) };
        if answer.0 == 200 {
            read_answer(&answer.1);
        } else {
            assert_error("damaged", &answer);
        }
    }

    #[test]
    fn json_around_anything_is_answered_with_4xx(text in ".{0,200}") {
        assert_error("json", &SHARED.post("application/json", json!({"image": text}).to_string().as_bytes()));
    }
}
