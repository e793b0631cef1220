//! YOLO label rows: `class cx cy w h`, fractions of the image; or `class x1 y1 x2 y2 x3 y3 …`, a polygon (or a turned box), of which
//! the box around it is taken; or, where `data.yaml` has a `kpt_shape`, `class cx cy w h` and keypoints, which are left out.

use super::{Object, error::Problem};
use std::path::Path;

/// More boxes than this in one image are a mistake, and equal ones are looked for by comparing each with each.
const MAX_BOXES: usize = 20_000;

/// Broken rows named of one file: one with more is no label file.
const MAX_PROBLEMS: usize = 100;

/// Coordinates a little outside of the picture come from dragging a box over its edge; further outside they are pixels, not fractions.
const SLACK: f32 = 0.5;

/// What was found in a label file, or counted over many.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Rows {
    /// Boxes, cut at the edges.
    pub objects: Vec<Object>,
    /// Boxes that were cut.
    pub clipped: usize,
    /// Boxes without an area inside the image.
    pub dropped: usize,
    /// Equal rows after the first.
    pub duplicates: usize,
}

impl Rows {
    /// Adds a box given by its corners, as fractions of the image: cut at the edges, counted, left out when nothing remains.
    pub fn push(&mut self, class: u32, x1: f32, y1: f32, x2: f32, y2: f32) {
        // A box drawn to the very edge is written as 0.5 + 0.500001: rounding, not a box over the edge.
        const ROUNDING: f32 = 1e-4;
        let (left, top, right, bottom) = (x1.clamp(0.0, 1.0), y1.clamp(0.0, 1.0), x2.clamp(0.0, 1.0), y2.clamp(0.0, 1.0));
        let (w, h) = (right - left, bottom - top);
        if w <= 1e-6 || h <= 1e-6 {
            self.dropped += 1;
            return;
        }
        let object = Object { class, cx: (left + right) / 2.0, cy: (top + bottom) / 2.0, w, h };
        if self.objects.contains(&object) {
            self.duplicates += 1;
            return;
        }
        if [left - x1, top - y1, x2 - right, y2 - bottom].into_iter().any(|over| over > ROUNDING) {
            self.clipped += 1;
        }
        self.objects.push(object);
    }
}

/// What rows of a data set look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    /// A class from this number up is a problem.
    pub classes: usize,
    /// Numbers of a row after the box; 0 without keypoints.
    pub keypoints: usize,
}

/// Parses one label file.
///
/// # Errors
/// Every broken row, with its line; good rows of the same file are not returned then.
pub fn parse(file: &Path, text: &str, format: Format) -> Result<Rows, Vec<Problem>> {
    let mut rows = Rows::default();
    let mut problems = Vec::new();
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        if let Err(message) = row(line, format, &mut rows) {
            problems.push(Problem { file: file.to_owned(), line: index + 1, message });
        }
        if problems.len() >= MAX_PROBLEMS {
            break;
        }
        if rows.objects.len() > MAX_BOXES {
            problems.push(Problem { file: file.to_owned(), line: index + 1, message: format!("more than {MAX_BOXES} boxes in one image") });
            break;
        }
    }
    if problems.is_empty() { Ok(rows) } else { Err(problems) }
}

fn row(line: &str, format: Format, rows: &mut Rows) -> Result<(), String> {
    let mut values = line.split_whitespace();
    let class = class(values.next().unwrap_or_default(), format.classes)?;
    let values: Vec<&str> = values.collect();
    let is_pose = format.keypoints > 0 && values.len() == 4 + format.keypoints;
    let numbers = values[..if is_pose { 4 } else { values.len() }].iter().map(|text| number(text)).collect::<Result<Vec<f32>, String>>()?;
    match numbers.len() {
        4 => {
            let [cx, cy, w, h] = [numbers[0], numbers[1], numbers[2], numbers[3]];
            if w < 0.0 || h < 0.0 {
                return Err(format!("width {w} and height {h} must not be negative"));
            }
            rows.push(class, cx - w / 2.0, cy - h / 2.0, cx + w / 2.0, cy + h / 2.0);
        }
        5 => return Err("6 values: this looks like a prediction with its confidence; a label row is `class cx cy w h`".to_owned()),
        n if n >= 6 && n % 2 == 0 => {
            let (xs, ys) = (numbers.iter().step_by(2), numbers.iter().skip(1).step_by(2));
            let (x1, x2) = span(xs);
            let (y1, y2) = span(ys);
            rows.push(class, x1, y1, x2, y2);
        }
        n => return Err(format!("{} values; a label row is `class cx cy w h`, or a class and at least 3 polygon points", n + 1)),
    }
    Ok(())
}

