//! The finer points of a training: what people tune once rates and augmentation are theirs.

use serde::{Deserialize, Serialize};

use crate::loss::Gains;

/// Numbers of a run that most leave alone.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// The rate falls along half a cosine; otherwise along a line.
    pub cosine: bool,
    /// Where momentum starts from while warming up.
    pub warmup_momentum: f64,
    /// Where the rate of biases starts from while warming up.
    pub warmup_bias_lr: f64,
    /// Gradients with a larger norm are scaled down to it; 0: none is.
    pub clip_norm: f64,
    /// Weights of the parts of the loss.
    pub gains: Gains,
    /// Epochs without a better one after which the run ends; 0: it never ends early.
    pub patience: u32,
    /// Layers at the input that do not learn.
    pub freeze: u32,
}

impl Default for Recipe {
    fn default() -> Self {
        Self { cosine: true, warmup_momentum: 0.8, warmup_bias_lr: 0.0, clip_norm: 10.0, gains: Gains::default(), patience: 0, freeze: 0 }
    }
}

impl Recipe {
    /// Whether a run that has finished `epochs` and was best after `best` of them has waited long enough.
    pub fn out_of_patience(&self, epochs: u32, best: u32) -> bool {
        self.patience > 0 && epochs.saturating_sub(best) >= self.patience
    }

    /// Whether the variable or convolution `name` (`model.4.m.0.cv1…`) is of a layer that does not learn.
    pub fn freezes(&self, name: &str) -> bool {
        let layer = name.strip_prefix("model.").and_then(|rest| rest.split('.').next()).and_then(|number| number.parse::<u32>().ok());
        layer.is_some_and(|layer| layer < self.freeze)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_counts_epochs_since_the_best() {
        let recipe = Recipe { patience: 3, ..Recipe::default() };
        assert!(!recipe.out_of_patience(6, 4) && recipe.out_of_patience(7, 4));
        assert!(!Recipe { patience: 0, ..recipe }.out_of_patience(1_000_000, 1));
    }

    #[test]
    fn the_first_layers_are_frozen_by_their_numbers() {
        let recipe = Recipe { freeze: 2, ..Recipe::default() };
        assert!(recipe.freezes("model.0.conv.weight") && recipe.freezes("model.1.bn.bias"));
        assert!(!recipe.freezes("model.2.cv1.conv.weight") && !recipe.freezes("model.10.x") && !recipe.freezes("other"));
        assert!(!Recipe::default().freezes("model.0.conv.weight"));
    }
}
