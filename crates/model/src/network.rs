//! The network as data: which block takes what from where. Nothing here computes; emitters walk it (see [`crate::walk`]).
//!
//! ```text
//! images ─ 0 ─ 1 ─ 2 ─ 3 ─ 4 ─┬─ 5 ─ 6 ─┬─ 7 ─ 8 ─ 9 ─┬─ 10 up ┐         backbone, strides 2 … 32
//!                            │         └────────────┼─ 11 cat ─ 12 ─┬─ 13 up ┐
//!                            └──────────────────────┼───────────────┼─ 14 cat ─ 15 ──► stride 8
//!                                                   │               └─ 17 cat ◄ 16 ◄ 15
//!                                                   └─ 20 cat ◄ 19 ◄ 18 ──► stride 16
//!                                                      21 ──► stride 32
//! ```

mod build;
mod infer;
mod params;

pub use infer::InferError;
pub use params::{ParamSpec, Role};

use crate::Scale;

/// Bins of the box distribution: each side of a box is the mean of a distribution over 0..16 strides.
pub const REG_MAX: usize = 16;
/// Input pixels per cell at the three levels.
pub const STRIDES: [usize; 3] = [8, 16, 32];
/// Height and width of an input must be multiples of this.
pub const MAX_STRIDE: usize = 32;

/// A YOLOv8 detector as data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Size of the network.
    pub scale: Scale,
    /// Number of classes, at least 1.
    pub classes: usize,
    /// Layers in order of evaluation; layer `i` has the name prefix `model.{i}`.
    pub layers: Vec<Layer>,
}

/// One numbered layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Where its inputs come from, in order.
    pub from: Vec<Source>,
    /// What it does with them.
    pub block: Block,
}

/// An input of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The network's input.
    Image,
    /// The output of the layer with this number, which is smaller than the reader's own.
    Layer(usize),
}

/// What a layer does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Block {
    /// One convolution with norm and activation.
    Conv(Conv),
    /// Cross-stage block: `cv1` to twice the hidden width, the second half through bottlenecks one after another, all of
    /// them concatenated into `cv2`.
    C2f {
        /// 1×1 to `2 * hidden`.
        cv1: Conv,
        /// 1×1 from `(2 + bottlenecks) * hidden`.
        cv2: Conv,
        /// Pairs of 3×3 convolutions, `hidden` wide.
        bottlenecks: Vec<[Conv; 2]>,
        /// Whether each bottleneck adds its input to its output.
        shortcut: bool,
    },
    /// Spatial pyramid: three max poolings one after another, concatenated with their input.
    Sppf {
        /// 1×1 to half the width.
        cv1: Conv,
        /// 1×1 from four times that.
        cv2: Conv,
        /// Side of the pooling window (odd; stride 1, padded to keep the size).
        pool: usize,
    },
    /// Nearest-neighbour enlargement by this factor.
    Upsample(usize),
    /// Concatenation of the inputs by channel.
    Concat,
    /// The head.
    Detect(Detect),
}

/// A square convolution, padded by `kernel / 2`, no dilation, no groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conv {
    /// Number of this convolution in the order of [`Network::convs`]: emitters keep their tensors in a vector.
    pub id: usize,
    /// Prefix of its parameters, as `model.2.m.0.cv1`.
    pub name: String,
    /// Input channels.
    pub inputs: usize,
    /// Output channels.
    pub outputs: usize,
    /// Side of the kernel.
    pub kernel: usize,
    /// Step between outputs.
    pub stride: usize,
    /// True: no bias, batch norm, SiLU. False: bias only (last convolutions of the head).
    pub norm: bool,
}

/// The anchor-free head: two branches per level, not shared between levels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detect {
    /// Box branch by level: 3×3, 3×3, 1×1 to `4 * REG_MAX`.
    pub boxes: Vec<[Conv; 3]>,
    /// Class branch by level: 3×3, 3×3, 1×1 to the number of classes.
    pub classes: Vec<[Conv; 3]>,
    /// Name of the fixed convolution that takes the mean of a distribution: weights 0..REG_MAX, never trained.
    pub dfl: String,
}

impl Network {
    /// The head.
    pub fn detect(&self) -> &Detect {
        self.layers
            .iter()
            .find_map(|layer| match &layer.block {
                Block::Detect(detect) => Some(detect),
                _ => None,
            })
            .expect("a network is built with its head")
    }

    /// Channels of the class branch. Weights that were trained on with more classes keep the width that they had.
    pub fn class_width(&self) -> usize {
        self.detect().classes[0][0].outputs
    }

    /// All convolutions with weights, in the order of their parameters (`convs()[i].id == i`).
    pub fn convs(&self) -> Vec<&Conv> {
        let mut convs = Vec::new();
        for layer in &self.layers {
            match &layer.block {
                Block::Conv(conv) => convs.push(conv),
                Block::C2f { cv1, cv2, bottlenecks, .. } => {
                    convs.extend([cv1, cv2]);
                    convs.extend(bottlenecks.iter().flatten());
                }
                Block::Sppf { cv1, cv2, .. } => convs.extend([cv1, cv2]),
                Block::Detect(detect) => {
                    convs.extend(detect.boxes.iter().flatten());
                    convs.extend(detect.classes.iter().flatten());
                }
                Block::Upsample(_) | Block::Concat => {}
            }
        }
        convs
    }

    /// Number of anchors (cells of all levels) of an input of `height` × `width`, both multiples of [`MAX_STRIDE`].
    pub fn anchors(height: usize, width: usize) -> usize {
        STRIDES.iter().map(|stride| (height / stride) * (width / stride)).sum()
    }
}
