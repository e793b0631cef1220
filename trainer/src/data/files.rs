//! Finding image files, and reading small text files with a bound.

use super::error::{DataError, Problem};
use std::{
    collections::HashSet,
    fs,
    io::Read,
    path::{Path, PathBuf},
};

/// Folders within folders beyond this are a loop or a mistake.
const MAX_DEPTH: usize = 32;

/// All images under `root`, ordered by path. Hidden files and folders (`.staging`, `..data`, `.Trash`) are left out; links are followed.
pub fn images(root: &Path, limit: usize) -> Result<Vec<PathBuf>, DataError> {
    let mut found = Vec::new();
    walk(root, root, limit, 0, &mut HashSet::new(), &mut found)?;
    found.sort_unstable();
    Ok(found)
}

fn walk(
    root: &Path,
    dir: &Path,
    limit: usize,
    depth: usize,
    seen: &mut HashSet<PathBuf>,
    found: &mut Vec<PathBuf>,
) -> Result<(), DataError> {
    // A linked folder that leads back would be walked for ever, and its images counted twice.
    let real = fs::canonicalize(dir).map_err(|source| read_error(dir, source))?;
    if depth > MAX_DEPTH || !seen.insert(real) {
        return Ok(());
    }
    for entry in fs::read_dir(dir).map_err(|source| read_error(dir, source))? {
        let entry = entry.map_err(|source| read_error(dir, source))?;
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let path = entry.path();
        let kind = entry.file_type().map_err(|source| read_error(&path, source))?;
        let is_dir = if kind.is_symlink() { path.is_dir() } else { kind.is_dir() };
        if is_dir {
            walk(root, &path, limit, depth + 1, seen, found)?;
        } else if is_image(&path) {
            if found.len() >= limit {
                return Err(DataError::TooManyImages { dir: root.to_owned(), limit });
            }
            found.push(path);
        }
    }
    Ok(())
}

/// Whether the name says that a file is an image that we decode.
pub fn is_image(path: &Path) -> bool {
    path.extension().is_some_and(|extension| {
        ["jpg", "jpeg", "png", "bmp", "webp"].iter().any(|known| extension.as_encoded_bytes().eq_ignore_ascii_case(known.as_bytes()))
    })
}

/// The label file that belongs to an image by the ecosystem's convention: the last folder `images` of its path becomes `labels`.
pub fn label_path(image: &Path) -> Option<PathBuf> {
    let parts: Vec<_> = image.components().collect();
    let at = parts.iter().rposition(|part| part.as_os_str() == "images")?;
    let mut path: PathBuf = parts[..at].iter().collect();
    path.push("labels");
    path.extend(&parts[at + 1..]);
    path.set_extension("txt");
    Some(path)
}

/// Reads a text file of at most `limit` bytes; what is wrong is a [`Problem`] of the file.
pub fn read_text(path: &Path, limit: u64) -> Result<String, Problem> {
    let problem = |message: String| Problem { file: path.to_owned(), line: 0, message };
    let file = fs::File::open(path).map_err(|error| problem(format!("cannot be read: {error}")))?;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|error| problem(format!("cannot be read: {error}")))?;
    if bytes.len() as u64 > limit {
        return Err(problem(format!("larger than {} MB: not a file of this kind", limit >> 20)));
    }
    String::from_utf8(bytes).map_err(|error| Problem {
        line: 1 + error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|&&byte| byte == b'\n').count(),
        ..problem("not UTF-8 text: save it as UTF-8".to_owned())
    })
}

/// An I/O error with its path.
pub fn read_error(path: &Path, source: std::io::Error) -> DataError {
    DataError::Read { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn images_are_found_nested_and_ordered_and_hidden_ones_are_not() {
        let dir = tempfile::tempdir().unwrap();
        for path in ["b.JPG", "a/x.png", "a/deep/y.webp", "c.bmp", "d.jpeg", "notes.txt", ".hidden/z.jpg", ".half.jpg"] {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, b"").unwrap();
        }
        std::os::unix::fs::symlink(dir.path(), dir.path().join("a/loop")).unwrap();
        let found = images(dir.path(), 10).unwrap();
        let names: Vec<_> = found.iter().map(|path| path.strip_prefix(dir.path()).unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["a/deep/y.webp", "a/x.png", "b.JPG", "c.bmp", "d.jpeg"]);
        assert!(matches!(images(dir.path(), 4), Err(DataError::TooManyImages { limit: 4, .. })));
    }

    #[test]
    fn the_last_images_folder_becomes_labels() {
        let path = |text| Some(PathBuf::from(text));
        assert_eq!(label_path(Path::new("/images/set/images/train/a.b.jpg")), path("/images/set/labels/train/a.b.txt"));
        assert_eq!(label_path(Path::new("/data/pictures/a.jpg")), None);
    }

    #[test]
    fn text_that_is_not_utf8_is_named_with_its_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), b"good\nb\xffd\n").unwrap();
        assert_eq!(read_text(file.path(), 100).unwrap_err().line, 2);
        assert!(read_text(file.path(), 3).unwrap_err().message.contains("larger"));
    }
}
