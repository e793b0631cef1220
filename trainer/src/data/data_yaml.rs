//! `data.yaml`, the ultralytics layout: where train and val are, and what the classes are called.

use super::{
    error::{DataError, Problem},
    files::{images, is_image, read_text},
};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// More text than this is no `data.yaml`, and no list of images: 256 MiB hold about two million paths.
const MAX_BYTES: u64 = 256 << 20;

/// What the file says.
#[derive(Debug, PartialEq, Eq)]
pub struct DataYaml {
    /// Class names by number.
    pub classes: Vec<String>,
    /// Train images, ordered by path.
    pub train: Vec<PathBuf>,
    /// Val images, ordered by path; `None` when the file names none.
    pub val: Option<Vec<PathBuf>>,
}

/// Reads `data.yaml` (or `data.yml`) and lists the images that it names.
///
/// # Errors
/// [`DataError::Description`] with file and line for what cannot be understood, [`DataError::Read`] for folders that are not there.
pub fn read(file: &Path, max_images: usize) -> Result<DataYaml, DataError> {
    let text = read_text(file, MAX_BYTES).map_err(DataError::Description)?;
    // Otherwise a class called `no` would be called `false`.
    let options = serde_saphyr::options! { strict_booleans: true };
    let yaml: Value = serde_saphyr::from_str_with_options(&text, options).map_err(|error| {
        let line = error.location().map_or(0, |location| location.line() as usize);
        let words = error.without_snippet().to_string();
        DataError::Description(Problem { file: file.to_owned(), line, message: format!("not YAML: {words}") })
    })?;
    let parser = Parser { file, text: &text, root: root(file, &yaml), max_images };
    let classes = parser.classes(&yaml)?;
    let train = parser
        .side(&yaml, "train")?
        .ok_or_else(|| parser.problem("train", "`train:` is missing: name a folder, or a .txt list of images"))?;
    let val = parser.side(&yaml, "val")?;
    Ok(DataYaml { classes, train, val })
}

/// `path:` is relative to the file. Exports are unpacked anywhere, so a `path:` that does not exist here is not believed.
fn root(file: &Path, yaml: &Value) -> PathBuf {
    let here = file.parent().unwrap_or(Path::new("."));
    let named = yaml.get("path").and_then(Value::as_str).map(|path| here.join(path));
    named.filter(|path| path.is_dir()).unwrap_or_else(|| here.to_owned())
}

struct Parser<'a> {
    file: &'a Path,
    text: &'a str,
    root: PathBuf,
    max_images: usize,
}

impl Parser<'_> {
    /// A problem at the line that starts with `key:`.
    fn problem(&self, key: &str, message: impl Into<String>) -> DataError {
        let starts = |line: &str| line.strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with(':'));
        let line = self.text.lines().position(starts).map_or(0, |at| at + 1);
        DataError::Description(Problem { file: self.file.to_owned(), line, message: message.into() })
    }

    fn classes(&self, yaml: &Value) -> Result<Vec<String>, DataError> {
        let wrong = |message: String| self.problem("names", message);
        let names: Vec<String> = match (yaml.get("names"), yaml.get("nc").and_then(Value::as_u64)) {
            (Some(Value::Array(names)), _) => {
                names.iter().map(word).collect::<Option<_>>().ok_or_else(|| wrong("a class name is not a word".to_owned()))?
            }
            (Some(Value::Object(names)), _) => {
                let mut numbered = Vec::with_capacity(names.len());
                for (number, name) in names {
                    let number: usize = number.parse().map_err(|_| wrong(format!("`{number}` is not a class number")))?;
                    numbered.push((number, word(name).ok_or_else(|| wrong(format!("the name of class {number} is not a word")))?));
                }
                numbered.sort();
                if let Some((at, _)) = numbered.iter().enumerate().find(|(at, (number, _))| at != number) {
                    return Err(wrong(format!("class {at} has no name: number the {} classes from 0 without a gap", numbered.len())));
                }
                numbered.into_iter().map(|(_, name)| name).collect()
            }
            (None | Some(Value::Null), Some(count)) if count <= super::names::MAX_CLASSES as u64 => super::names::numbered(count as usize),
            _ => return Err(wrong("`names:` is missing: list the class names, or map class numbers to names".to_owned())),
        };
        if let Some(count) = yaml.get("nc").and_then(Value::as_u64).filter(|&count| count != names.len() as u64) {
            return Err(self.problem("nc", format!("`nc` is {count}, but {} classes have names", names.len())));
        }
        super::names::check(&names).map_err(wrong)?;
        Ok(names)
    }

    fn side(&self, yaml: &Value, key: &str) -> Result<Option<Vec<PathBuf>>, DataError> {
        let entries: Vec<&str> = match yaml.get(key) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::String(entry)) => vec![entry],
            Some(Value::Array(entries)) => {
                let entries: Option<_> = entries.iter().map(Value::as_str).collect();
                entries.ok_or_else(|| self.problem(key, format!("`{key}:` must be a path or a list of paths")))?
            }
            Some(_) => return Err(self.problem(key, format!("`{key}:` must be a path or a list of paths"))),
        };
        let mut found = Vec::new();
        for entry in entries {
            let path = self.locate(entry).ok_or_else(|| {
                self.problem(key, format!("`{entry}` is not there (looked in {}): correct `path:` or `{key}:`", self.root.display()))
            })?;
            found.extend(if path.is_dir() { images(&path, self.max_images)? } else { self.list(&path)? });
            if found.len() > self.max_images {
                return Err(DataError::TooManyImages { dir: self.root.clone(), limit: self.max_images });
            }
        }
        found.sort_unstable();
        found.dedup();
        Ok(Some(found))
    }

    fn locate(&self, entry: &str) -> Option<PathBuf> {
        let path = self.root.join(entry);
        // Some exports write `../train/images` for a folder beside the file.
        let beside = entry.strip_prefix("../").map(|rest| self.root.join(rest));
        [Some(path), beside].into_iter().flatten().find(|path| path.exists())
    }

    /// A text file with a path a line, `./` meaning beside the list. Images that are not there are left in, so that the scan counts them as skipped.
    fn list(&self, file: &Path) -> Result<Vec<PathBuf>, DataError> {
        let text = read_text(file, MAX_BYTES).map_err(DataError::Description)?;
        let beside = file.parent().unwrap_or(Path::new("."));
        let mut found = Vec::new();
        for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let entry = Path::new(line.trim());
            if !is_image(entry) {
                let message = "not the path of a jpg, png, bmp or webp image".to_owned();
                return Err(DataError::Description(Problem { file: file.to_owned(), line: at + 1, message }));
            }
            let near = beside.join(entry);
            let far = self.root.join(entry);
            found.push(if !near.exists() && far.exists() { far } else { near });
        }
        Ok(found)
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
