//! `data.yaml`, the ultralytics layout: where train and val are, and what the classes are called.
//!
//! `path:` is the root (relative to the file), `train:` and `val:` are each a folder, a list of images (`.txt`) or a list of
//! those; `names:` is a list or a map from numbers, `nc:` their count. `test:` is left alone, and `download:` is never run.

mod paths;

use super::{
    error::{DataError, Problem},
    files::read_text,
};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// More text than this is no `data.yaml`: ten thousand names have half a megabyte.
const MAX_BYTES: u64 = 16 << 20;

/// What the file says, and the images that it names.
#[derive(Debug, PartialEq, Eq)]
pub struct DataYaml {
    /// Class names by number.
    pub classes: Vec<String>,
    /// Numbers of a label row after its box (`kpt_shape`).
    pub keypoints: usize,
    /// Train images, ordered by path.
    pub train: Vec<PathBuf>,
    /// Val images, ordered by path; `None` when the file names none.
    pub val: Option<Vec<PathBuf>>,
    /// Things that somebody should know.
    pub notes: Vec<String>,
}

/// What the file says.
#[derive(Debug, PartialEq, Eq)]
pub struct Text {
    classes: Vec<String>,
    keypoints: usize,
    root: Option<String>,
    train: Vec<String>,
    val: Option<Vec<String>>,
    notes: Vec<String>,
}

/// Reads `data.yaml` (or `data.yml`) and lists the images that it names.
///
/// # Errors
/// [`DataError::Description`] with file and line for what cannot be understood, [`DataError::Read`] for folders that are not there.
pub fn read(file: &Path, max_images: usize) -> Result<DataYaml, DataError> {
    let text = read_text(file, MAX_BYTES).map_err(DataError::Description)?;
    let Text { classes, keypoints, root, train, val, notes } = parse(file, &text)?;
    let paths = paths::Paths::new(file, &text, root.as_deref(), max_images);
    let train = paths.images("train", &train)?;
    let val = val.map(|val| paths.images("val", &val)).transpose()?;
    Ok(DataYaml { classes, keypoints, train, val, notes })
}

/// Understands the text, and looks at no other file.
pub fn parse(file: &Path, text: &str) -> Result<Text, DataError> {
    // Otherwise a class called `no` would be called `false`.
    let options = serde_saphyr::options! { strict_booleans: true };
    let yaml: Value = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let line = error.location().map_or(0, |location| location.line() as usize);
        let words = error.without_snippet().to_string();
        DataError::Description(Problem { file: file.to_owned(), line, message: format!("not YAML: {words}") })
    })?;
    let parser = Parser { file, text, yaml: &yaml };
    let train =
        parser.side(&["train"])?.ok_or_else(|| parser.problem("train", "`train:` is missing: name a folder, or a .txt list of images"))?;
    let mut notes = Vec::new();
    if yaml.get("download").is_some_and(|value| !value.is_null()) {
        notes.push("data.yaml has a `download:`, which is not run: put the images where it would have put them".to_owned());
    }
    Ok(Text {
        classes: parser.classes()?,
        keypoints: parser.keypoints()?,
        root: parser.root()?,
        train,
        val: parser.side(&["val", "validation"])?,
        notes,
    })
}

/// A problem at the line that starts with `key:`.
fn problem_at(file: &Path, text: &str, key: &str, message: impl Into<String>) -> DataError {
    let starts = |line: &str| line.strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with(':'));
    let line = text.lines().position(starts).map_or(0, |at| at + 1);
    DataError::Description(Problem { file: file.to_owned(), line, message: message.into() })
}

struct Parser<'a> {
    file: &'a Path,
    text: &'a str,
    yaml: &'a Value,
}

impl Parser<'_> {
    fn problem(&self, key: &str, message: impl Into<String>) -> DataError {
        problem_at(self.file, self.text, key, message)
    }

    fn root(&self) -> Result<Option<String>, DataError> {
        match self.yaml.get("path") {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(path)) => Ok(Some(path.clone())),
            Some(_) => Err(self.problem("path", "`path:` must be a folder")),
        }
    }

    fn classes(&self) -> Result<Vec<String>, DataError> {
        let wrong = |message: String| self.problem("names", message);
        let count = match self.yaml.get("nc") {
            None | Some(Value::Null) => None,
            Some(count) => Some(count.as_u64().ok_or_else(|| self.problem("nc", "`nc:` must be the number of classes"))?),
        };
        let names: Vec<String> = match (self.yaml.get("names"), count) {
            (Some(Value::Array(names)), _) => {
                names.iter().map(word).collect::<Option<_>>().ok_or_else(|| wrong("a class name is not a word".to_owned()))?
            }
            (Some(Value::Object(names)), _) => self.numbered(names)?,
            (None | Some(Value::Null), Some(count)) if count <= super::names::MAX_CLASSES as u64 => super::names::numbered(count as usize),
            _ => return Err(wrong("`names:` is missing: list the class names, or map class numbers to names".to_owned())),
        };
        if let Some(count) = count.filter(|&count| count != names.len() as u64) {
            return Err(self.problem("nc", format!("`nc` is {count}, but {} classes have names", names.len())));
        }
        super::names::check(&names).map_err(wrong)?;
        Ok(names)
    }

    fn numbered(&self, names: &serde_json::Map<String, Value>) -> Result<Vec<String>, DataError> {
        let wrong = |message: String| self.problem("names", message);
        let mut numbered = Vec::with_capacity(names.len());
        for (number, name) in names {
            let number: usize = number.parse().map_err(|_| wrong(format!("`{number}` is not a class number")))?;
            numbered.push((number, word(name).ok_or_else(|| wrong(format!("the name of class {number} is not a word")))?));
        }
        numbered.sort();
        if let Some((at, _)) = numbered.iter().enumerate().find(|(at, (number, _))| at != number) {
            return Err(wrong(format!("class {at} has no name: number the {} classes from 0 without a gap", numbered.len())));
        }
        Ok(numbered.into_iter().map(|(_, name)| name).collect())
    }

    /// `kpt_shape: [points, 2 or 3]`: rows of pose data sets go on after the box.
    fn keypoints(&self) -> Result<usize, DataError> {
        let Some(shape) = self.yaml.get("kpt_shape").filter(|shape| !shape.is_null()) else { return Ok(0) };
        let numbers: Option<Vec<u64>> = shape.as_array().and_then(|shape| shape.iter().map(Value::as_u64).collect());
        match numbers.as_deref() {
            Some(&[points @ 1..=1000, values @ 2..=3]) => Ok((points * values) as usize),
            _ => Err(self.problem("kpt_shape", "`kpt_shape:` must be [number of points, 2 or 3]")),
        }
    }

    /// The paths of one side, under the first of its names that is there.
    fn side(&self, keys: &[&str]) -> Result<Option<Vec<String>>, DataError> {
        let found = keys.iter().find_map(|key| self.yaml.get(*key).filter(|value| !value.is_null()).map(|value| (*key, value)));
        let Some((key, value)) = found else { return Ok(None) };
        let entries = match value {
            Value::String(entry) => Some(vec![entry.clone()]),
            Value::Array(entries) => entries.iter().map(|entry| entry.as_str().map(str::to_owned)).collect(),
            _ => None,
        };
        let entries = entries.filter(|entries: &Vec<String>| !entries.is_empty());
        entries.map(Some).ok_or_else(|| self.problem(key, format!("`{key}:` must be a path or a list of paths")))
    }
}

/// A scalar as a class name: YAML reads an unquoted `1` as a number and `true` as a truth value.
fn word(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
