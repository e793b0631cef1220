//! The network in libtorch: the tch emitter of the layers of `crates/model`, its variables, and the decoding of its head.
//!
//! In: images `[N, 3, H, W]`, RGB 0–1, sides multiples of 32. Out: the head's raw levels for the loss, or decoded boxes and
//! scores, the same numbers as `output0` of the ONNX file. What a block is made of is not known here: `edgeloop_model::walk`
//! says it to both emitters.

mod decode;
mod layers;
#[cfg(test)]
mod tests;
mod variables;

use edgeloop_model::network::MAX_STRIDE;
use edgeloop_model::weights::Mismatches;
use edgeloop_model::{Network, Role, Weights, walk::walk};
use tch::{Device, TchError, Tensor};

use layers::Layers;
pub(crate) use variables::to_array;

/// Why a network could not be made, loaded or run.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// libtorch refused an operation.
    #[error("libtorch: {0}")]
    Torch(#[from] TchError),
    /// The weights are another network's.
    #[error(transparent)]
    Weights(#[from] Mismatches),
    /// The input has a shape that the network cannot take.
    #[error("the network takes images [N, 3, H, W] with sides that are multiples of {MAX_STRIDE}, not {0:?}")]
    Input(Vec<i64>),
}

/// A YOLOv8 detector with its variables on a device.
#[derive(Debug)]
pub struct Yolo {
    network: Network,
    device: Device,
    layers: Layers,
    bf16: bool,
    channels_last: bool,
}

/// What the head gives, finest level first.
#[derive(Debug)]
pub struct Head {
    /// One for each stride: 8, 16, 32.
    pub levels: Vec<Level>,
}

/// One level of the head, always float32.
#[derive(Debug)]
pub struct Level {
    /// Box distributions `[N, 4 * 16, h, w]`: left, top, right, bottom, each 16 logits.
    pub boxes: Tensor,
    /// Class logits `[N, classes, h, w]`.
    pub scores: Tensor,
    /// Input pixels per cell.
    pub stride: i64,
}

impl Yolo {
    /// An untrained network, a function of `network` and `seed` alone (see [`Weights::init`]).
    ///
    /// # Errors
    /// When libtorch has no memory for it on `device`.
    pub fn new(network: &Network, device: Device, seed: u64) -> Result<Self, NetError> {
        Self::from_weights(network, device, &Weights::init(network, seed))
    }

    /// A network with these weights.
    ///
    /// # Errors
    /// When they are another network's, or libtorch has no memory for them on `device`.
    pub fn from_weights(network: &Network, device: Device, weights: &Weights) -> Result<Self, NetError> {
        weights.check(network)?;
        let layers = Layers::new(network, device, weights)?;
        Ok(Self { network: network.clone(), device, layers, bf16: false, channels_last: false })
    }

    /// The network as data.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Where the variables are.
    pub fn device(&self) -> Device {
        self.device
    }

    /// Computes all but the last 1×1 convolutions in bf16 (autocast; variables stay float32) from the next forward on.
    pub fn set_bf16(&mut self, enabled: bool) {
        self.bf16 = enabled;
    }

    /// Takes layers out of learning, by the names of their variables (`model.0.conv.weight`) and convolutions (`model.0`, …): no
    /// gradient, and norms keep their running statistics. Call it before an optimiser has seen the variables.
    pub fn freeze(&mut self, chosen: impl Fn(&str) -> bool) {
        self.layers.freeze(&self.network, chosen);
    }

    /// Lays kernels out as NHWC, and inputs from the next forward on. Call it before an optimiser has seen the variables.
    ///
    /// # Errors
    /// When libtorch has no memory for it.
    pub fn to_channels_last(&mut self) -> Result<(), NetError> {
        self.channels_last = true;
        Ok(self.layers.use_channels_last()?)
    }

    /// Float64 throughout, to measure what rounding does; input in float64 too. Such a network is not for training.
    pub(crate) fn use_double(&mut self) -> Result<(), NetError> {
        Ok(self.layers.use_double()?)
    }

    /// The raw head for `images` `[N, 3, H, W]` float32, RGB 0–1, sides multiples of 32. `train`: norms use and record the
    /// batch's statistics. Wrap it in `tch::no_grad` to judge.
    ///
    /// # Errors
    /// When the shape does not fit, or libtorch refuses (no memory).
    pub fn try_forward(&self, images: &Tensor, train: bool) -> Result<Head, NetError> {
        let size = images.size();
        let side = MAX_STRIDE as i64;
        if !matches!(size[..], [n, 3, h, w] if n > 0 && h > 0 && w > 0 && h % side == 0 && w % side == 0) {
            return Err(NetError::Input(size));
        }
        let images = if self.channels_last { edgeloop_torch::channels_last(images)? } else { images.shallow_clone() };
        let mut pass = self.layers.pass(train, self.bf16);
        let levels = edgeloop_torch::autocast(self.device, self.bf16, || walk(&self.network, &mut pass, images))?;
        let level = |level: edgeloop_model::Level<Tensor>| Level { boxes: level.boxes, scores: level.scores, stride: level.stride as i64 };
        Ok(Head { levels: levels.into_iter().map(level).collect() })
    }

    /// [`Yolo::try_forward`] for callers that made the input themselves.
    ///
    /// # Panics
    /// Where that returns an error.
    pub fn forward(&self, images: &Tensor, train: bool) -> Head {
        match self.try_forward(images, train) {
            Ok(head) => head,
            Err(error) => panic!("forward pass: {error}"),
        }
    }

    /// Boxes and scores `[N, 4 + classes, anchors]`: `cx, cy, w, h` in input pixels, scores after the sigmoid. The same
    /// numbers as `output0` of the ONNX file.
    ///
    /// # Errors
    /// When libtorch refuses (no memory).
    pub fn try_decode(&self, head: &Head) -> Result<Tensor, NetError> {
        Ok(decode::decode(head, &self.layers.bins())?)
    }

    /// [`Yolo::try_decode`] for a head that this network gave.
    ///
    /// # Panics
    /// Where that returns an error.
    pub fn decode(&self, head: &Head) -> Tensor {
        match self.try_decode(head) {
            Ok(output) => output,
            Err(error) => panic!("decoding the head: {error}"),
        }
    }

    /// Every entry of the state dict in the order of [`Network::params`]; tensors share memory with the network.
    pub fn variables(&self) -> Vec<(String, Tensor, Role)> {
        self.layers.variables().map(|v| (v.name.clone(), v.tensor.shallow_clone(), v.role)).collect()
    }

    /// The variables that gradients change, in that order.
    pub fn trainable(&self) -> Vec<Tensor> {
        self.layers.variables().filter(|v| v.role.trainable()).map(|v| v.tensor.shallow_clone()).collect()
    }

    /// Overwrites every variable.
    ///
    /// # Errors
    /// When the weights are another network's; nothing has changed then.
    pub fn load(&mut self, weights: &Weights) -> Result<(), NetError> {
        weights.check(&self.network)?;
        Ok(self.layers.load(weights)?)
    }

    /// A copy of every variable.
    ///
    /// # Errors
    /// When libtorch cannot bring them to the host.
    pub fn weights(&self) -> Result<Weights, NetError> {
        Ok(self.layers.weights()?)
    }
}
