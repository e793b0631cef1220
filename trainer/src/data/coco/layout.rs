//! Where annotation files lie, and where the images are that they name.

use crate::data::Side;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// One annotations file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The JSON file.
    pub file: PathBuf,
    /// Whose images it names; `None` when nobody says.
    pub side: Option<Side>,
    /// Folders that a `file_name` may be relative to, the likeliest first.
    pub folders: Vec<PathBuf>,
}

/// Names that tools give the one file of a folder.
const NAMES: [&str; 2] = ["annotations.json", "_annotations.coco.json"];

/// The files of a data set, first that exists:
/// one `annotations.json` · `train/` and `val/` (or `valid/`) with one each · COCO's own layout,
/// `annotations/instances_train*.json` and `instances_val*.json` beside folders of images of the same names.
pub fn find(dir: &Path) -> Vec<Part> {
    let one = |dir: &Path| NAMES.map(|name| dir.join(name)).into_iter().find(|file| file.is_file());
    if let Some(file) = one(dir) {
        return vec![find_file(&file)];
    }
    let val = ["val", "valid"].iter().find_map(|name| one(&dir.join(name)));
    if let (Some(train), Some(val)) = (one(&dir.join("train")), val) {
        let part = |file: PathBuf, side| Part { side: Some(side), ..find_file(&file) };
        return vec![part(train, Side::Train), part(val, Side::Val)];
    }
    annotations(dir)
}

/// One file by its path, with the images beside it.
pub fn find_file(file: &Path) -> Part {
    let dir = file.parent().unwrap_or(Path::new(".")).to_owned();
    let mut folders = vec![dir.clone(), dir.join("images")];
    // `annotations/x.json`: the images are beside the folder.
    if dir.file_name().is_some_and(|name| name == "annotations")
        && let Some(above) = dir.parent()
    {
        folders.extend([above.to_owned(), above.join("images")]);
    }
    Part { file: file.to_owned(), side: None, folders }
}

fn annotations(dir: &Path) -> Vec<Part> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir.join("annotations")).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    files.sort_unstable();
    let mut parts: Vec<Part> = files.into_iter().filter_map(|file| part(dir, file)).collect();
    // Without a val file it is ours to split.
    if !parts.iter().any(|part| part.side == Some(Side::Val)) || !parts.iter().any(|part| part.side == Some(Side::Train)) {
        parts.iter_mut().for_each(|part| part.side = None);
    }
    parts
}

fn part(dir: &Path, file: PathBuf) -> Option<Part> {
    let split = file.file_name()?.to_str()?.strip_suffix(".json")?.strip_prefix("instances_")?.to_owned();
    let side = match &split {
        split if split.starts_with("train") => Some(Side::Train),
        split if split.starts_with("val") => Some(Side::Val),
        // What one labelling tool calls a set that nobody has divided.
        split if split == "default" => None,
        _ => return None,
    };
    let folders = vec![dir.join(&split), dir.join("images").join(&split), dir.to_owned(), dir.join("images")];
    Some(Part { file, side, folders })
}

impl Part {
    /// Where the image of this name is; where it should be when it is nowhere. `last` is the folder that had the one before:
    /// with 100,000 images it is looked into first.
    pub fn locate(&self, name: &str, last: &mut usize) -> PathBuf {
        let at = |index: usize| self.folders.get(index).map(|folder| folder.join(name));
        let order = std::iter::once(*last).chain(0..self.folders.len());
        for index in order {
            if let Some(path) = at(index).filter(|path| path.exists()) {
                *last = index;
                return path;
            }
        }
        at(0).unwrap_or_else(|| PathBuf::from(name))
    }
}
