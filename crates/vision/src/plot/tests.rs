#![allow(clippy::unwrap_used)]

use super::axis::Axis;
use super::*;

fn words(axis: &Axis) -> Vec<String> {
    axis.ticks().into_iter().map(|t| t.1).collect()
}

#[test]
fn ticks_stand_at_round_numbers_and_cover_the_data() {
    // 0.13 to 0.94 in about five steps: 0.81 / 5 = 0.162, rounded up to 0.2.
    assert_eq!(words(&Axis::over([0.13, 0.94].into_iter(), 5)), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
    assert_eq!(words(&Axis::over([-30.0, 4.0].into_iter(), 4)), ["-30", "-20", "-10", "0", "10"]);
    assert_eq!(words(&Axis::counting((1..=5).map(f64::from), 6)), ["1", "2", "3", "4", "5"]);
}

#[test]
fn axes_survive_no_data_one_value_and_values_that_are_no_numbers() {
    for values in [vec![], vec![3.0], vec![f64::NAN, f64::INFINITY], vec![1e300, -1e300], vec![1e-300, 2e-300]] {
        let axis = Axis::over(values.iter().copied(), 5);
        assert!(axis.low < axis.high, "{values:?} gives {axis:?}");
        assert!(axis.ticks().len() <= 100);
    }
}

#[test]
fn a_line_is_drawn_where_its_points_are() {
    let line =
        |points: Vec<(f64, f64)>| Panel { title: "p".into(), series: vec![Series { name: "s".into(), points }], y_range: Some((0.0, 1.0)) };
    let chart = |points| Chart { title: "t".into(), x_label: "x".into(), panels: vec![line(points)] }.render(400, 300);
    let coloured_rows = |image: &Image| -> Vec<u32> {
        // Right of the axis words and below the legend: only the line is coloured there.
        (70..300).filter(|&y| (100..390).any(|x| image.pixel(x, y).is_some_and(|p| p[2] > p[0].saturating_add(60)))).collect()
    };
    let (low, high) = (coloured_rows(&chart(vec![(0.0, 0.1), (9.0, 0.1)])), coloured_rows(&chart(vec![(0.0, 0.9), (9.0, 0.9)])));
    assert!(!low.is_empty() && !high.is_empty());
    assert!(high.last() < low.first(), "0.9 is drawn at rows {high:?}, 0.1 at {low:?}");
    assert!(coloured_rows(&chart(vec![(0.0, f64::NAN)])).is_empty(), "a point that is no number draws nothing");
}

#[test]
fn any_size_and_any_panel_count_renders() {
    for (width, height, panels) in [(0, 0, 0), (1, 5000, 2), (9000, 3, 1), (300, 200, 9)] {
        let image = Chart { panels: vec![Panel::default(); panels], ..Chart::default() }.render(width, height);
        assert!(image.is_whole());
    }
    assert!(!Chart::default().png(10, 10).unwrap().is_empty());
}
