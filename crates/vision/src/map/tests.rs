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

/// Pictures with a few truths each, found with shifts and confidences that are a function of the numbers.
fn scene(picture: u32) -> (Vec<Detection>, Vec<Truth>) {
    let mix = |n: u32| (picture * 7919 + n * 104_729).wrapping_mul(2_654_435_761) >> 8;
    let truths: Vec<Truth> = (0..1 + mix(0) % 3).map(|n| truth(mix(n) % 2, shifted(40.0 * n as f32))).collect();
    let detections = (0..4).map(|n| {
        let off = (mix(n + 10) % 40) as f32 / 10.0;
        found(mix(n) % 2, (mix(n + 20) % 97 + 1) as f32 / 100.0, shifted(40.0 * n as f32 + off))
    });
    (detections.collect(), truths)
}

#[test]
fn counting_a_picture_twice_is_adding_it_twice() {
    let pictures: Vec<_> = (0..40).map(scene).collect();
    let mut all = Evaluator::new(2);
    pictures.iter().for_each(|(found, truths)| {
        all.add_image(found, truths);
    });
    let ranking = all.ranking();
    for round in 0..5usize {
        let counts: Vec<u32> = (0..pictures.len()).map(|i| ((i * 3 + round * 5) % 4) as u32).collect();
        let mut again = Evaluator::new(2);
        for ((found, truths), &count) in pictures.iter().zip(&counts) {
            // Copies a hair apart in confidence would be ranked one after the other: the same confidence is what a resample has.
            (0..count).for_each(|_| {
                again.add_image(found, truths);
            });
        }
        let report = again.finish();
        for class in 0..2 {
            let (map50, map50_95) = ranking.average_precision(class, &counts, &mut Scratch::default()).unwrap();
            let line = &report.per_class[class];
            assert!(line.map50 > 0.1 && line.map50 < 0.9, "no test of anything: {line:?}");
            // Copies of one detection are one step here and several there; between them precision can differ a little.
            assert!((map50 - line.map50).abs() < 0.01 && (map50_95 - line.map50_95).abs() < 0.01, "{map50} {map50_95} {line:?}");
            assert_eq!(
                line.boxes,
                pictures
                    .iter()
                    .zip(&counts)
                    .map(|(p, &n)| n as u64 * p.1.iter().filter(|t| t.class as usize == class).count() as u64)
                    .sum::<u64>()
            );
        }
    }
    let once = ranking.average_precision(0, &[1; 40], &mut Scratch::default()).unwrap();
    let line = all.finish().per_class[0];
    assert_eq!(once, (line.map50, line.map50_95));
    assert_eq!((ranking.images(), ranking.classes(), ranking.boxes(0)), (40, 2, line.boxes));
    assert!(ranking.images_with(0) <= 40 && ranking.images_with(0) as u64 <= line.boxes);
}

#[test]
fn a_class_whose_pictures_are_left_out_has_no_precision() {
    let mut evaluator = Evaluator::new(2);
    evaluator.add_image(&[found(0, 0.9, SQUARE)], &[truth(0, SQUARE)]);
    evaluator.add_image(&[found(0, 0.8, SQUARE), found(1, 0.7, SQUARE)], &[truth(1, SQUARE)]);
    let ranking = evaluator.ranking();
    let ap = |class, counts: [u32; 2]| ranking.average_precision(class, &counts, &mut Scratch::default());
    assert_eq!(ap(0, [0, 3]), None);
    assert_eq!((ap(0, [2, 1]), ap(1, [5, 1]), ap(1, [1, 0])), (Some((1.0, 1.0)), Some((1.0, 1.0)), None));
}
