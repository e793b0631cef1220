//! COCO files as tools write them, and broken ones.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use crate::data::Object;
use rstest::rstest;

fn read_text(json: &str) -> Result<Coco, DataError> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("annotations.json");
    fs::write(&file, json).unwrap();
    read(&file)
}

const GOOD: &str = r#"{"info": {}, "licenses": [],
    "images": [{"id": 7, "file_name": "b.jpg", "width": 200, "height": 100, "license": 1}, {"id": 2, "file_name": "a.jpg"}],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 90, "bbox": [50, 25, 100, 50], "area": 5000, "iscrowd": 0, "segmentation": []},
        {"id": 2, "image_id": 7, "category_id": 3, "bbox": [150.0, 0, 100, 10]},
        {"id": 3, "image_id": 7, "category_id": 3, "bbox": [0, 0, 200, 100], "iscrowd": 1}],
    "categories": [{"id": 90, "name": "nut", "supercategory": "part"}, {"id": 3, "name": "bolt"}]}"#;

#[test]
fn categories_are_classes_in_the_order_of_their_ids() {
    let coco = read_text(GOOD).unwrap();
    assert_eq!(coco.classes, ["bolt", "nut"]);
    assert!(coco.images[0].path.ends_with("a.jpg") && coco.images[0].boxes.is_empty());
    assert_eq!(coco.images[1].boxes.len(), 2, "the crowd is no box");
}

#[test]
fn pixels_become_fractions_cut_at_the_edge_also_for_a_smaller_copy() {
    let coco = read_text(GOOD).unwrap();
    let classes = HashMap::from([("bolt", 0), ("nut", 1)]);
    for (width, height) in [(200, 100), (100, 50)] {
        let rows = coco.images[1].rows(&classes, width, height).unwrap();
        let expected = [Object { class: 1, cx: 0.5, cy: 0.5, w: 0.5, h: 0.5 }, Object { class: 0, cx: 0.875, cy: 0.05, w: 0.25, h: 0.1 }];
        assert_eq!((&rows.objects[..], rows.clipped), (&expected[..], 1));
    }
}

#[test]
fn annotations_of_a_turned_image_are_refused() {
    let coco = read_text(GOOD).unwrap();
    assert!(coco.images[1].rows(&HashMap::new(), 100, 200).unwrap_err().contains("turned"));
}

#[rstest]
#[case::category(r#""category_id": 9, "image_id": 1, "bbox": [0, 0, 1, 1]"#, "category_id 9 is out of range")]
#[case::image(r#""category_id": 1, "image_id": 9, "bbox": [0, 0, 1, 1]"#, "image_id 9")]
#[case::short(r#""category_id": 1, "image_id": 1, "bbox": [0, 0, 1]"#, "not [x, y, width, height]")]
#[case::negative(r#""category_id": 1, "image_id": 1, "bbox": [0, 0, -1, 1]"#, "negative")]
fn a_wrong_annotation_is_named_with_file_and_id(#[case] fields: &str, #[case] says: &str) {
    let json = format!(
        r#"{{"images": [{{"id": 1, "file_name": "a.jpg"}}], "categories": [{{"id": 1, "name": "a"}}], "annotations": [{{"id": 17, {fields}}}]}}"#
    );
    let error = read_text(&json).unwrap_err().to_string();
    assert!(error.contains("annotations.json: annotation 17: ") && error.contains(says), "{error}");
}

#[test]
fn what_is_no_coco_file_is_named_with_its_line() {
    assert!(read_text("{\n\"images\": 3}").unwrap_err().to_string().contains("annotations.json:2: not a COCO file"));
    assert!(read_text(r#"{"images": [], "categories": []}"#).unwrap_err().to_string().contains("no class names"));
}
