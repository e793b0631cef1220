//! What can be wrong with a data set.

use std::{fmt, path::PathBuf};

/// Problems shown in one message; the rest is counted.
const SHOWN: usize = 10;

/// One thing that is wrong in a label file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The label file.
    pub file: PathBuf,
    /// Line, from 1; 0 when the whole file is meant.
    pub line: usize,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file.display(), self.message),
            line => write!(f, "{}:{line}: {}", self.file.display(), self.message),
        }
    }
}

/// A data set that cannot be trained on as it is.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A file or folder cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The folder holds no image.
    #[error("no images (jpg, jpeg, png, bmp, webp) in {}: put some there, or point IMAGES_DIR at the folder that has them", dir.display())]
    NoImages {
        /// The folder.
        dir: PathBuf,
    },
    /// More images than the limit.
    #[error("more than {limit} images in {}: use a smaller folder", dir.display())]
    TooManyImages {
        /// The folder.
        dir: PathBuf,
        /// The limit.
        limit: usize,
    },
    /// Too few of the labelled images can be decoded to train on them.
    #[error("{usable} of {total} images can be read, which is too few to train on; {}", list(examples, *total - *usable))]
    Unreadable {
        /// How many were tried.
        total: usize,
        /// How many of them can be decoded.
        usable: usize,
        /// The first ones that cannot, and why.
        examples: Vec<(PathBuf, String)>,
    },
    /// Label files with broken rows or classes that do not exist.
    #[error("{count} broken label rows; correct them and start again:{}", lines(problems, *count))]
    Labels {
        /// The first ones.
        problems: Vec<Problem>,
        /// How many there are.
        count: usize,
    },
    /// `data.yaml`, `classes.txt` or `annotations.json` cannot be understood.
    #[error("{0}")]
    Description(Problem),
    /// Everything fell on one side of the split that the user pinned.
    #[error("no {side} images: {message}")]
    EmptySide {
        /// `train` or `val`.
        side: &'static str,
        /// What to do.
        message: String,
    },
    /// Settings that make no sense.
    #[error("{0}")]
    Settings(String),
    /// Images that could be read when the folder was scanned are gone or broken now.
    #[error("{} images in a row cannot be read any more ({}: {message}): was the folder changed while it was trained on?", count, path.display())]
    Vanished {
        /// How many in a row.
        count: usize,
        /// The last of them.
        path: PathBuf,
        /// Why.
        message: String,
    },
    /// A loader thread ended in a panic: a defect of this program.
    #[error("a loader thread failed: {0}")]
    Worker(String),
}

impl DataError {
    /// The exit status of a trainer that stops on this error: 2 for bad input, 1 for a defect.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Worker(_) => 1,
            _ => 2,
        }
    }
}

fn list(examples: &[(PathBuf, String)], total: usize) -> String {
    let shown: Vec<String> = examples.iter().take(SHOWN).map(|(path, why)| format!("{}: {why}", path.display())).collect();
    let rest = total.saturating_sub(shown.len());
    if rest > 0 { format!("{}; and {rest} more", shown.join("; ")) } else { shown.join("; ") }
}

fn lines(problems: &[Problem], total: usize) -> String {
    let shown: String = problems.iter().take(SHOWN).map(|problem| format!("\n  {problem}")).collect();
    let rest = total.saturating_sub(problems.len().min(SHOWN));
    if rest > 0 { format!("{shown}\n  and {rest} more") } else { shown }
}
