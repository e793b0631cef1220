//! The `.pt` file: an ordinary PyTorch archive, a zip of a pickle and of one raw file for each tensor's storage.
//!
//! Written so that `torch.load(path, weights_only=True)` gives an ordered dict of tensors. Read as data: the pickle goes
//! through a machine that knows containers, numbers, text and the one recipe for a tensor, and calls nothing. Anything else
//! is refused by its name.

mod archive;
mod machine;
mod opcode;
mod storage;
mod tensor;
#[cfg(test)]
mod tests;
mod value;
mod write;

use crate::weights::Weights;

pub use write::write;

/// What a file may ask of its reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the file.
    pub max_bytes: usize,
    /// Bytes of its pickle. A detector's has 60 kB; a training checkpoint's some MB.
    pub max_pickle_bytes: usize,
    /// Tensors.
    pub max_tensors: usize,
    /// Values of all tensors together: a view may repeat one stored value without end.
    pub max_values: usize,
}

impl Default for Limits {
    /// Room for an x-size checkpoint with optimiser and average: 4 GiB, 16 MiB of pickle, 20,000 tensors, 512 Mi values.
    fn default() -> Self {
        Self { max_bytes: 4 << 30, max_pickle_bytes: 16 << 20, max_tensors: 20_000, max_values: 512 << 20 }
    }
}

/// Why a file was not read.
#[derive(Debug, thiserror::Error)]
pub enum PtError {
    /// Larger than the limits allow.
    #[error("{what}: {found}, at most {limit} are read")]
    TooLarge {
        /// Of what there is too much.
        what: &'static str,
        /// How much.
        found: usize,
        /// How much there may be.
        limit: usize,
    },
    /// Not a zip archive, or a damaged one.
    #[error("not a readable PyTorch file: {0}")]
    Zip(#[from] zip::result::ZipError),
    /// A zip without the files of a PyTorch archive, or with them in a form that is not read.
    #[error("not a readable PyTorch file: {0}")]
    Archive(String),
    /// The pickle is damaged or uses what no state dict needs.
    #[error("the pickle in the file cannot be read: {reason} at byte {at}")]
    Pickle {
        /// What is wrong.
        reason: String,
        /// Where.
        at: usize,
    },
    /// The pickle refers to code. Nothing is ever executed here, so only a plain state dict can be read.
    #[error("the file refers to {0}, which is more than tensors; save a plain state dict: torch.save(model.state_dict(), path)")]
    Foreign(String),
    /// A tensor that does not fit its storage.
    #[error("tensor {name} cannot be read: {reason}")]
    Tensor {
        /// Its name in the state dict.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// The file holds something else than a dict of tensors.
    #[error("the file holds {0}, not a dict of tensors; save a plain state dict: torch.save(model.state_dict(), path)")]
    NotAStateDict(String),
}

/// Reads a plain state dict: an ordered dict (or dict) from names to tensors. Half, bfloat16 and double become f32, the
/// narrower integers and booleans i64.
///
/// # Errors
/// When the file is damaged, too large for `limits`, or more than a plain state dict.
pub fn read(bytes: &[u8], limits: &Limits) -> Result<Weights, PtError> {
    let mut archive = archive::Archive::open(bytes, limits)?;
    let pickle = archive.pickle(limits)?;
    let heap = machine::run(&pickle)?;
    let entries = heap.state_dict()?;
    if entries.len() > limits.max_tensors {
        return Err(PtError::TooLarge { what: "tensors", found: entries.len(), limit: limits.max_tensors });
    }
    let mut weights = Weights::new();
    let mut room = limits.max_values;
    for (name, recipe) in entries {
        let array = tensor::build(&name, &recipe, &mut archive, &mut room, limits)?;
        weights.insert(name, array);
    }
    Ok(weights)
}
