//! Class names: `classes.txt`, and what every list of names must be.

use super::{
    error::{DataError, Problem},
    files::read_text,
};
use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

/// One name a line; the line is the class number.
pub const FILE: &str = "classes.txt";

/// More classes than this are a mistake: the largest public detection sets have about 1,200.
pub const MAX_CLASSES: usize = 10_000;

const MAX_BYTES: u64 = 4 << 20;

/// Reads `classes.txt` from the images folder, or from where labelling tools put it: among the labels, or above both.
///
/// # Errors
/// [`DataError::Description`] for a list with gaps or repetitions.
pub fn read(dir: &Path) -> Result<Option<Vec<String>>, DataError> {
    let mut places: Vec<PathBuf> = vec![dir.to_owned(), dir.join("labels")];
    if dir.file_name().is_some_and(|name| name == "images")
        && let Some(above) = dir.parent()
    {
        places.extend([above.join("labels"), above.to_owned()]);
    }
    let Some(file) = places.into_iter().map(|place| place.join(FILE)).find(|file| file.is_file()) else { return Ok(None) };
    let text = read_text(&file, MAX_BYTES).map_err(DataError::Description)?;
    let names: Vec<String> = text.trim_start_matches('\u{feff}').trim_end().lines().map(|line| line.trim().to_owned()).collect();
    let names = if names == [""] { Vec::new() } else { names };
    let line = names.iter().position(String::is_empty).map_or(0, |at| at + 1);
    check(&names).map_err(|message| DataError::Description(Problem { file, line, message }))?;
    Ok(Some(names))
}

/// What every list of class names must be: not empty, no name empty or given twice (classes are matched by name from one
/// training to the next), no line breaks.
pub fn check(names: &[String]) -> Result<(), String> {
    if names.is_empty() {
        return Err("no class names: write one a line".to_owned());
    }
    if names.len() > MAX_CLASSES {
        return Err(format!("{} classes; at most {MAX_CLASSES} can be trained", names.len()));
    }
    let mut seen = HashSet::new();
    for (number, name) in names.iter().enumerate() {
        if name.trim().is_empty() {
            return Err(format!("class {number} has an empty name: every class needs one, or all numbers after it shift"));
        }
        if name.chars().any(char::is_control) {
            return Err(format!("the name of class {number} has control characters: {name:?}"));
        }
        if !seen.insert(name) {
            return Err(format!("class {number} has a name that is already taken: {name}"));
        }
    }
    Ok(())
}

/// Names where nobody gives any.
pub fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("class{number}")).collect()
}
