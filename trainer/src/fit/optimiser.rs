//! SGD or AdamW over the trainable variables, in three groups: weights decay, norms and biases do not, biases have a rate of
//! their own while warming up.

use edgeloop_model::Role;
use edgeloop_torch::{AdamW, Sgd, adamw_step, clear_grads, grad_norm, sgd_step};
use serde::{Deserialize, Serialize};
use tch::{TchError, Tensor};

use super::schedule::Pace;

/// Which rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rule {
    /// Stochastic gradient descent with Nesterov momentum.
    Sgd,
    /// Adam with decoupled weight decay.
    AdamW,
}

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Stepped {
    /// Moved; the norm of the gradients before clipping.
    Moved(f64),
    /// Gradients were not finite: nothing was changed.
    NotFinite,
}

#[derive(Debug)]
struct Group {
    names: Vec<String>,
    params: Vec<Tensor>,
    first: Vec<Tensor>,
    second: Vec<Tensor>,
}

impl Group {
    fn of(variables: &[(String, Tensor, Role)], rule: Rule, roles: &[Role]) -> Self {
        // Those of a frozen layer ask for no gradient.
        let chosen = || variables.iter().filter(|v| roles.contains(&v.2) && v.1.requires_grad());
        // Like the parameter down to the strides: the fused steps insist.
        let zeros = || chosen().map(|v| v.1.detach().zeros_like()).collect();
        Self {
            names: chosen().map(|v| v.0.clone()).collect(),
            params: chosen().map(|v| v.1.shallow_clone()).collect(),
            first: zeros(),
            second: if rule == Rule::AdamW { zeros() } else { Vec::new() },
        }
    }
}

/// The optimiser with its state.
#[derive(Debug)]
pub struct Optimiser {
    rule: Rule,
    weights: Group,
    norms: Group,
    biases: Group,
    all: Vec<Tensor>,
    steps: u64,
    clip_norm: f64,
}

impl Optimiser {
    /// For the trainable ones of `variables`, with empty state. They must already have their final memory layout. Gradients with a
    /// norm above `clip_norm` are scaled down to it; 0 leaves them.
    pub fn new(rule: Rule, clip_norm: f64, variables: &[(String, Tensor, Role)]) -> Self {
        let group = |roles: &[Role]| Group::of(variables, rule, roles);
        let (weights, biases) = (group(&[Role::Weight]), group(&[Role::Bias]));
        let norms = group(&[Role::NormWeight, Role::NormBias]);
        let all = [&weights, &norms, &biases].iter().flat_map(|g| &g.params).map(Tensor::shallow_clone).collect();
        Self { rule, weights, norms, biases, all, steps: 0, clip_norm }
    }

