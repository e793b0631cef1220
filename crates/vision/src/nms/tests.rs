#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

/// `[4 + classes, anchors]` from a list of (centre x, centre y, width, height, scores).
fn output(classes: usize, rows: &[([f32; 4], Vec<f32>)]) -> Vec<f32> {
    let mut out = Vec::new();
    for part in 0..4 {
        out.extend(rows.iter().map(|r| r.0[part]));
    }
    for class in 0..classes {
        out.extend(rows.iter().map(|r| r.1[class]));
    }
    out
}

fn run(classes: usize, rows: &[([f32; 4], Vec<f32>)], config: NmsConfig) -> Vec<(u32, f32)> {
    let found = Postprocess::new().run(&output(classes, rows), classes, rows.len(), &config);
    found.into_iter().map(|d| (d.class, d.confidence)).collect()
}

#[test]
fn of_two_that_overlap_the_surer_stays_and_far_ones_stay_both() {
    // 10 x 10 boxes. Shifted by 1: IoU 90 / 110 = 0.82 > 0.7, dropped. Shifted by 2: 80 / 120 = 0.67, kept.
    let rows = [([10.0, 10.0, 10.0, 10.0], vec![0.6]), ([11.0, 10.0, 10.0, 10.0], vec![0.9]), ([13.0, 10.0, 10.0, 10.0], vec![0.5])];
    assert_eq!(run(1, &rows, NmsConfig::serving()), [(0, 0.9), (0, 0.5)]);
}

#[test]
fn exactly_the_limit_is_no_double() {
    // 10 x 10 in 10 x 20: IoU 0.5, and the limit is 0.5.
    let rows = [([5.0, 5.0, 10.0, 10.0], vec![0.9]), ([5.0, 10.0, 10.0, 20.0], vec![0.8])];
    assert_eq!(run(1, &rows, NmsConfig { iou: 0.5, ..NmsConfig::serving() }).len(), 2);
    assert_eq!(run(1, &rows, NmsConfig { iou: 0.49, ..NmsConfig::serving() }).len(), 1);
}

#[test]
fn classes_do_not_suppress_each_other_and_one_anchor_gives_one_class_when_serving() {
    let rows = [([10.0, 10.0, 10.0, 10.0], vec![0.8, 0.7]), ([10.0, 10.0, 10.0, 10.0], vec![0.1, 0.6])];
    assert_eq!(run(2, &rows, NmsConfig::serving()), [(0, 0.8), (1, 0.6)]);
    // Judging: both classes of the first anchor; its 0.7 then beats the 0.6 of the same class, its 0.8 the 0.1.
    assert_eq!(run(2, &rows, NmsConfig::judging()), [(0, 0.8), (1, 0.7)]);
}

#[test]
fn the_threshold_is_inclusive_and_the_number_is_capped() {
    let rows: Vec<_> = (0..10).map(|i| ([100.0 * i as f32, 0.0, 10.0, 10.0], vec![0.25 + 0.01 * i as f32])).collect();
    assert_eq!(run(1, &rows, NmsConfig::serving()).len(), 10);
    let capped = run(1, &rows, NmsConfig { max_detections: 3, ..NmsConfig::serving() });
    assert_eq!(
        capped,
        [(0, 0.34), (0, 0.33), (0, 0.32)]
            .map(|(c, s): (u32, f32)| (c, rows.iter().map(|r| r.1[0]).find(|v| (v - s).abs() < 1e-6).unwrap()))
    );
    assert!(run(1, &rows, NmsConfig { max_detections: 0, ..NmsConfig::serving() }).is_empty());
}

#[test]
fn a_class_has_a_floor_of_its_own_and_what_is_below_it_takes_no_place() {
    let far = |x: f32, scores: [f32; 3]| ([x, 10.0, 8.0, 8.0], scores.to_vec());
    let rows = [far(10.0, [0.9, 0.0, 0.0]), far(50.0, [0.0, 0.5, 0.0]), far(90.0, [0.0, 0.0, 0.4]), far(130.0, [0.0, 0.6, 0.0])];
    let config = NmsConfig { max_detections: 2, ..NmsConfig::serving() };
    let with = |floors: &[f32]| {
        let found = Postprocess::new().run_above(&output(3, &rows), 3, rows.len(), &config, floors);
        found.into_iter().map(|d| (d.class, d.confidence)).collect::<Vec<_>>()
    };
    assert_eq!(with(&[]), [(0, 0.9), (1, 0.6)]);
    assert_eq!(with(&[f32::INFINITY, 0.6, 0.25]), [(1, 0.6), (2, 0.4)], "inclusive, and dropped before the number is capped");
    assert_eq!(with(&[0.0, 1.0, 0.45]), [(0, 0.9)]);
}

