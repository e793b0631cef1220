#![allow(clippy::unwrap_used)]

use edgeloop_store::ClassMetrics;
use edgeloop_vision::decode::Limits;
use edgeloop_vision::nms::NmsConfig;
use rstest::rstest;
use serde_json::json;

use super::*;

fn settings() -> Rules {
    Rules { limits: Limits::default(), nms: NmsConfig::serving(), floors: None }
}

/// A model of the classes bolt, nut and «a, b», with thresholds kept for some.
fn model(kept: &[(&str, f64)]) -> Metadata {
    let per_class: Vec<_> = kept
        .iter()
        .map(|(name, threshold)| ClassMetrics { name: (*name).into(), threshold: Some(*threshold), ..Default::default() })
        .collect();
    let file = |kind, end: &str| json!({"kind": kind, "name": format!("model_20261121_030000{end}"), "bytes": 1, "sha256": "0".repeat(64)});
    let mut model: Metadata = serde_json::from_value(json!({
        "schema": 1, "version": "20261121_030000", "sequence": 1, "created": "2026-11-21T03:00:00Z",
        "files": [file("weights", ".pt"), file("onnx", ".onnx")],
        "architecture": {"family": "yolov8", "scale": "n"}, "image_size": 640, "classes": ["bolt", "nut", "a, b"],
        "dataset": {}, "training": {}, "metrics": {},
        "gate": {"decision": "promoted", "reason": "", "compared_with": null},
        "producer": {"name": "", "version": "", "host": ""},
    }))
    .unwrap();
    model.metrics.per_class = per_class;
    model
}

fn rules(query: &str, kept: &[(&str, f64)]) -> Result<Rules, ApiError> {
    Options::from_query(Some(query))?.rules(&settings(), &model(kept))
}

const OUT: f32 = f32::INFINITY;

#[test]
fn without_wishes_the_settings_count() {
    let rules = rules("utm_source=x&key", &[]).unwrap();
    assert_eq!((rules.nms, rules.floors), (NmsConfig::serving(), None));
}

#[test]
fn wishes_count_before_the_models_thresholds_and_those_before_the_settings() {
    let kept = [("nut", 0.6), ("bolt", 0.1), ("a, b", 7.0)];
    let rules_kept = rules("", &kept).unwrap();
    assert_eq!((rules_kept.nms.confidence, rules_kept.floors.as_deref()), (0.1, Some([0.1, 0.6, 0.25].as_slice())));
    let wished = rules("confidence=0.4&iou=0.5&max_detections=1000", &kept).unwrap();
    assert_eq!((wished.nms, wished.floors), (NmsConfig { confidence: 0.4, iou: 0.5, max_detections: 1000, multi_label: false }, None));
    let of_class = rules("classes=nut", &kept).unwrap();
    assert_eq!((of_class.nms.confidence, of_class.floors.as_deref()), (0.6, Some([OUT, 0.6, OUT].as_slice())));
}

#[rstest]
#[case("classes=nut", &[OUT, 0.25, OUT])]
#[case("classes=bolt,1", &[0.25, 0.25, OUT])]
#[case("classes=a,+b", &[OUT, OUT, 0.25])]
#[case("classes=0&classes=2", &[0.25, OUT, 0.25])]
fn classes_are_named_or_numbered(#[case] query: &str, #[case] floors: &[f32]) {
    assert_eq!(rules(query, &[]).unwrap().floors.as_deref(), Some(floors), "{query}");
}

#[rstest]
#[case("classes=screw", "unknown_class")]
#[case("classes=3", "unknown_class")]
#[case("classes=", "bad_option")]
#[case("confidence=NaN", "bad_option")]
#[case("confidence=1.01", "bad_option")]
#[case("iou=-0.1", "bad_option")]
#[case("iou=", "bad_option")]
#[case("max_detections=0", "bad_option")]
#[case("max_detections=1001", "bad_option")]
#[case("max_detections=1e3", "bad_option")]
#[case("timeout_ms=0", "bad_option")]
#[case("timeout_ms=inf", "bad_option")]
fn what_makes_no_sense_is_refused(#[case] query: &str, #[case] kind: &str) {
    let error = rules(query, &[]).unwrap_err();
    assert_eq!((error.status.as_u16(), error.kind), (400, kind), "{query}: {}", error.message);
}

#[test]
fn the_body_counts_before_the_query() {
    let [body, query] = ["confidence=0.9", "confidence=0.1&timeout_ms=50"].map(|text| Options::from_query(Some(text)).unwrap());
    let both = body.or(query);
    assert_eq!((both.confidence, both.timeout), (Some(0.9), Some(Duration::from_millis(50))));
}

#[test]
fn a_thousand_class_names_are_not_all_repeated() {
    let mut model = model(&[]);
    model.classes = (0..1000).map(|n| format!("class ä{n}")).collect();
    let error = Options::from_query(Some("classes=x")).unwrap().rules(&settings(), &model).unwrap_err();
    assert!(error.message.len() < 700 && error.message.ends_with('…'), "{}", error.message);
}
