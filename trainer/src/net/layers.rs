//! The convolutions of a network as tensors, and one pass through them.

use edgeloop_model::weights::Mismatch;
use edgeloop_model::{Conv, Emitter, NORM_EPS, NORM_MOMENTUM, Network, Role, Weights};
use edgeloop_torch::Norm;
use tch::{Device, Kind, TchError, Tensor};

use super::variables::{Variable, to_array, to_tensor};

/// All variables, and where each convolution finds its own.
#[derive(Debug)]
pub(super) struct Layers {
    variables: Vec<Variable>,
    /// By `Conv::id`.
    convs: Vec<ConvTensors>,
    /// The fixed weights 0..16 as `[16]`.
    bins: Tensor,
}

/// Shallow clones of the variables of one convolution.
#[derive(Debug)]
struct ConvTensors {
    weight: Tensor,
    rest: Rest,
    /// Learns nothing; its norm keeps the statistics that it has.
    frozen: bool,
}

#[derive(Debug)]
enum Rest {
    Bias(Tensor),
    Norm { weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor, batches: Tensor },
}

impl Layers {
    pub(super) fn new(network: &Network, device: Device, weights: &Weights) -> Result<Self, TchError> {
        let mut variables = Vec::new();
        for spec in network.params() {
            let array = weights.get(&spec.name).ok_or_else(|| missing(&spec.name))?;
            let tensor = to_tensor(array, device)?.set_requires_grad(spec.trainable());
            variables.push(Variable { name: spec.name, tensor, role: spec.role });
        }
        let mut tensors = variables.iter().map(|variable| variable.tensor.shallow_clone());
        let mut next = || tensors.next().expect("a network lists the parameters of each of its convolutions");
        let mut convs = Vec::new();
        for conv in network.convs() {
            let weight = next();
            let rest = if conv.norm {
                Rest::Norm { weight: next(), bias: next(), mean: next(), var: next(), batches: next() }
            } else {
                Rest::Bias(next())
            };
            convs.push(ConvTensors { weight, rest, frozen: false });
        }
        let bins = next().f_flatten(0, -1)?;
        Ok(Self { variables, convs, bins })
    }

    pub(super) fn variables(&self) -> impl Iterator<Item = &Variable> {
        self.variables.iter()
    }

    pub(super) fn bins(&self) -> Tensor {
        self.bins.shallow_clone()
    }

    pub(super) fn load(&mut self, weights: &Weights) -> Result<(), TchError> {
        tch::no_grad(|| {
            for variable in &mut self.variables {
                let array = weights.get(&variable.name).ok_or_else(|| missing(&variable.name))?;
                variable.tensor.f_copy_(&to_tensor(array, variable.tensor.device())?)?;
            }
            Ok(())
        })
    }

    pub(super) fn weights(&self) -> Result<Weights, TchError> {
        let mut weights = Weights::new();
        for variable in &self.variables {
            weights.insert(variable.name.clone(), to_array(&variable.tensor)?);
        }
        Ok(weights)
    }

    /// Kernels as NHWC. `set_data` keeps each variable the leaf that it is, and is seen through its shallow clones.
    pub(super) fn use_channels_last(&mut self) -> Result<(), TchError> {
        tch::no_grad(|| {
            for conv in &mut self.convs {
                let laid_out = edgeloop_torch::channels_last(&conv.weight.f_detach()?)?;
                conv.weight.f_set_data(&laid_out)?;
            }
            Ok(())
        })
    }

    /// Every float as float64.
    pub(super) fn use_double(&mut self) -> Result<(), TchError> {
        tch::no_grad(|| {
            for variable in self.variables.iter_mut().filter(|variable| variable.role != Role::NumBatches) {
                let double = variable.tensor.f_detach()?.f_to_kind(Kind::Double)?;
                variable.tensor.f_set_data(&double)?;
            }
            self.bins = self.bins.f_to_kind(Kind::Double)?;
            Ok(())
        })
    }

