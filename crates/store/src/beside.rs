//! What the JSON beside a weights file says about it: a version's metadata, the pointer's beside `latest.pt`, or the few lines
//! that `edgeloop-trainer import` writes. A `.pt` by itself is tensors only; the names of its classes are here.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::layout::POINTER;
use crate::{Architecture, FileEntry, FileKind, StoreError, files};

/// The part of a metadata file that belongs to the weights alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beside {
    /// The network.
    pub architecture: Architecture,
    /// Class names by index.
    pub classes: Vec<String>,
    /// The files that this is about.
    pub files: Vec<FileEntry>,
}

impl Beside {
    /// Where the description of weights at this path is: the same name with `.json`, but for `latest.pt` the pointer.
    #[must_use]
    pub fn path(weights: &Path) -> PathBuf {
        if weights.file_name().is_some_and(|name| name == "latest.pt") {
            weights.with_file_name(POINTER)
        } else {
            weights.with_extension("json")
        }
    }

    /// Reads the description of the weights at this path, which have this SHA-256. `None` where there is none, or where it
    /// describes other bytes: names of another model are worse than none.
    ///
    /// # Errors
    /// [`StoreError::Io`] when a file that is there cannot be read, [`StoreError::BadFile`] when it is no description.
    pub fn read(weights: &Path, sha256: &str) -> Result<Option<Self>, StoreError> {
        let found: Option<Self> = files::read_json(&Self::path(weights))?;
        Ok(found.filter(|beside| beside.files.iter().any(|file| file.kind == FileKind::Weights && file.sha256 == sha256)))
    }

    /// Describes weights of which these are the bytes and writes that beside them, replacing what is there.
    /// Not for a store's own files: its pointer is moved by the store alone.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn write(weights: &Path, bytes: &[u8], architecture: Architecture, classes: Vec<String>) -> Result<PathBuf, StoreError> {
        let name = weights.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let file = FileEntry { kind: FileKind::Weights, name, bytes: bytes.len() as u64, sha256: files::sha256(bytes) };
        let path = weights.with_extension("json");
        let staged = path.with_extension("json.part");
        files::replace(&staged, &path, &files::to_json(&Self { architecture, classes, files: vec![file] }))?;
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_description_is_of_the_bytes_it_was_written_for() {
        let dir = tempfile::tempdir().unwrap();
        let weights = dir.path().join("mine.pt");
        let architecture = Architecture { family: "yolov8".to_owned(), scale: "n".to_owned() };
        assert_eq!(Beside::read(&weights, &files::sha256(b"a")).unwrap(), None);
        let path = Beside::write(&weights, b"a", architecture, vec!["bolt".to_owned()]).unwrap();
        assert_eq!(path, dir.path().join("mine.json"));
        assert_eq!(Beside::read(&weights, &files::sha256(b"a")).unwrap().unwrap().classes, ["bolt"]);
        assert_eq!(Beside::read(&weights, &files::sha256(b"b")).unwrap(), None);
        std::fs::write(&path, "[").unwrap();
        assert!(matches!(Beside::read(&weights, ""), Err(StoreError::BadFile { .. })));
    }

    #[test]
    fn beside_the_promoted_weights_is_the_pointer() {
        assert_eq!(Beside::path(Path::new("/models/latest.pt")), Path::new("/models/latest_metadata.json"));
        assert_eq!(Beside::path(Path::new("model_20260101_000000.pt")), Path::new("model_20260101_000000.json"));
    }
}
