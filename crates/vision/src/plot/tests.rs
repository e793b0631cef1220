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
    let line = |points: Vec<(f64, f64)>| Panel {
        title: "p".into(),
        series: vec![Series { name: "s".into(), points }],
        y_range: Some((0.0, 1.0)),
        x_range: None,
    };
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

#[test]
fn bars_points_tables_and_sheets_are_drawn_whatever_they_are_given() {
    use super::{bars::Bars, matrix::Matrix, scatter::Scatter, sheet::sheet};
    let name = |at: usize| format!("a class with a long name {at}");
    for count in [0, 1, 3, 150] {
        let names: Vec<String> = (0..count).map(name).collect();
        let bars = names.iter().map(|name| (name.clone(), vec![5.0, f64::NAN])).collect();
        let bars = Bars { title: "t".into(), parts: vec!["train".into(), "val".into()], bars }.render(600);
        let matrix = Matrix { names: names.clone(), cells: (0..(count * count) as u64).collect(), ..Matrix::default() }.render();
        let points = vec![(0.0, 3.0, 1), (1e9, 2.0, 7), (f64::INFINITY, 1.0, 0)];
        let scatter =
            Scatter { most: 640.0, points, names: names.clone(), guides: vec![(8.0, "8 px".into())], ..Scatter::default() }.render(400);
        let pictures: Vec<_> = names.iter().map(|name| (Image::filled(30, 10, [200, 0, 0]), name.clone())).collect();
        let sheet = sheet("t", &pictures[..count.min(5)], 3, 64);
        for image in [bars, matrix, scatter, sheet] {
            assert!(image.is_whole() && image.width < 4096 && image.height < 4096, "{count}: {image:?}");
        }
    }
}

#[test]
fn a_longer_bar_is_for_more_and_a_bigger_share_is_darker() {
    use super::{bars::Bars, matrix::Matrix};
    let blue = |image: &Image, y: std::ops::Range<u32>| {
        y.flat_map(|y| (0..image.width).map(move |x| (x, y))).filter(|&(x, y)| image.pixel(x, y) == Some([0, 114, 178])).count()
    };
    let bars = Bars { title: String::new(), parts: vec![], bars: vec![("a".into(), vec![10.0]), ("b".into(), vec![5.0])] }.render(600);
    let half = bars.height - 13 - 22;
    assert!(blue(&bars, 0..half) > blue(&bars, half..bars.height) * 3 / 2);
    let matrix = Matrix { names: vec!["a".into(), "b".into()], cells: vec![9, 1, 0, 0], ..Matrix::default() }.render();
    let darkest = matrix.data.chunks_exact(3).filter(|p| p[2] > p[0].saturating_add(60)).map(|p| p[0]).min();
    assert!(darkest < Some(30), "{darkest:?}");
}
