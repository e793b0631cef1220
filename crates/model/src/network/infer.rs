//! Which network do these weights belong to? The scale shows in the first convolution, classes in the head's last.

use super::Network;
use crate::Scale;
use crate::weights::Weights;

/// Weights that are not those of a YOLOv8 detector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InferError {
    /// An array that every YOLOv8 detector has is missing, or is no convolution's kernel.
    #[error(
        "these are not the weights of a YOLOv8 detector: {0} is missing or not a convolution's kernel; a state dict with names like model.0.conv.weight is expected"
    )]
    NotADetector(&'static str),
    /// The head is another layer: another family.
    #[error("its head is layer {0}, that of a YOLOv8 is layer {HEAD}: this is another family of networks")]
    OtherFamily(usize),
    /// The first convolution has a width that no published scale has.
    #[error("no scale of YOLOv8 has a first layer of {0} channels (n 16, s 32, m 48, l 64, x 80)")]
    UnknownWidth(usize),
    /// The head would be absurd.
    #[error("a head of {classes} classes with a branch {width} wide is outside what is accepted (1–10,000 classes, 1–16,384 wide)")]
    UnlikelyHead {
        /// Classes found.
        classes: usize,
        /// Width of the class branch found.
        width: usize,
    },
}

/// Number of the head among the layers.
const HEAD: usize = 22;

impl Network {
    /// The network that has these weights. [`Weights::check`] says whether it has them all.
    ///
    /// # Errors
    /// When the weights are not those of a YOLOv8 detector.
    pub fn infer(weights: &Weights) -> Result<Network, InferError> {
        let first = kernel(weights, "model.0.conv.weight")?;
        let last = kernel(weights, "model.22.cv3.0.2.weight").map_err(|error| match head_layer(weights) {
            Some(layer) if layer != HEAD => InferError::OtherFamily(layer),
            _ => error,
        })?;
        let scale = Scale::ALL.into_iter().find(|scale| scale.channels(64) == first[0]).ok_or(InferError::UnknownWidth(first[0]))?;
        let (classes, width) = (last[0], last[1]);
        if !(1..=10_000).contains(&classes) || !(1..=16_384).contains(&width) {
            return Err(InferError::UnlikelyHead { classes, width });
        }
        Ok(Network::yolov8_with_class_width(scale, classes, width))
    }
}

/// The layer with the fixed convolution that only a head has.
fn head_layer(weights: &Weights) -> Option<usize> {
    weights.iter().find_map(|(name, _)| name.strip_suffix(".dfl.conv.weight")?.strip_prefix("model.")?.parse().ok())
}

fn kernel(weights: &Weights, name: &'static str) -> Result<[usize; 4], InferError> {
    let array = weights.get(name).ok_or(InferError::NotADetector(name))?;
    array.shape.as_slice().try_into().map_err(|_| InferError::NotADetector(name))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
    use super::*;
    use crate::Array;

    #[test]
    fn weights_tell_their_network() {
        for (scale, classes) in [(Scale::N, 1), (Scale::N, 3), (Scale::S, 65)] {
            let network = Network::yolov8(scale, classes);
            assert_eq!(Network::infer(&Weights::init(&network, 0)).unwrap(), network);
        }
        // grown from 3 to 90 classes: the branch stays 64 wide, a new network's would be 90
        let grown = Network::yolov8_with_class_width(Scale::N, 90, 64);
        assert_eq!(Network::infer(&Weights::init(&grown, 0)).unwrap(), grown);
        assert_ne!(grown, Network::yolov8(Scale::N, 90));
    }

    #[test]
    fn other_weights_are_refused_by_name() {
        let error = Network::infer(&Weights::new()).unwrap_err();
        assert!(error.to_string().contains("model.0.conv.weight"), "{error}");
        let mut other = Weights::new();
        other.insert("model.0.conv.weight", Array::f32([16, 3, 3, 3], vec![0.0; 432]));
        other.insert("model.23.dfl.conv.weight", Array::f32([1, 16, 1, 1], vec![0.0; 16]));
        assert_eq!(Network::infer(&other).unwrap_err(), InferError::OtherFamily(23));
    }
}
