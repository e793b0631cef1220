//! The `.pt` file: an ordinary PyTorch archive, a zip of a pickle and of one raw file for each tensor's storage.
//!
//! Written so that `torch.load(path, weights_only=True)` gives an ordered dict of tensors. Read as data: the pickle goes
//! through a machine that knows containers, numbers, text, the recipe for a tensor, and objects of module trees as bags of
//! attributes. It calls nothing; a name that weights do not need is refused.
//!
//! ```text
//! bytes ─► directory ─► archive ─┬─ data.pkl ─► machine ─► heap ─► content (tree) ─► names and recipes ─┐
//!                                └─ data/0 … ───────────────────────────────────────► tensor ◄──────────┘─► Weights
//! ```

mod archive;
mod content;
mod directory;
mod machine;
mod opcode;
mod storage;
mod tensor;
#[cfg(test)]
mod tests;
mod tree;
mod value;
mod write;

use std::rc::Rc;

use crate::weights::Weights;

pub use content::Form;
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
    /// The archive cannot be written.
    #[error("the archive cannot be written: {0}")]
    Write(#[from] zip::result::ZipError),
    /// Not a zip archive, a damaged one, or one without the files of PyTorch's.
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
    /// The pickle refers to code that no weights need. Nothing is ever executed here, so what it would do is not known.
    #[error("the file refers to {0}, which no weights need; save a plain state dict: torch.save(model.state_dict(), path)")]
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

/// A file's weights and what it says about them.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// The form that they were found in.
    pub form: Form,
    /// Class names by number, where the file has a complete list.
    pub names: Option<Vec<String>>,
    /// The tensors, under the names that they have in the file.
    pub weights: Weights,
}

/// Reads a plain state dict: an ordered dict (or dict) from names to tensors. Half, bfloat16 and double become f32, the
/// narrower integers and booleans i64.
///
/// # Errors
/// When the file is damaged, too large for `limits`, or more than a plain state dict.
pub fn read(bytes: &[u8], limits: &Limits) -> Result<Weights, PtError> {
    let mut archive = archive::Archive::open(bytes, limits)?;
    let heap = machine::run(archive.pickle(limits)?)?;
    build(content::state_dict(&heap, limits)?, &mut archive, limits)
}

/// Reads the weights of any file that PyTorch users keep them in: also a state dict inside another dict, and the module tree
/// of a training checkpoint (the average, where it has one). Of such a tree the names of classes are read too.
///
/// # Errors
/// When the file is damaged, too large for `limits`, refers to code, or holds no weights.
pub fn read_checkpoint(bytes: &[u8], limits: &Limits) -> Result<Checkpoint, PtError> {
    let mut archive = archive::Archive::open(bytes, limits)?;
    let heap = machine::run(archive.pickle(limits)?)?;
    let content::Content { form, names, entries } = content::find(&heap, limits)?;
    let weights = build(entries, &mut archive, limits)?;
    Ok(Checkpoint { form, names, weights })
}

/// Values that views may repeat beyond those stored: weights hardly ever do, and a stored value could become gigabytes.
const REPEATED_VALUES: usize = 1 << 20;

fn build(entries: Vec<(String, Rc<value::Recipe>)>, archive: &mut archive::Archive<'_>, limits: &Limits) -> Result<Weights, PtError> {
    // No kind of number is narrower than a byte.
    let room = limits.max_values.min(archive.len().saturating_add(REPEATED_VALUES));
    let mut left = room;
    let mut weights = Weights::new();
    for (name, recipe) in entries {
        let array = tensor::build(&name, &recipe, archive, &mut left, room)?;
        if weights.insert(name.as_str(), array).is_some() {
            return Err(PtError::Tensor { name: value::shorten(&name), reason: "there are two of this name".to_owned() });
        }
    }
    Ok(weights)
}
