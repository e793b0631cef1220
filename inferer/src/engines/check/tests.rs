#![allow(clippy::unwrap_used)]

use rstest::rstest;

use super::*;

/// Two classes, `[6, anchors]`: boxes of 40 px in a row, the first `sure` of them certain of class 0, the rest background.
fn published(anchors: usize, sure: usize) -> Vec<f32> {
    let mut data = vec![0.0; 6 * anchors];
    for anchor in 0..anchors {
        data[anchor] = 50.0 * anchor as f32;
        data[anchors + anchor] = 100.0;
        data[2 * anchors + anchor] = 40.0;
        data[3 * anchors + anchor] = 40.0;
        data[4 * anchors + anchor] = if anchor < sure { 0.8 } else { 0.001 };
        data[5 * anchors + anchor] = 0.002;
    }
    data
}

fn output(data: Vec<f32>) -> Output {
    Output { shape: [1, 6, data.len() / 6], data }
}

const ANCHORS: usize = 4000;

#[test]
fn float32_must_give_every_value_again() {
    let published = published(ANCHORS, 20);
    assert_eq!(close(&output(published.clone()), &published, Precision::Fp32), Ok(()));
    for (at, by) in [(0, 0.06), (5 * ANCHORS - 1, 0.002), (3, f32::NAN)] {
        let mut data = published.clone();
        data[at] += by;
        assert!(close(&output(data), &published, Precision::Fp32).is_err(), "value {at} off by {by}");
    }
}

#[test]
fn a_lower_precision_may_move_every_value_a_little() {
    let published = published(ANCHORS, 20);
    let data = published.iter().enumerate().map(|(at, v)| if at < 4 * ANCHORS { v + 0.3 } else { v * 1.01 }).collect();
    assert_eq!(close(&output(data), &published, Precision::Bf16), Ok(()));
}

#[rstest]
#[case::lost(&|d: &mut [f32]| d[4 * ANCHORS..4 * ANCHORS + 6].fill(0.1), "is not found again")]
#[case::from_nowhere(&|d: &mut [f32]| d[5 * ANCHORS + 100..5 * ANCHORS + 110].fill(0.6), "was not published")]
#[case::another_class(&|d: &mut [f32]| d[5 * ANCHORS..5 * ANCHORS + 6].fill(0.9), "is not found again")]
#[case::boxes_moved(&|d: &mut [f32]| d[..ANCHORS].iter_mut().for_each(|v| *v += 3.0), "is not found again")]
#[case::boxes_grown(&|d: &mut [f32]| d[2 * ANCHORS..3 * ANCHORS].iter_mut().for_each(|v| *v *= 1.2), "is not found again")]
#[case::less_sure(&|d: &mut [f32]| d[4 * ANCHORS..4 * ANCHORS + 20].fill(0.65), "is not found again")]
#[case::background(&|d: &mut [f32]| d[4 * ANCHORS..].iter_mut().for_each(|v| *v += 0.01), "on average")]
#[case::no_number(&|d: &mut [f32]| d[5 * ANCHORS + 7] = f32::NAN, "NaN")]
fn a_lower_precision_that_finds_other_things_is_refused(#[case] change: &dyn Fn(&mut [f32]), #[case] part: &str) {
    let published = published(ANCHORS, 20);
    let mut data = published.clone();
    change(&mut data);
    let reason = close(&output(data), &published, Precision::Bf16).unwrap_err();
    assert!(reason.contains(part), "{reason}");
}

#[test]
fn one_in_four_may_miss_but_not_the_only_one() {
    for (sure, lost, allowed) in [(1, 1, false), (2, 1, true), (20, 5, true), (20, 6, false)] {
        let published = published(ANCHORS, sure);
        let mut data = published.clone();
        data[4 * ANCHORS..4 * ANCHORS + lost].fill(0.2);
        assert_eq!(close(&output(data), &published, Precision::Bf16).is_ok(), allowed, "{lost} of {sure} lost");
    }
}