#[test]
fn numbers_that_are_none_give_no_detection_and_disturb_no_other() {
    let good = [50.0, 50.0, 10.0, 10.0];
    let rows = [
        (good, vec![f32::NAN, 0.9]),
        ([f32::NAN, 1.0, 10.0, 10.0], vec![0.99, 0.0]),
        ([5.0, 5.0, f32::INFINITY, 10.0], vec![0.98, 0.0]),
        ([80.0, 80.0, 5.0, 5.0], vec![f32::INFINITY, f32::NAN]),
        ([90.0, 90.0, 5.0, 5.0], vec![f32::NAN, f32::NAN]),
    ];
    for config in [NmsConfig::serving(), NmsConfig::judging()] {
        assert_eq!(run(2, &rows, config), [(1, 0.9)]);
    }
}

#[test]
fn no_anchors_and_no_classes_are_no_detections() {
    assert!(Postprocess::new().run(&[], 3, 0, &NmsConfig::serving()).is_empty());
    assert!(Postprocess::new().run(&[1.0; 8], 0, 2, &NmsConfig::serving()).is_empty());
}

#[test]
fn candidates_are_bounded_to_the_surest() {
    // More anchors than candidates are let through, all on one spot but the last, which is the least sure.
    let anchors = MAX_CANDIDATES + 10;
    let mut rows: Vec<_> = (0..anchors - 1).map(|i| ([5.0, 5.0, 10.0, 10.0], vec![0.5 + 0.4 * i as f32 / anchors as f32])).collect();
    rows.push(([500.0, 500.0, 10.0, 10.0], vec![0.3]));
    assert_eq!(run(1, &rows, NmsConfig::judging()).len(), 1, "the last one is beyond the bound");
    assert_eq!(run(1, &rows[20..], NmsConfig::judging()).len(), 2);
}

/// The same by the shortest way: every pair, nothing reused.
fn naive(rows: &[([f32; 4], Vec<f32>)], config: &NmsConfig) -> Vec<Detection> {
    let mut all = Vec::new();
    for (anchor, (b, scores)) in rows.iter().enumerate() {
        let bbox = Xyxy::from_cxcywh(b[0], b[1], b[2], b[3]);
        let best = (0..scores.len()).rev().max_by(|&a, &b| scores[a].total_cmp(&scores[b])).unwrap();
        for (class, &confidence) in scores.iter().enumerate() {
            if confidence >= config.confidence && (config.multi_label || class == best) {
                all.push((anchor, Detection { class: class as u32, confidence, bbox }));
            }
        }
    }
    all.sort_by(|a, b| b.1.confidence.total_cmp(&a.1.confidence).then(a.0.cmp(&b.0)).then(a.1.class.cmp(&b.1.class)));
    let mut kept: Vec<Detection> = Vec::new();
    for (_, d) in all {
        if kept.iter().all(|k| k.class != d.class || k.bbox.iou(d.bbox) <= config.iou) {
            kept.push(d);
        }
    }
    kept.truncate(config.max_detections);
    kept
}

proptest! {
    #[test]
    fn agrees_with_every_pair_compared(
        rows in proptest::collection::vec(((0u8..40, 0u8..40, 1u8..20, 1u8..20), proptest::collection::vec(0u8..=20, 3)), 1..60),
        multi_label in any::<bool>(), iou in 0u8..10, confidence in 1u8..20, max_detections in 1usize..40,
    ) {
        // Few distinct values, so that ties and equal boxes happen.
        let rows: Vec<_> = rows
            .into_iter()
            .map(|(b, s)| ([b.0, b.1, b.2, b.3].map(f32::from), s.into_iter().map(|v| f32::from(v) / 20.0).collect::<Vec<_>>()))
            .collect();
        let config = NmsConfig { confidence: f32::from(confidence) / 20.0, iou: f32::from(iou) / 10.0, max_detections, multi_label };
        let mut post = Postprocess::new();
        let once = post.run(&output(3, &rows), 3, rows.len(), &config);
        prop_assert_eq!(&once, &naive(&rows, &config));
        prop_assert_eq!(once, post.run(&output(3, &rows), 3, rows.len(), &config), "kept buffers change nothing");
    }
}
