//! Where a run starts: random weights, a file, or the promoted model; and the network that follows from it, because weights
//! that learn another class keep the class branch that they have.

mod classes;
mod file;
#[cfg(test)]
mod tests;

use edgeloop_model::{Network, Scale, Weights, pt};
use edgeloop_store::{FileKind, Metadata, Store, Version};

pub use classes::{ClassBranch, Taken, take_over};
pub use file::{Brought, Init, StartError, names_of};

/// What is to be trained.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Size of the network.
    pub scale: Scale,
    /// Class names by number.
    pub classes: &'a [String],
    /// Of what starts from random values.
    pub seed: u64,
}

/// The start of a run.
#[derive(Debug)]
pub struct Start {
    /// The network: of the scale asked for, with a class branch as wide as that of the weights where they are used.
    pub network: Network,
    /// The weights; from the seed where there are none.
    pub weights: Option<Weights>,
    /// The promoted version that they are from.
    pub parent: Option<Version>,
    /// What tells this start from others: part of what a checkpoint must match.
    pub name: String,
}

impl Start {
    /// Random weights.
    pub fn scratch(request: &Request<'_>) -> Self {
        let network = Network::yolov8(request.scale, request.classes.len());
        Self { network, weights: None, parent: None, name: "scratch".to_owned() }
    }

    /// From a file that somebody brings: what fits, and of the class branch what is known by name.
    ///
    /// # Errors
    /// [`StartError::Scale`] when the file is of another scale than asked for.
    pub fn file(brought: Brought, request: &Request<'_>) -> Result<Self, StartError> {
        let Brought { path, imported, names, digest } = brought;
        if imported.network.scale != request.scale {
            return Err(StartError::Scale { path, found: imported.network.scale, asked: request.scale });
        }
        let taken = take_over(&imported.weights, names.as_deref(), request);
        tracing::info!(path = %path.display(), form = %imported.form, fits = taken.fits, of = taken.of, "starting from a file");
        taken.say();
        // The names decide which rows are taken: other names are another start.
        let name = format!("file {digest} {}", names.unwrap_or_default().join("\n"));
        Ok(Self { network: taken.network, weights: Some(taken.weights), parent: None, name })
    }

    /// From the promoted model, or from scratch when it is of another scale or damaged: a training must not fail for that.
    pub fn promoted(store: &Store, promoted: &Metadata, request: &Request<'_>) -> Self {
        let version = promoted.version.clone();
        if promoted.architecture.scale != request.scale.to_string() {
            tracing::info!(%version, scale = promoted.architecture.scale, "the promoted model has another scale: starting from scratch");
            return Self::scratch(request);
        }
        match model_of(store, promoted) {
            Ok((_, old)) => {
                let taken = take_over(&old, Some(&promoted.classes), request);
                tracing::info!(%version, fits = taken.fits, of = taken.of, "starting from the promoted model");
                taken.say();
                let name = format!("promoted {version}");
                Self { network: taken.network, weights: Some(taken.weights), parent: Some(version), name }
            }
            Err(error) => {
                tracing::warn!(%version, "the promoted model cannot be read ({error:#}): starting from scratch");
                Self::scratch(request)
            }
        }
    }
}

/// A published version's network and weights, verified. The network follows from the weights: their class branch may be as
/// wide as that of a model with fewer classes, from which it was trained on.
///
/// # Errors
/// When the file is missing, damaged, or not of as many classes as its metadata names.
pub fn model_of(store: &Store, metadata: &Metadata) -> anyhow::Result<(Network, Weights)> {
    let bytes = store.read_verified(metadata, FileKind::Weights)?;
    let weights = pt::read(&bytes, &pt::Limits::default())?;
    let network = Network::infer(&weights)?;
    weights.check(&network)?;
    let named = metadata.classes.len();
    anyhow::ensure!(network.classes == named, "its weights know {} classes, its metadata names {named}", network.classes);
    Ok((network, weights))
}
