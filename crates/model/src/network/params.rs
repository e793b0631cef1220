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

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::Scale;

    /// Parameters with 80 classes, as published for the family.
    #[rstest::rstest]
    #[case(Scale::N, 3_157_200)]
    #[case(Scale::S, 11_166_560)]
    #[case(Scale::M, 25_902_640)]
    #[case(Scale::L, 43_691_520)]
    #[case(Scale::X, 68_229_648)]
    fn every_scale_has_its_published_size(#[case] scale: Scale, #[case] values: usize) {
        let network = Network::yolov8(scale, 80);
        assert_eq!(network.values(), values);
        assert_eq!(network.trainable_values(), values - 16);
    }

    #[test]
    fn n_has_the_355_names_of_the_ecosystem_in_its_order() {
        let params = Network::yolov8(Scale::N, 80).params();
        let names: Vec<&str> = params.iter().map(|spec| spec.name.as_str()).collect();
        assert_eq!(names.len(), 355);
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), 355, "no name twice");
        insta::assert_snapshot!(names.join("\n"));
    }

    #[test]
    fn the_class_branch_is_as_wide_as_the_number_of_classes_asks() {
        for (classes, width) in [(1, 64), (3, 64), (65, 65), (80, 80), (100, 100), (365, 100)] {
            let network = Network::yolov8(Scale::N, classes);
            assert_eq!(network.detect().classes[0][0].outputs, width, "{classes} classes");
            assert_eq!(network.detect().boxes[0][0].outputs, 64);
            assert_eq!(network.detect().classes[2][2].outputs, classes);
        }
        // l: the first level is 256 wide, and more classes than that do not widen it past 100
        assert_eq!(Network::yolov8(Scale::L, 365).detect().classes[0][0].outputs, 256);
    }

    #[test]
    fn convolutions_are_numbered_in_the_order_of_their_parameters() {
        let network = Network::yolov8(Scale::M, 3);
        for (index, conv) in network.convs().into_iter().enumerate() {
            assert_eq!(conv.id, index);
        }
    }
}
