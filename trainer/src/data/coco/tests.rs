//! COCO files as tools write them, and broken ones.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use crate::data::{Object, Side};
use rstest::rstest;

fn read_text(json: &str) -> Result<Coco, DataError> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("annotations.json");
    fs::write(&file, json).unwrap();
    read(&find_file(&file), 100)
}

const GOOD: &str = r#"{"info": {}, "licenses": [],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 90, "bbox": [50, 25, 100, 50], "area": 5000, "iscrowd": 0, "segmentation": [[1, 2, 3, 4, 5, 6]]},
        {"id": 2, "image_id": 7, "category_id": 3, "bbox": [150.0, 0, 100, 10], "iscrowd": false, "segmentation": {"counts": "abc", "size": [1, 2]}},
        {"id": 3, "image_id": 7, "category_id": 3, "bbox": [0, 0, 200, 100], "iscrowd": 1},
        {"id": 4, "image_id": 7, "category_id": 3, "bbox": [0, 0, 200, 100], "iscrowd": true}],
    "images": [{"id": 7, "file_name": "b.jpg", "width": 200, "height": 100, "license": 1}, {"id": -2, "file_name": "sub/a.jpg"}],
    "categories": [{"id": 90, "name": "nut", "supercategory": "part"}, {"id": 3, "name": "bolt"}]}"#;

#[test]
fn categories_are_classes_in_the_order_of_their_ids() {
    let coco = read_text(GOOD).unwrap();
    assert_eq!(coco.classes, ["bolt", "nut"]);
    assert!(coco.images[1].path.ends_with("sub/a.jpg") && coco.images[1].boxes.is_empty());
    assert_eq!((coco.images[0].boxes.len(), coco.crowds), (2, 2), "crowds are no boxes");
}

#[test]
fn pixels_become_fractions_cut_at_the_edge_also_for_a_smaller_copy() {
    let coco = read_text(GOOD).unwrap();
    for (width, height) in [(200, 100), (100, 50)] {
        let rows = coco.images[0].rows(width, height).unwrap();
        let expected = [Object { class: 1, cx: 0.5, cy: 0.5, w: 0.5, h: 0.5 }, Object { class: 0, cx: 0.875, cy: 0.05, w: 0.25, h: 0.1 }];
        assert_eq!((&rows.objects[..], rows.clipped), (&expected[..], 1));
    }
}

#[test]
fn annotations_of_a_turned_image_are_refused() {
    let coco = read_text(GOOD).unwrap();
    assert!(coco.images[0].rows(100, 200).unwrap_err().contains("turned"));
}

#[rstest]
#[case::category(r#""category_id": 9, "image_id": 1, "bbox": [0, 0, 1, 1]"#, "category_id 9 is out of range")]
#[case::image(r#""category_id": 1, "image_id": 9, "bbox": [0, 0, 1, 1]"#, "image_id 9")]
#[case::short(r#""category_id": 1, "image_id": 1, "bbox": [0, 0, 1]"#, "not [x, y, width, height]")]
#[case::long(r#""category_id": 1, "image_id": 1, "bbox": [0, 0, 1, 1, 1]"#, "not [x, y, width, height]")]
#[case::a_map(r#""category_id": 1, "image_id": 1, "bbox": {"x": 0}"#, "not [x, y, width, height]")]
#[case::no_box(r#""category_id": 1, "image_id": 1, "segmentation": [[0, 0, 1, 1]]"#, "no bbox")]
#[case::empty_box(r#""category_id": 1, "image_id": 1, "bbox": []"#, "no bbox")]
#[case::negative(r#""category_id": 1, "image_id": 1, "bbox": [0, 0, -1, 1]"#, "negative")]
#[case::huge(r#""category_id": 1, "image_id": 1, "bbox": [0, 0, 1e30, 1]"#, "in pixels")]
fn a_wrong_annotation_is_named_with_file_and_id(#[case] fields: &str, #[case] says: &str) {
    let json = format!(
        r#"{{"images": [{{"id": 1, "file_name": "a.jpg"}}], "categories": [{{"id": 1, "name": "a"}}], "annotations": [{{"id": 17, {fields}}}]}}"#
    );
    let coco = read_text(&json).unwrap();
    let text = coco.problems[0].to_string();
    assert!(coco.problem_count == 1 && text.contains("annotations.json: annotation 17: ") && text.contains(says), "{text}");
}

#[rstest]
#[case::not_coco("{\n\"images\": 3}", "annotations.json:2: not a COCO file")]
#[case::no_images(r#"{"categories": []}"#, "missing field `images`")]
#[case::no_categories(r#"{"images": [], "annotations": []}"#, "`categories`: no class names")]
#[case::category_twice(
    r#"{"images": [], "categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}"#,
    "category id 1 is given twice (a, b)"
)]
#[case::name_twice(r#"{"images": [], "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}]}"#, "already taken")]
#[case::image_twice(
    r#"{"images": [{"id": 1, "file_name": "a.jpg"}, {"id": 1, "file_name": "b.jpg"}], "categories": [{"id": 1, "name": "a"}]}"#,
    "image id 1 is given twice"
)]
#[case::file_twice(
    r#"{"images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "a.jpg"}], "categories": [{"id": 1, "name": "a"}]}"#,
    "a.jpg is listed twice"
)]
fn what_is_no_coco_file_is_named(#[case] json: &str, #[case] says: &str) {
    let error = read_text(json).unwrap_err().to_string();
    assert!(error.contains(says), "{error}");
}

#[test]
fn cocos_own_layout_is_found_with_its_sides_and_folders() {
    let dir = tempfile::tempdir().unwrap();
    let touch = |path: &str| {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, GOOD).unwrap();
    };
    for name in ["instances_train2017.json", "captions_train2017.json", "instances_test2017.json"] {
        touch(&format!("annotations/{name}"));
    }
    assert_eq!(find(dir.path()).iter().map(|part| part.side).collect::<Vec<_>>(), [None], "without val it is ours to split");
    touch("annotations/instances_val2017.json");
    touch("train2017/b.jpg");
    touch("images/val2017/b.jpg");
    let parts = find(dir.path());
    assert_eq!(parts.iter().map(|part| part.side).collect::<Vec<_>>(), [Some(Side::Train), Some(Side::Val)]);
    let path = |part: &Part| read(part, 100).unwrap().images.into_iter().find(|image| image.path.ends_with("b.jpg")).unwrap().path;
    assert_eq!(path(&parts[0]), dir.path().join("train2017/b.jpg"));
    assert_eq!(path(&parts[1]), dir.path().join("images/val2017/b.jpg"));
    assert!(matches!(read(&parts[0], 1), Err(DataError::TooManyImages { .. })));
}
