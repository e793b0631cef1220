//! First weights: a function of the network and a seed, the same on every machine and whatever the order of drawing.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Array, Weights};
use crate::network::{Network, ParamSpec, REG_MAX, Role, STRIDES};

/// Image side for which the first class biases are set.
const NOMINAL_SIDE: f64 = 640.0;
/// Objects that an image is taken to have before anything is known.
const NOMINAL_OBJECTS: f64 = 5.0;
/// First bias of the box distributions, as public descriptions have it.
const BOX_BIAS: f32 = 1.0;

impl Weights {
    /// Weights of an untrained network. Kernels are uniform within ±1/√(inputs · k²) (PyTorch's default for
    /// convolutions), norms are the identity. The last class bias is the log of the share of cells that hold an object of
    /// one class, log(5 / classes / (640 / stride)²): training starts from «almost nothing is an object» instead of
    /// spending its first hundreds of steps on learning that.
    pub fn init(network: &Network, seed: u64) -> Weights {
        let mut weights = Weights::new();
        for spec in network.params() {
            let array = first_values(&spec, seed);
            weights.insert(spec.name, array);
        }
        let detect = network.detect();
        for (level, stride) in STRIDES.iter().enumerate() {
            let cells = (NOMINAL_SIDE / *stride as f64).powi(2);
            let class_bias = (NOMINAL_OBJECTS / network.classes as f64 / cells).ln() as f32;
            let [.., boxes] = &detect.boxes[level];
            let [.., classes] = &detect.classes[level];
            weights.insert(format!("{}.bias", boxes.name), Array::f32([boxes.outputs], vec![BOX_BIAS; boxes.outputs]));
            weights.insert(format!("{}.bias", classes.name), Array::f32([classes.outputs], vec![class_bias; classes.outputs]));
        }
        weights
    }
}

fn first_values(spec: &ParamSpec, seed: u64) -> Array {
    let len = spec.len();
    match spec.role {
        Role::Weight => {
            let fan_in: usize = spec.shape[1..].iter().product();
            let bound = 1.0 / (fan_in as f32).sqrt();
            let mut rng = ChaCha8Rng::seed_from_u64(seed ^ fnv1a(&spec.name));
            Array::f32(spec.shape.clone(), (0..len).map(|_| rng.random_range(-bound..bound)).collect())
        }
        Role::NormWeight | Role::RunningVar => Array::f32(spec.shape.clone(), vec![1.0; len]),
        Role::Bias | Role::NormBias | Role::RunningMean => Array::f32(spec.shape.clone(), vec![0.0; len]),
        Role::NumBatches => Array::i64(spec.shape.clone(), vec![0]),
        Role::Fixed => Array::f32(spec.shape.clone(), (0..REG_MAX).map(|bin| bin as f32).collect()),
    }
}

/// FNV-1a, 64 bit: gives each array its own stream, so that another number of classes leaves the other layers as they were.
fn fnv1a(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
