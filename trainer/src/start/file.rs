//! A file of weights that somebody brings, and what its classes are called.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use clap::Args;
use edgeloop_model::{
    Scale,
    import::{self, ImportError, Imported, problem_with},
};
use edgeloop_store::{Beside, StoreError};
use sha2::{Digest, Sha256};

use crate::{data::names, digest::hex};

/// Weights that somebody brings.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Weights of one's own")]
pub struct Init {
    /// Start from these weights instead of the promoted model: a checkpoint or state dict (.pt), or .safetensors, of the same
    /// SCALE. Nothing in the file is executed.
    #[arg(long, env = "INIT_WEIGHTS")]
    pub init_weights: Option<PathBuf>,
    /// Names of the classes of INIT_WEIGHTS in their order, as `bolt,nut` or a file with one a line; by default those that the
    /// file has. Classes are taken over by name.
    #[arg(long, env = "INIT_CLASSES", requires = "init_weights")]
    pub init_classes: Option<String>,
}

/// Weights that cannot be started from.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The file cannot be read.
    #[error("cannot read the weights {}: {why}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        why: io::Error,
    },
    /// The file is not usable.
    #[error("the weights {} are not usable: {why}", path.display())]
    Import {
        /// The file.
        path: PathBuf,
        /// Why.
        why: ImportError,
    },
    /// Names that cannot be those of its classes.
    #[error("the class names for {} are not usable: {why}", path.display())]
    Names {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// What is written beside the file cannot be read.
    #[error(transparent)]
    Beside(#[from] StoreError),
    /// Weights of another size.
    #[error("the weights {} are those of a yolov8{found}, and a yolov8{asked} is asked for: set SCALE={found}", path.display())]
    Scale {
        /// The file.
        path: PathBuf,
        /// Its scale.
        found: Scale,
        /// The one asked for.
        asked: Scale,
    },
}

/// A file that was read.
#[derive(Debug)]
pub struct Brought {
    /// Where it is.
    pub path: PathBuf,
    /// What is in it.
    pub imported: Imported,
    /// Names of its classes: those that were given, those in the file, or those in the description beside it.
    pub names: Option<Vec<String>>,
    /// SHA-256 of the file.
    pub digest: String,
}

impl Brought {
    /// Reads a file. `given`: the names of its classes, where somebody says them.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn read(path: &Path, given: Option<&str>) -> Result<Self, StartError> {
        let bytes = read_bounded(path).map_err(|why| StartError::Read { path: path.to_owned(), why })?;
        let imported = import::import(&bytes).map_err(|why| StartError::Import { path: path.to_owned(), why })?;
        let digest = hex(&Sha256::digest(&bytes));
        drop(bytes);
        let classes = imported.network.classes;
        let usable = |names: Vec<String>| match problem_with(&names, classes) {
            Some(why) => Err(StartError::Names { path: path.to_owned(), why }),
            None => Ok(Some(names)),
        };
        let names = match (given, &imported.names) {
            (Some(given), _) => usable(names_of(given).map_err(|why| StartError::Names { path: path.to_owned(), why })?)?,
            (None, Some(names)) => Some(names.clone()),
            (None, None) => match Beside::read(path, &digest)? {
                Some(beside) => usable(beside.classes)?,
                None => None,
            },
        };
        Ok(Self { path: path.to_owned(), imported, names, digest })
    }
}

/// All of a file of at most [`import::MAX_BYTES`].
fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut bytes = Vec::new();
    if length > import::MAX_BYTES as u64 {
        return Err(io::Error::other(format!("it has {length} bytes, at most {} are read", import::MAX_BYTES)));
    }
    bytes.reserve_exact(length as usize);
    // It may grow while it is read.
    file.take(import::MAX_BYTES as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Class names as people give them: `bolt,nut`, or a file with one a line.
///
/// # Errors
/// What is wrong, in words.
pub fn names_of(given: &str) -> Result<Vec<String>, String> {
    const MAX_BYTES: u64 = 4 << 20;
    let path = Path::new(given);
    let list: Vec<String> = if path.is_file() {
        let mut text = String::new();
        let read = File::open(path).and_then(|file| file.take(MAX_BYTES).read_to_string(&mut text));
        read.map_err(|error| format!("cannot read {given}: {error}"))?;
        text.trim_start_matches('\u{feff}').trim_end().lines().map(|line| line.trim().to_owned()).collect()
    } else if given.ends_with(".txt") || given.contains('/') {
        return Err(format!("{given} is no file; give the names as `bolt,nut` or a file with one a line"));
    } else {
        given.split(',').map(|name| name.trim().to_owned()).collect()
    };
    names::check(&list)?;
    Ok(list)
}