    /// One step along the gradients, which are dropped afterwards.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn step(&mut self, pace: &Pace) -> Result<Stepped, TchError> {
        let norm = grad_norm(&self.all)?;
        if !norm.is_finite() {
            clear_grads(&self.all)?;
            return Ok(Stepped::NotFinite);
        }
        let divide = if self.clip_norm > 0.0 { (norm / self.clip_norm).max(1.0) } else { 1.0 };
        self.steps += 1;
        let groups = [(&self.weights, pace.lr, pace.weight_decay), (&self.norms, pace.lr, 0.0), (&self.biases, pace.bias_lr, 0.0)];
        for (group, lr, weight_decay) in groups {
            match self.rule {
                Rule::Sgd => {
                    let how = Sgd { lr, momentum: pace.momentum, weight_decay, nesterov: true };
                    sgd_step(&group.params, &group.first, &how, divide)?;
                }
                Rule::AdamW => {
                    let how = AdamW { lr, beta1: pace.momentum, beta2: 0.999, eps: 1e-8, weight_decay };
                    adamw_step(&group.params, &group.first, &group.second, self.steps, &how, divide)?;
                }
            }
        }
        clear_grads(&self.all)?;
        Ok(Stepped::Moved(norm))
    }

    /// Steps taken.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// For a run that goes on: the steps taken before.
    pub fn set_steps(&mut self, steps: u64) {
        self.steps = steps;
    }

    /// Drops gradients that were gathered so far.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn drop_gradients(&self) -> Result<(), TchError> {
        clear_grads(&self.all)
    }

    /// The state by name; tensors share memory with the optimiser.
    pub fn state(&self) -> Vec<(String, Tensor)> {
        let named = |kind: &str, group: &Group, state: &[Tensor]| -> Vec<(String, Tensor)> {
            group.names.iter().zip(state).map(|(n, t)| (format!("{kind}.{n}"), t.shallow_clone())).collect()
        };
        [&self.weights, &self.norms, &self.biases]
            .iter()
            .flat_map(|g| [named("first", g, &g.first), named("second", g, &g.second)])
            .flatten()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tch::{Device, Kind};

    use super::*;

    fn variables() -> Vec<(String, Tensor, Role)> {
        let one = || Tensor::from_slice(&[1f32]).set_requires_grad(true);
        vec![
            ("w".to_owned(), one(), Role::Weight),
            ("nw".to_owned(), one(), Role::NormWeight),
            ("b".to_owned(), one(), Role::Bias),
            ("mean".to_owned(), Tensor::zeros([1], (Kind::Float, Device::Cpu)), Role::RunningMean),
        ]
    }

    fn pace() -> Pace {
        Pace { lr: 0.1, bias_lr: 0.2, momentum: 0.0, weight_decay: 0.5, accumulate: 1 }
    }

    fn values(variables: &[(String, Tensor, Role)]) -> Vec<f64> {
        variables.iter().map(|v| v.1.double_value(&[0])).collect()
    }

    #[test]
    fn only_weights_decay_and_biases_have_their_own_rate() {
        let variables = variables();
        let mut optimiser = Optimiser::new(Rule::Sgd, 10.0, &variables);
        variables[..3].iter().fold(Tensor::zeros([1], (Kind::Float, Device::Cpu)), |sum, v| sum + &v.1).backward();
        assert_eq!(optimiser.step(&pace()).unwrap(), Stepped::Moved(3f32.sqrt().into()));
        // 1 − 0.1 · (1 + 0.5), 1 − 0.1 · 1, 1 − 0.2 · 1; statistics are not the optimiser's
        for (got, want) in values(&variables).iter().zip([0.85, 0.9, 0.8, 0.0]) {
            assert!((got - want).abs() < 1e-6, "{got} is not {want}");
        }
        assert!(!variables[0].1.grad().defined());
    }

    #[test]
    fn large_gradients_are_scaled_down_to_the_limit() {
        let variables = variables();
        let mut optimiser = Optimiser::new(Rule::Sgd, 10.0, &variables);
        (&variables[2].1 * 40.0).backward();
        assert_eq!(optimiser.step(&pace()).unwrap(), Stepped::Moved(40.0));
        // 40 is scaled to 10: 1 − 0.2 · 10
        assert!((variables[2].1.double_value(&[0]) + 1.0).abs() < 1e-6);
    }

    #[test]
    fn without_a_limit_gradients_are_taken_as_they_are() {
        let variables = variables();
        let mut optimiser = Optimiser::new(Rule::Sgd, 0.0, &variables);
        (&variables[2].1 * 40.0).backward();
        optimiser.step(&pace()).unwrap();
        // 1 − 0.2 · 40
        assert!((variables[2].1.double_value(&[0]) + 7.0).abs() < 1e-6);
    }

    #[test]
    fn adamw_decays_weights_only() {
        let variables = variables();
        let mut optimiser = Optimiser::new(Rule::AdamW, 10.0, &variables);
        variables[..3].iter().fold(Tensor::zeros([1], (Kind::Float, Device::Cpu)), |sum, v| sum + &v.1).backward();
        optimiser.step(&pace()).unwrap();
        // A first step is as long as the rate: 1 − 0.1 · 0.5 − 0.1, 1 − 0.1, 1 − 0.2
        for (got, want) in values(&variables).iter().zip([0.85, 0.9, 0.8, 0.0]) {
            assert!((got - want).abs() < 1e-5, "{got} is not {want}");
        }
    }

    #[test]
    fn what_asks_for_no_gradient_is_left_alone() {
        let variables = variables();
        let _ = variables[0].1.set_requires_grad(false);
        let mut optimiser = Optimiser::new(Rule::AdamW, 10.0, &variables);
        (&variables[0].1 + &variables[2].1).backward();
        optimiser.step(&pace()).unwrap();
        assert_eq!(values(&variables)[0], 1.0);
        assert!(optimiser.state().iter().all(|(name, _)| !name.ends_with(".w")));
    }

    #[test]
    fn gradients_that_are_not_finite_change_nothing() {
        for rule in [Rule::Sgd, Rule::AdamW] {
            let variables = variables();
            let mut optimiser = Optimiser::new(rule, 10.0, &variables);
            (&variables[0].1 * f64::NAN).backward();
            assert_eq!(optimiser.step(&pace()).unwrap(), Stepped::NotFinite);
            assert_eq!((values(&variables)[0], optimiser.steps()), (1.0, 0));
        }
    }
}
