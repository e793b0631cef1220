//! Weights that somebody brings: any file that PyTorch users keep a detector in, recognised by its content, as a network of
//! ours with a complete set of weights.
//!
//! In: bytes. Out: the network that they belong to, its weights in our order, the class names where the file has them, and a
//! sentence for everything that was left out or filled in. Nothing in a file is executed.

use std::collections::HashSet;
use std::fmt;

use crate::network::{InferError, Network, Role};
use crate::weights::{Array, Mismatches, Weights};
use crate::{onnx, pt, safetensors};

/// Bytes of a file that is read at all.
pub const MAX_BYTES: usize = 4 << 30;
/// Key of the class names in the metadata of a safetensors file: a Python literal, as in our ONNX files.
pub const NAMES_KEY: &str = "names";
/// How the ecosystem's state dicts call the first level's last class convolution, without what wrappers put before it.
const HEAD: &str = "22.cv3.0.2.weight";
/// Where a detector's layers are.
const PREFIX: &str = "model.";

/// A file that is usable.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// What the file is.
    pub form: Form,
    /// The network that its weights belong to: scale, number of classes and width of the class branch show in their shapes.
    pub network: Network,
    /// The weights, checked against the network and in its order.
    pub weights: Weights,
    /// Class names by number, as many as the network has classes, no two alike.
    pub names: Option<Vec<String>>,
    /// Entries that the file had of the network's.
    pub fits: usize,
    /// What somebody should know: entries left out, values filled in, names that cannot be used.
    pub notes: Vec<String>,
}

/// What a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// A `.pt`, and how the weights are in it.
    Pt(pt::Form),
    /// A safetensors file.
    Safetensors,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pt(form) => form.fmt(f),
            Self::Safetensors => f.write_str("a safetensors file"),
        }
    }
}

/// Why a file is not usable.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// Neither format.
    #[error("it is {0}; bring a .pt (a checkpoint or a state dict) or a .safetensors file")]
    Format(&'static str),
    /// A `.pt` that is damaged or refused.
    #[error(transparent)]
    Pt(#[from] pt::PtError),
    /// A safetensors file that is damaged or refused.
    #[error(transparent)]
    Safetensors(#[from] safetensors::SafetensorsError),
    /// Weights of something else.
    #[error(transparent)]
    Network(#[from] InferError),
    /// Batch norms that are no longer there.
    #[error(
        "its batch norms have been folded into the convolutions (a fused or exported model), and a training needs them; bring the checkpoint that the training wrote"
    )]
    Fused,
    /// Weights that look like a detector's and are not.
    #[error(transparent)]
    Mismatch(#[from] Mismatches),
}

/// Reads a file of any supported kind.
///
/// # Errors
/// When it is damaged, refers to code, or has no complete weights of a YOLOv8 detector.
pub fn import(bytes: &[u8]) -> Result<Imported, ImportError> {
    let (form, names, weights) = match bytes {
        // a zip, or a pickle by itself as PyTorch wrote it before 1.6: the reader says which
        [b'P', b'K', ..] | [0x80, ..] => {
            let checkpoint = pt::read_checkpoint(bytes, &pt::Limits::default())?;
            (Form::Pt(checkpoint.form), checkpoint.names, checkpoint.weights)
        }
        [_, _, _, _, _, _, _, _, b'{', ..] => {
            let (weights, metadata) = safetensors::read_with_metadata(bytes)?;
            let names = metadata.get(NAMES_KEY).and_then(|names| onnx::parse_names(names).ok());
            (Form::Safetensors, names, weights)
        }
        // the first field of an ONNX file is its version, a small number
        [0x08, 1..=20, ..] => return Err(ImportError::Format("probably an ONNX file, which is for serving and has no batch norms left")),
        [] => return Err(ImportError::Format("empty")),
        _ => return Err(ImportError::Format("neither a PyTorch file nor safetensors")),
    };
    let mut notes = Vec::new();
    let weights = rename(weights);
    if weights.get("model.0.conv.bias").is_some() && weights.get("model.0.bn.weight").is_none() {
        return Err(ImportError::Fused);
    }
    let network = Network::infer(&weights)?;
    let (weights, fits) = complete(weights, &network, &mut notes);
    let weights = weights.ordered(&network)?;
    let problem = names.as_ref().and_then(|names| problem_with(names, network.classes));
    let names = names.filter(|_| problem.is_none());
    notes.extend(problem.map(|why| format!("its class names are not used: {why}")));
    Ok(Imported { form, network, weights, names, fits, notes })
}

/// Why a list of names cannot name the classes of a head; `None` when it can.
pub fn problem_with(names: &[String], classes: usize) -> Option<String> {
    if names.len() != classes {
        return Some(format!("there are {} for a head of {classes} classes", names.len()));
    }
    let mut seen = HashSet::new();
    names.iter().find(|name| !seen.insert(name.as_str())).map(|twice| format!("{twice:?} is there twice"))
}

/// The same weights with the names `model.0…`: wrappers (a data-parallel module, the class around the model) put their own
/// name before it, and a bare list of layers has none.
fn rename(weights: Weights) -> Weights {
    let Some(prefix) = foreign_prefix(&weights) else { return weights };
    let mut renamed = Weights::new();
    for (name, array) in weights {
        match name.strip_prefix(&prefix) {
            Some(rest) => renamed.insert(format!("{PREFIX}{rest}"), array),
            None => renamed.insert(format!("outside.{name}"), array),
        };
    }
    renamed
}

/// What stands before the number of the head's layer, where that is one thing and not what we write.
fn foreign_prefix(weights: &Weights) -> Option<String> {
    let mut prefixes = weights.iter().filter_map(|(name, _)| name.strip_suffix(HEAD));
    let prefix = prefixes.next().filter(|prefix| prefix.is_empty() || prefix.ends_with('.'))?;
    (prefix != PREFIX && prefixes.next().is_none()).then(|| prefix.to_owned())
}

/// Leaves out what the network does not have, and fills in what follows from the network itself: the constants of the
/// distribution's mean and the counters of batches. Also gives the number of entries that the file had.
fn complete(weights: Weights, network: &Network, notes: &mut Vec<String>) -> (Weights, usize) {
    let specs = network.params();
    let known: HashSet<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
    let (mut kept, mut outside) = (Weights::new(), Vec::new());
    for (name, array) in weights {
        if known.contains(name.as_str()) {
            kept.insert(name, array);
        } else {
            outside.push(name);
        }
    }
    if let [first, ..] = &outside[..] {
        notes.push(format!("{} entries are not part of a detector and are left out ({first} …)", outside.len()));
    }
    let fits = kept.len();
    for spec in specs.iter().filter(|spec| matches!(spec.role, Role::NumBatches | Role::Fixed)) {
        if kept.get(&spec.name).is_none() {
            let array = match spec.role {
                Role::NumBatches => Array::i64([], vec![0]),
                _ => Array::f32(spec.shape.clone(), (0..spec.len()).map(|bin| bin as f32).collect()),
            };
            kept.insert(spec.name.clone(), array);
        }
    }
    if kept.len() > fits {
        notes.push(format!("{} counters and constants were missing and are filled in", kept.len() - fits));
    }
    (kept, fits)
}

#[cfg(test)]
mod tests;
