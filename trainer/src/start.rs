//! Where a run starts: random weights, a file, or the promoted model; and what can be taken over when that knows other classes.

use std::{
    mem::discriminant,
    path::{Path, PathBuf},
};

use edgeloop_model::{Array, Network, Weights, pt, safetensors};
use edgeloop_store::{FileKind, Metadata, Store, Version};
use sha2::{Digest, Sha256};

/// The start of a run.
#[derive(Debug)]
pub struct Start {
    /// The weights; from the seed where there are none.
    pub weights: Option<Weights>,
    /// The promoted version that they are from.
    pub parent: Option<Version>,
    /// What tells this start from others: part of what a checkpoint must match.
    pub name: String,
}

/// Weights that cannot be started from.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The file cannot be read.
    #[error("cannot read INIT_WEIGHTS {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not what its name says.
    #[error("INIT_WEIGHTS {} is not usable: {why}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// Weights of another network.
    #[error("INIT_WEIGHTS {} fits only {fits} of {of} entries of yolov8{scale}: is SCALE right?", path.display())]
    OtherNetwork {
        /// The file.
        path: PathBuf,
        /// Entries that fit.
        fits: usize,
        /// Entries of the network.
        of: usize,
        /// The scale asked for.
        scale: String,
    },
}

impl Start {
    /// Random weights.
    pub fn scratch() -> Self {
        Self { weights: None, parent: None, name: "scratch".to_owned() }
    }

    /// From a file. Its class names are unknown: with another number of classes the last class layers start anew.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn file(path: &Path, network: &Network, seed: u64) -> Result<Self, StartError> {
        let bytes = std::fs::read(path).map_err(|source| StartError::Read { path: path.to_owned(), source })?;
        let is = |ending: &str| path.extension().is_some_and(|e| e.eq_ignore_ascii_case(ending));
        let read = if is("safetensors") {
            safetensors::read(&bytes).map_err(|e| e.to_string())
        } else if is("pt") {
            pt::read(&bytes, &pt::Limits::default()).map_err(|e| e.to_string())
        } else {
            Err("its name must end in .pt or .safetensors".to_owned())
        };
        let old = read.map_err(|why| StartError::Format { path: path.to_owned(), why })?;
        let taken = take_over(&old, None, network, &[], seed);
        // The class layers and the counters of other tools may differ; a backbone that does not fit is another network's.
        if taken.fits * 10 < taken.of * 9 {
            let (fits, of, scale) = (taken.fits, taken.of, network.scale.to_string());
            return Err(StartError::OtherNetwork { path: path.to_owned(), fits, of, scale });
        }
        tracing::info!(path = %path.display(), fits = taken.fits, of = taken.of, "starting from a file");
        let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        let name = format!("file {digest}");
        Ok(Self { weights: Some(taken.weights), parent: None, name })
    }

    /// From the promoted model, or from scratch when it is of another scale or damaged: a training must not fail for that.
    pub fn promoted(store: &Store, promoted: &Metadata, network: &Network, classes: &[String], seed: u64) -> Self {
        let version = promoted.version.clone();
        if promoted.architecture.scale != network.scale.to_string() {
            tracing::info!(%version, scale = promoted.architecture.scale, "the promoted model has another scale: starting from scratch");
            return Self::scratch();
        }
        match weights_of(store, promoted) {
            Ok(old) => {
                let taken = take_over(&old, Some(&promoted.classes), network, classes, seed);
                tracing::info!(%version, fits = taken.fits, of = taken.of, "starting from the promoted model");
                let name = format!("promoted {version}");
                Self { weights: Some(taken.weights), parent: Some(version), name }
            }
            Err(error) => {
                tracing::warn!(%version, "the promoted model cannot be read ({error:#}): starting from scratch");
                Self::scratch()
            }
        }
    }
}

/// A published version's weights, verified.
///
/// # Errors
/// When the file is missing or damaged.
pub fn weights_of(store: &Store, metadata: &Metadata) -> anyhow::Result<Weights> {
    let bytes = store.read_verified(metadata, FileKind::Weights)?;
    Ok(pt::read(&bytes, &pt::Limits::default())?)
}

/// What [`take_over`] could use.
#[derive(Debug)]
pub struct Taken {
    /// A whole set for the new network.
    pub weights: Weights,
    /// Entries taken from the old one.
    pub fits: usize,
    /// Entries of the network.
    pub of: usize,
}

