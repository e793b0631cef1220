#![allow(clippy::unwrap_used)]

use super::*;

const SQUARE: Xyxy = Xyxy::new(0.0, 0.0, 10.0, 10.0);

fn shifted(by: f32) -> Xyxy {
    Xyxy::new(by, 0.0, by + 10.0, 10.0)
}

fn found(class: u32, confidence: f32, bbox: Xyxy) -> Detection {
    Detection { class, confidence, bbox }
}

fn truth(class: u32, bbox: Xyxy) -> Truth {
    Truth { class, bbox }
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-9
}

#[test]
fn everything_found_once_is_one() {
    let report = Evaluator::new(2)
        .add_image(&[found(0, 0.9, SQUARE), found(1, 0.6, shifted(50.0))], &[truth(0, SQUARE), truth(1, shifted(50.0))])
        .finish();
    assert!(near(report.map50, 1.0) && near(report.map50_95, 1.0) && near(report.precision, 1.0) && near(report.recall, 1.0));
    assert_eq!((report.confidence, report.images, report.per_class.len()), (0.6, 1, 2));
}

#[test]
fn a_false_one_between_two_right_ones() {
    // Two truths. By confidence: right, wrong, right.
    //   shown   hits  recall  precision  envelope
    //   .9        1     .5      1          1
    //   .8        1     .5      1/2        2/3
    //   .7        2     1       2/3        2/3
    // Recalls 0 to .50 are 51 points at 1, .51 to 1 are 50 points at 2/3: (51 + 100/3) / 101 = .834983
    let report = Evaluator::new(1)
        .add_image(
            &[found(0, 0.9, SQUARE), found(0, 0.8, shifted(500.0)), found(0, 0.7, shifted(100.0))],
            &[truth(0, SQUARE), truth(0, shifted(100.0))],
        )
        .finish();
    assert!(near(report.map50, (51.0 + 100.0 / 3.0) / 101.0), "{report:?}");
    // F1 = 2 hits / (shown + truths): 2/3, 2/4, 4/5. The last is best: all three shown.
    assert_eq!(report.confidence, 0.7);
    assert!(near(report.precision, 2.0 / 3.0) && near(report.recall, 1.0), "{report:?}");
}

#[test]
fn an_overlap_of_six_tenths_counts_at_three_of_ten_thresholds() {
    // Shifted by 2.5: 75 shared, 125 together: IoU .60, enough at .50, .55, .60 (the limit counts). AP 1 there, else 0.
    let report = Evaluator::new(1).add_image(&[found(0, 0.9, shifted(2.5))], &[truth(0, SQUARE)]).finish();
    assert!(near(report.map50, 1.0) && near(report.map50_95, 0.3), "{report:?}");
}

#[test]
fn a_missed_truth_costs_its_share_of_recall() {
    // One of three found: recall 1/3, so the 34 points 0 to .33 of 101 are reached.
    let truths = [truth(0, SQUARE), truth(0, shifted(100.0)), truth(0, shifted(200.0))];
    let report = Evaluator::new(1).add_image(&[found(0, 0.9, SQUARE)], &truths).finish();
    assert!(near(report.map50, 34.0 / 101.0), "{report:?}");
    assert!(near(report.precision, 1.0) && near(report.recall, 1.0 / 3.0), "{report:?}");
}

#[test]
fn finding_the_same_twice_is_a_false_positive_that_cannot_lower_an_earlier_hit() {
    let doubled = [found(0, 0.9, SQUARE), found(0, 0.8, shifted(0.5))];
    let report = Evaluator::new(1).add_image(&doubled, &[truth(0, SQUARE)]).finish();
    assert!(near(report.map50, 1.0), "precision's envelope at recall 1 is 1: {report:?}");
    assert_eq!(report.confidence, 0.9);
    // The weaker one right, the surer one wrong: precision 1/2 at every recall.
    let report = Evaluator::new(1).add_image(&[found(0, 0.9, shifted(300.0)), found(0, 0.8, SQUARE)], &[truth(0, SQUARE)]).finish();
    assert!(near(report.map50, 0.5), "{report:?}");
}

#[test]
fn each_takes_the_free_truth_it_overlaps_most() {
    // Truths at 0 and 4. The surer detection at 1 overlaps 90/110 and 70/130 = .54: it takes the first. The second at 0
    // would overlap the first fully, but it is taken; with the other it shares 60/140 = .43: nothing. So one hit of two:
    // 51 points at precision 1.
    let truths = [truth(0, SQUARE), truth(0, shifted(4.0))];
    let report = Evaluator::new(1).add_image(&[found(0, 0.9, shifted(1.0)), found(0, 0.8, SQUARE)], &truths).finish();
    assert!(near(report.map50, 51.0 / 101.0), "{report:?}");
}

#[test]
fn pictures_are_matched_alone_and_ranked_together() {
    // Picture 1: right at .5. Picture 2: wrong at .9, and its truth is missed though picture 1 has a box there.
    // By confidence: wrong, right: precision 1/2 at recall 1/2: 51 points at 1/2.
    let mut evaluator = Evaluator::new(1);
    evaluator.add_image(&[found(0, 0.5, SQUARE)], &[truth(0, SQUARE)]);
    evaluator.add_image(&[found(0, 0.9, shifted(100.0))], &[truth(0, SQUARE)]);
    let report = evaluator.finish();
    assert!(near(report.map50, 51.0 * 0.5 / 101.0), "{report:?}");
    assert_eq!(report.images, 2);
    assert_eq!(report, evaluator.finish(), "asking again changes nothing");
}

#[test]
fn classes_without_a_truth_stay_out_of_the_means() {
    let report = Evaluator::new(3).add_image(&[found(0, 0.9, SQUARE), found(2, 0.99, SQUARE)], &[truth(0, SQUARE)]).finish();
    assert!(near(report.map50, 1.0) && near(report.precision, 1.0), "{report:?}");
    assert_eq!(report.per_class.iter().map(|c| c.boxes).collect::<Vec<_>>(), [1, 0, 0]);
    assert_eq!(report.per_class[2].map50, 0.0);
}

#[test]
fn nothing_at_all_is_zero_and_never_nan() {
    for report in [
        Evaluator::new(0).finish(),
        Evaluator::new(2).finish(),
        Evaluator::new(1).add_image(&[], &[truth(0, SQUARE)]).finish(),
        Evaluator::new(1).add_image(&[found(0, 0.5, SQUARE)], &[]).finish(),
    ] {
        assert_eq!((report.map50, report.map50_95, report.precision, report.recall), (0.0, 0.0, 0.0, 0.0));
    }
}

#[test]
fn numbers_that_are_none_and_unknown_classes_do_no_harm() {
    let nan = Xyxy::new(f32::NAN, 0.0, 10.0, 10.0);
    let report = Evaluator::new(1)
        .add_image(
            // No confidence: left out. No box: a false positive above the right one. Class 7: left out.
            &[found(0, f32::NAN, SQUARE), found(0, 0.9, nan), found(0, 0.8, SQUARE), found(7, 0.99, SQUARE)],
            &[truth(0, SQUARE), truth(9, SQUARE)],
        )
        .finish();
    assert!(near(report.map50, 0.5), "{report:?}");
    assert_eq!(report.per_class[0].boxes, 1);
}
