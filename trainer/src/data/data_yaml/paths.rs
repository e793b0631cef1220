//! From the paths in a `data.yaml` to image files.

use super::problem_at;
use crate::data::{
    error::{DataError, Problem},
    files::{images, is_image, read_text},
};
use std::path::{Path, PathBuf};

/// More text than this is no list of images: 256 MiB hold about two million paths.
const MAX_LIST_BYTES: u64 = 256 << 20;

/// Where paths start from.
pub struct Paths<'a> {
    file: &'a Path,
    text: &'a str,
    root: PathBuf,
    max_images: usize,
}

impl<'a> Paths<'a> {
    /// `path:` is relative to the file. Exports are unpacked anywhere, so a `path:` that does not exist here is not believed.
    pub fn new(file: &'a Path, text: &'a str, path: Option<&str>, max_images: usize) -> Self {
        let here = file.parent().unwrap_or(Path::new("."));
        let root = path.map(|path| here.join(path)).filter(|path| path.is_dir()).unwrap_or_else(|| here.to_owned());
        Self { file, text, root, max_images }
    }

    /// The images of one side, ordered by path, each once.
    pub fn images(&self, key: &str, entries: &[String]) -> Result<Vec<PathBuf>, DataError> {
        let mut found = Vec::new();
        for entry in entries {
            let path = self.locate(entry).ok_or_else(|| {
                let message = format!("`{entry}` is not there (looked in {}): correct `path:` or `{key}:`", self.root.display());
                problem_at(self.file, self.text, key, message)
            })?;
            if path.is_dir() {
                found.extend(images(&path, self.max_images)?);
            } else if is_image(&path) {
                found.push(path);
            } else {
                found.extend(self.list(&path)?);
            }
            if found.len() > self.max_images {
                return Err(DataError::TooManyImages { dir: self.root.clone(), limit: self.max_images });
            }
        }
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    fn locate(&self, entry: &str) -> Option<PathBuf> {
        let path = self.root.join(entry);
        // Some exports write `../train/images` for a folder beside the file.
        let beside = entry.strip_prefix("../").map(|rest| self.root.join(rest));
        [Some(path), beside].into_iter().flatten().find(|path| path.exists())
    }

    /// A text file with a path a line, `./` meaning beside the list. Images that are not there are left in, so that the scan counts them as skipped.
    fn list(&self, file: &Path) -> Result<Vec<PathBuf>, DataError> {
        let text = read_text(file, MAX_LIST_BYTES).map_err(DataError::Description)?;
        let beside = file.parent().unwrap_or(Path::new("."));
        let mut found = Vec::new();
        for (at, line) in text.trim_start_matches('\u{feff}').lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
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