/// Weights for `network` from those of one that knew `old_classes`. Entries of equal shape are copied; the rows of the last
/// class layers go by class name, and a class that is new keeps its start from the seed. Where old names are unknown, rows are
/// copied if there are as many.
pub fn take_over(old: &Weights, old_classes: Option<&[String]>, network: &Network, classes: &[String], seed: u64) -> Taken {
    let mut weights = Weights::init(network, seed);
    let detect = network.detect();
    let last: Vec<String> = detect.classes.iter().map(|branch| branch[branch.len() - 1].name.clone()).collect();
    let (mut fits, mut of) = (0, 0);
    for spec in network.params() {
        of += 1;
        let Some(from) = old.get(&spec.name) else { continue };
        let is_last = last.iter().any(|name| spec.name.starts_with(&format!("{name}.")));
        let Some(to) = weights.get_mut(&spec.name) else { continue };
        match (is_last, old_classes) {
            (true, Some(old_classes)) if old_classes != classes => {
                fits += usize::from(copy_rows(from, old_classes, to, classes));
            }
            _ if from.shape == to.shape && discriminant(&from.data) == discriminant(&to.data) => {
                *to = from.clone();
                fits += 1;
            }
            _ => {}
        }
    }
    Taken { weights, fits, of }
}

/// Copies the rows of the classes that both know; false when rows have different lengths.
fn copy_rows(from: &Array, from_classes: &[String], to: &mut Array, to_classes: &[String]) -> bool {
    if from.shape.get(1..) != to.shape.get(1..) || from.shape.first() != Some(&from_classes.len()) {
        return false;
    }
    let row = to.len() / to_classes.len().max(1);
    let (Some(source), Some(target)) = (from.as_f32().map(<[f32]>::to_vec), to.as_f32().map(<[f32]>::to_vec)) else {
        return false;
    };
    let mut target = target;
    for (new, name) in to_classes.iter().enumerate() {
        if let Some(old) = from_classes.iter().position(|n| n == name) {
            target[new * row..(new + 1) * row].copy_from_slice(&source[old * row..(old + 1) * row]);
        }
    }
    *to = Array::f32(to.shape.clone(), target);
    true
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use edgeloop_model::Scale;

    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&n| n.to_owned()).collect()
    }

    fn row(weights: &Weights, class: usize) -> Vec<f32> {
        let layer = weights.get("model.22.cv3.0.2.weight").unwrap();
        let row = layer.len() / layer.shape[0];
        layer.as_f32().unwrap()[class * row..(class + 1) * row].to_vec()
    }

    #[test]
    fn classes_are_matched_by_name() {
        let two = Network::yolov8(Scale::N, 2);
        let three = Network::yolov8(Scale::N, 3);
        let old = Weights::init(&two, 7);
        let taken = take_over(&old, Some(&names(&["bolt", "nut"])), &three, &names(&["nut", "washer", "bolt"]), 1);
        taken.weights.check(&three).unwrap();
        assert_eq!(taken.fits, taken.of);
        assert_eq!(row(&taken.weights, 0), row(&old, 1));
        assert_eq!(row(&taken.weights, 2), row(&old, 0));
        assert_eq!(row(&taken.weights, 1), row(&Weights::init(&three, 1), 1));
    }

    #[test]
    fn equal_classes_take_everything() {
        let two = Network::yolov8(Scale::N, 2);
        let old = Weights::init(&two, 7);
        for old_classes in [None, Some(names(&["a", "b"]))] {
            let taken = take_over(&old, old_classes.as_deref(), &two, &names(&["a", "b"]), 1);
            assert_eq!(taken.weights, old);
        }
    }

    #[test]
    fn another_scale_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.safetensors");
        let small = Network::yolov8(Scale::S, 2);
        std::fs::write(&path, safetensors::write(&Weights::init(&small, 0), &[]).unwrap()).unwrap();
        let nano = Network::yolov8(Scale::N, 2);
        assert!(matches!(Start::file(&path, &nano, 0), Err(StartError::OtherNetwork { .. })));
        assert!(Start::file(&path, &small, 0).unwrap().weights.is_some());
        assert!(matches!(Start::file(&dir.path().join("none.pt"), &nano, 0), Err(StartError::Read { .. })));
    }
}
