//! Layouts that the ecosystem's tools write.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use rstest::rstest;
use std::fs;
use tempfile::TempDir;

fn folder(files: &[&str], yaml: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for file in files {
        let path = dir.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"").unwrap();
    }
    fs::write(dir.path().join("data.yaml"), yaml).unwrap();
    dir
}

fn read_in(dir: &TempDir) -> Result<DataYaml, DataError> {
    read(&dir.path().join("data.yaml"), 100)
}

fn below(dir: &TempDir, paths: &[PathBuf]) -> Vec<String> {
    paths.iter().map(|path| path.strip_prefix(dir.path()).unwrap().to_str().unwrap().replace("./", "")).collect()
}

const FILES: [&str; 3] = ["images/train/a.jpg", "images/train/b.png", "images/val/c.jpg"];

#[test]
fn folders_and_a_map_of_names() {
    let dir = folder(
        &FILES,
        "path: .\ntrain: images/train\nval: images/val\ntest:\nnames:\n  1: nut\n  0: bolt\ndownload: nothing of this is run\n",
    );
    let yaml = read_in(&dir).unwrap();
    assert_eq!(yaml.classes, ["bolt", "nut"]);
    assert_eq!(below(&dir, &yaml.train), FILES[..2]);
    assert_eq!(below(&dir, &yaml.val.unwrap()), FILES[2..]);
    assert!(yaml.notes[0].contains("not run"), "{:?}", yaml.notes);
}

#[test]
fn a_path_from_another_machine_is_not_believed() {
    let dir = folder(&FILES, "path: /home/somebody/sets/bolts\ntrain: ../images/train\nval: images/val\nnc: 2\nnames: [bolt, no]\n");
    let yaml = read_in(&dir).unwrap();
    assert_eq!(yaml.classes, ["bolt", "no"]);
    assert_eq!(yaml.train.len(), 2);
}

#[test]
fn lists_of_images_and_lists_of_lists() {
    let dir = folder(&FILES, "train: [lists/a.txt, images/val]\nval: lists/b.txt\nnames: [1, 2]\n");
    fs::create_dir_all(dir.path().join("lists")).unwrap();
    fs::write(dir.path().join("lists/a.txt"), "images/train/a.jpg\n\n").unwrap();
    fs::write(dir.path().join("lists/b.txt"), "../images/train/b.png\nimages/gone.jpg\n").unwrap();
    let yaml = read_in(&dir).unwrap();
    assert_eq!(yaml.classes, ["1", "2"]);
    assert_eq!(below(&dir, &yaml.train), ["images/train/a.jpg", "images/val/c.jpg"]);
    let val = yaml.val.unwrap();
    assert!(val.len() == 2 && val.iter().any(|path| path.ends_with("gone.jpg")), "images that are gone are for the scan to count");
}

#[test]
fn without_val_and_names_but_a_number_of_classes() {
    let yaml = read_in(&folder(&FILES, "train: images\nnc: 2\n")).unwrap();
    assert_eq!((yaml.classes, yaml.train.len(), yaml.val), (vec!["class0".to_owned(), "class1".to_owned()], 3, None));
    assert_eq!((yaml.keypoints, yaml.notes.len()), (0, 0));
}

#[test]
fn a_root_in_a_folder_lists_of_folders_and_keypoints() {
    let files = ["set/a/images/1.jpg", "set/b/images/2.jpg", "set/c/3.png", "other/4.png"];
    let yaml = "path: set\ntrain:\n  - a/images\n  - b/images\nvalidation: [c/3.png]\ntest: nowhere\nkpt_shape: [17, 3]\nnames: {0: a}\n";
    let dir = folder(&files, yaml);
    let yaml = read_in(&dir).unwrap();
    assert_eq!(below(&dir, &yaml.train), files[..2]);
    assert_eq!(below(&dir, &yaml.val.unwrap()), files[2..3]);
    assert_eq!(yaml.keypoints, 51);
}

#[rstest]
#[case::no_train("names: [a]\n", 0, "`train:` is missing")]
#[case::no_names("train: images\n", 0, "`names:` is missing")]
#[case::gap("train: images\nnames: {0: a, 2: b}\n", 2, "class 1 has no name")]
#[case::not_a_number("train: images\nnames: {a: b}\n", 2, "`a` is not a class number")]
#[case::twice("train: images\nnames: [a, a]\n", 2, "already taken")]
#[case::count("train: images\nnc: 3\nnames: [a]\n", 2, "`nc` is 3")]
#[case::gone("names: [a]\ntrain: pictures\n", 2, "`pictures` is not there")]
#[case::number("names: [a]\ntrain: 7\n", 2, "must be a path")]
#[case::empty_list("names: [a]\ntrain: []\n", 2, "must be a path")]
#[case::count_in_words("nc: two\ntrain: images\n", 1, "number of classes")]
#[case::path_is_a_list("train: images\nnames: [a]\npath: [a]\n", 3, "must be a folder")]
#[case::keypoints("train: images\nnames: [a]\nkpt_shape: 17\n", 3, "`kpt_shape:` must be")]
#[case::syntax("names: [a]\ntrain: images\n: : {\n", 3, "not YAML")]
fn what_is_wrong_is_named_with_its_line(#[case] yaml: &str, #[case] line: usize, #[case] says: &str) {
    let error = read_in(&folder(&FILES, yaml)).unwrap_err();
    let DataError::Description(problem) = error else { panic!("{error}") };
    assert!(problem.line == line && problem.message.contains(says), "{problem}");
}

#[test]
fn a_line_of_a_list_that_is_no_image_is_named() {
    let dir = folder(&FILES, "train: list.txt\nnames: [a]\n");
    fs::write(dir.path().join("list.txt"), "images/train/a.jpg\nhello\n").unwrap();
    assert!(read_in(&dir).unwrap_err().to_string().contains("list.txt:2: not the path"));
}