fn class(text: &str, classes: usize) -> Result<u32, String> {
    // Some tools write the class as 0.0.
    let class = text.strip_suffix(".0").unwrap_or(text).parse::<u32>();
    let class = class.map_err(|_| format!("class `{}` is not a whole number from 0 up", shorten(text)))?;
    if class as usize >= classes {
        return Err(format!(
            "class {class} is out of range: there are {classes} classes, 0 to {}; correct the row, or name the class in classes.txt or data.yaml",
            classes.saturating_sub(1)
        ));
    }
    Ok(class)
}

fn number(text: &str) -> Result<f32, String> {
    let value = text.parse::<f32>().map_err(|_| format!("`{}` is not a number", shorten(text)))?;
    if !value.is_finite() {
        return Err(format!("`{}` is not a finite number", shorten(text)));
    }
    if !(-SLACK..=1.0 + SLACK).contains(&value) {
        return Err(format!("{value} is not a fraction of the image (0 to 1): are these pixels?"));
    }
    Ok(value)
}

fn span<'a>(values: impl Iterator<Item = &'a f32>) -> (f32, f32) {
    values.fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &value| (low.min(value), high.max(value)))
}

/// Label files are other people's data: a message quotes no more than a few characters of them.
fn shorten(text: &str) -> String {
    if text.chars().count() <= 24 { text.to_owned() } else { text.chars().take(24).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    fn parsed(text: &str) -> Result<Rows, Vec<Problem>> {
        parse(Path::new("a/b.txt"), text, Format { classes: 3, keypoints: 0 })
    }

    fn object(class: u32, cx: f32, cy: f32, w: f32, h: f32) -> Object {
        Object { class, cx, cy, w, h }
    }

    #[test]
    fn rows_are_boxes_whatever_the_spacing() {
        let rows = parsed("\u{feff}0 0.5 0.5 0.25 0.5\r\n\n  2.0\t0.25 0.25 0.5 0.5 \n").unwrap();
        assert_eq!(rows.objects, [object(0, 0.5, 0.5, 0.25, 0.5), object(2, 0.25, 0.25, 0.5, 0.5)]);
        assert_eq!((rows.clipped, rows.dropped, rows.duplicates), (0, 0, 0));
    }

    #[test]
    fn an_empty_file_is_background() {
        assert_eq!(parsed("\n \n").unwrap(), Rows::default());
    }

    #[test]
    fn a_polygon_becomes_the_box_around_it() {
        let rows = parsed("1 0.25 0.5 0.5 0.25 0.75 0.5 0.5 0.75").unwrap();
        assert_eq!(rows.objects, [object(1, 0.5, 0.5, 0.5, 0.5)]);
    }

    #[test]
    fn keypoints_after_a_box_are_left_out() {
        let parse = |text, keypoints| parse(Path::new("a.txt"), text, Format { classes: 3, keypoints });
        // Two points of x, y, visibility: 2 is no fraction.
        let row = "1 0.5 0.5 0.5 0.5 0.1 0.1 2 0.9 0.9 1";
        assert_eq!(parse(row, 6).unwrap().objects, [object(1, 0.5, 0.5, 0.5, 0.5)]);
        assert!(parse(row, 0).unwrap_err()[0].message.contains("pixels"));
        assert_eq!(parse("1 0.5 0.5 0.5 0.5", 6).unwrap().objects.len(), 1, "a box without points is a box");
    }

    #[test]
    fn a_file_of_something_else_is_named_and_not_copied_into_the_log() {
        assert_eq!(parsed(&"x\n".repeat(10_000)).unwrap_err().len(), MAX_PROBLEMS);
    }

    #[test]
    fn boxes_are_cut_at_the_edge_dropped_outside_and_taken_once() {
        let rows = parsed("0 0 0.5 0.5 0.5\n0 0.5 0.5 0 0.1\n0 1.25 0.5 0.25 0.5\n1 0.5 0.5 1 1\n1 0.5 0.5 1 1").unwrap();
        assert_eq!(rows.objects, [object(0, 0.125, 0.5, 0.25, 0.5), object(1, 0.5, 0.5, 1.0, 1.0)]);
        assert_eq!((rows.clipped, rows.dropped, rows.duplicates), (1, 2, 1));
    }

    #[rstest]
    #[case::few("0 0.5 0.5 0.5", "4 values")]
    #[case::confidence("0 0.5 0.5 0.5 0.5 0.9", "prediction")]
    #[case::odd("0 0.1 0.1 0.2 0.2 0.3 0.3 0.4", "8 values")]
    #[case::word("0 0.5 0.5 x 0.5", "`x` is not a number")]
    #[case::nan("0 0.5 0.5 nan 0.5", "finite")]
    #[case::pixels("0 320 240 50 50", "pixels")]
    #[case::negative_size("0 0.5 0.5 -0.1 0.5", "negative")]
    #[case::negative_class("-1 0.5 0.5 0.5 0.5", "whole number")]
    #[case::class_name("bolt 0.5 0.5 0.5 0.5", "`bolt`")]
    #[case::class_out_of_range("3 0.5 0.5 0.5 0.5", "class 3 is out of range: there are 3 classes, 0 to 2")]
    fn a_broken_row_is_named_with_file_and_line(#[case] row: &str, #[case] says: &str) {
        let problems = parsed(&format!("0 0.5 0.5 0.5 0.5\n\n{row}\n")).unwrap_err();
        assert_eq!(problems.len(), 1);
        let message = problems[0].to_string();
        assert!(message.starts_with("a/b.txt:3: ") && message.contains(says), "{message}");
    }

    #[test]
    fn every_broken_row_is_named() {
        let lines: Vec<usize> = parsed("x\n0 0.5 0.5 0.5 0.5\ny\nz").unwrap_err().iter().map(|problem| problem.line).collect();
        assert_eq!(lines, [1, 3, 4]);
    }

    proptest! {
        #[test]
        fn any_text_gives_boxes_inside_the_image_or_problems(text in "([-0-9.eEnaif \t\n]|\\PC){0,200}") {
            for object in parsed(&text).map(|rows| rows.objects).unwrap_or_default() {
                let Object { class, cx, cy, w, h } = object;
                prop_assert!(class < 3 && w > 0.0 && h > 0.0 && cx - w / 2.0 > -1e-6 && cy - h / 2.0 > -1e-6);
                prop_assert!(cx + w / 2.0 < 1.0 + 1e-6 && cy + h / 2.0 < 1.0 + 1e-6);
            }
        }

        #[test]
        fn a_box_inside_the_image_comes_back(class in 0_u32..3, x1 in 0.0_f32..0.9, y1 in 0.0_f32..0.9, w in 0.01_f32..0.1, h in 0.01_f32..0.1) {
            let row = format!("{class} {} {} {w} {h}", x1 + w / 2.0, y1 + h / 2.0);
            let rows = parsed(&row).unwrap();
            prop_assert_eq!(rows.objects.len(), 1);
            let found = rows.objects[0];
            prop_assert_eq!(found.class, class);
            let off = (found.cx - x1 - w / 2.0).abs().max((found.cy - y1 - h / 2.0).abs()).max((found.w - w).abs()).max((found.h - h).abs());
            prop_assert!(off < 1e-6, "{off}");
        }
    }
}