    /// Takes what `chosen` says by name out of learning.
    pub(super) fn freeze(&mut self, network: &Network, chosen: impl Fn(&str) -> bool) {
        for variable in self.variables.iter().filter(|variable| chosen(&variable.name)) {
            let _ = variable.tensor.set_requires_grad(false);
        }
        for (tensors, conv) in self.convs.iter_mut().zip(network.convs()) {
            tensors.frozen = chosen(&conv.name);
        }
    }

    pub(super) fn pass(&self, train: bool, bf16: bool) -> Pass<'_> {
        Pass { layers: self, train, bf16 }
    }
}

fn missing(name: &str) -> TchError {
    let name = name.to_owned();
    TchError::Shape(format!("weights: {}", Mismatch::Missing { name, shape: Vec::new() }))
}

/// One forward pass.
pub(super) struct Pass<'a> {
    layers: &'a Layers,
    train: bool,
    bf16: bool,
}

impl Emitter for Pass<'_> {
    type Value = Tensor;
    type Error = TchError;

    fn conv(&mut self, conv: &Conv, x: &Tensor) -> Result<Tensor, TchError> {
        let ConvTensors { weight, rest, frozen } = &self.layers.convs[conv.id];
        let train = self.train && !frozen;
        let (stride, pad) = (conv.stride as i64, (conv.kernel / 2) as i64);
        let convolve = |x: &Tensor, bias: Option<&Tensor>| x.f_conv2d(weight, bias, [stride, stride], [pad, pad], [1, 1], 1);
        match rest {
            // Class logits start near −10, where a step of bf16 is 0.06: the last convolutions are float32.
            Rest::Bias(bias) if self.bf16 => {
                let x = x.f_to_kind(Kind::Float)?;
                edgeloop_torch::without_autocast(|| convolve(&x, Some(bias)))
            }
            Rest::Bias(bias) => convolve(x, Some(bias)),
            Rest::Norm { weight, bias, mean, var, batches } => {
                let y = convolve(x, None)?;
                if train && edgeloop_torch::fuses(&y) {
                    let _ = batches.shallow_clone().f_add_scalar_(1)?;
                    let norm = Norm { weight, bias, mean, var, momentum: NORM_MOMENTUM, eps: NORM_EPS };
                    return edgeloop_torch::norm_silu(&y, &norm);
                }
                let (weight, bias, mean, var) = (Some(weight), Some(bias), Some(mean), Some(var));
                let mut y = y.f_batch_norm(weight, bias, mean, var, train, NORM_MOMENTUM, NORM_EPS, false)?;
                if train {
                    let _ = batches.shallow_clone().f_add_scalar_(1)?;
                }
                // Autograd would clone the input of an in-place SiLU for the backward pass: in place pays without it only.
                if y.requires_grad() { y.f_silu() } else { y.f_silu_() }
            }
        }
    }

    fn max_pool(&mut self, x: &Tensor, window: usize) -> Result<Tensor, TchError> {
        let (window, pad) = (window as i64, (window / 2) as i64);
        x.f_max_pool2d([window, window], [1, 1], [pad, pad], [1, 1], false)
    }

    fn upsample(&mut self, x: &Tensor, factor: usize) -> Result<Tensor, TchError> {
        let (_, _, h, w) = x.size4()?;
        let (times, scale) = (factor as i64, factor as f64);
        x.f_upsample_nearest2d([h * times, w * times], scale, scale)
    }

    fn concat(&mut self, parts: &[&Tensor]) -> Result<Tensor, TchError> {
        Tensor::f_cat(parts, 1)
    }

    fn channels(&mut self, x: &Tensor, start: usize, len: usize) -> Result<Tensor, TchError> {
        x.f_narrow(1, start as i64, len as i64)
    }

    fn add(&mut self, mut a: Tensor, b: &Tensor) -> Result<Tensor, TchError> {
        // In place: SiLU keeps its input for the backward pass, not the output that is overwritten here.
        a.f_add_(b)
    }
}
