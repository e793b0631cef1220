//! The parameters of a network: names, shapes and roles, in the order in which the ecosystem's state dicts have them.

use super::{Conv, Network, REG_MAX};

/// One entry of a state dict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParamSpec {
    /// Name, as `model.0.conv.weight`.
    pub name: String,
    /// Shape; empty for a scalar.
    pub shape: Vec<usize>,
    /// What it is for.
    pub role: Role,
}

/// What an entry of a state dict is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Kernel of a convolution `[out, in, k, k]`: trained, decayed.
    Weight,
    /// Bias of a convolution `[out]`: trained, not decayed.
    Bias,
    /// Scale of a batch norm `[out]`: trained, not decayed.
    NormWeight,
    /// Shift of a batch norm `[out]`: trained, not decayed.
    NormBias,
    /// Running mean of a batch norm `[out]`: measured, not trained.
    RunningMean,
    /// Running variance of a batch norm `[out]`: measured, not trained.
    RunningVar,
    /// Batches a norm has seen: an int64 scalar.
    NumBatches,
    /// Weights that are constants (the distribution's mean, 0..REG_MAX).
    Fixed,
}

impl Role {
    /// Whether training changes it by gradients.
    pub fn trainable(self) -> bool {
        matches!(self, Role::Weight | Role::Bias | Role::NormWeight | Role::NormBias)
    }

    /// Whether it is a parameter rather than a statistic: what people count when they give a network's size.
    pub fn is_parameter(self) -> bool {
        self.trainable() || self == Role::Fixed
    }
}

impl ParamSpec {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it has no values at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether training changes it by gradients.
    pub fn trainable(&self) -> bool {
        self.role.trainable()
    }
}

impl Conv {
    /// The entries of this convolution: weight, then either bias or the five of its norm.
    pub fn params(&self) -> Vec<ParamSpec> {
        let kernel = vec![self.outputs, self.inputs, self.kernel, self.kernel];
        let spec = |suffix: &str, shape: &[usize], role| ParamSpec { name: format!("{}.{suffix}", self.name), shape: shape.to_vec(), role };
        let wide = [self.outputs];
        if self.norm {
            vec![
                spec("conv.weight", &kernel, Role::Weight),
                spec("bn.weight", &wide, Role::NormWeight),
                spec("bn.bias", &wide, Role::NormBias),
                spec("bn.running_mean", &wide, Role::RunningMean),
                spec("bn.running_var", &wide, Role::RunningVar),
                spec("bn.num_batches_tracked", &[], Role::NumBatches),
            ]
        } else {
            vec![spec("weight", &kernel, Role::Weight), spec("bias", &wide, Role::Bias)]
        }
    }
}

impl Network {
    /// Every entry of the state dict, in the ecosystem's order: 355 for scale n.
    pub fn params(&self) -> Vec<ParamSpec> {
        let mut specs: Vec<ParamSpec> = self.convs().into_iter().flat_map(Conv::params).collect();
        specs.push(ParamSpec { name: format!("{}.weight", self.detect().dfl), shape: vec![1, REG_MAX, 1, 1], role: Role::Fixed });
        specs
    }

    /// Number of values, the fixed ones included, statistics not: 3,157,200 for scale n with 80 classes.
    pub fn values(&self) -> usize {
        self.params().iter().filter(|spec| spec.role.is_parameter()).map(ParamSpec::len).sum()
    }

    /// Number of values that gradients change: 16 less.
    pub fn trainable_values(&self) -> usize {
        self.params().iter().filter(|spec| spec.trainable()).map(ParamSpec::len).sum()
    }
}
