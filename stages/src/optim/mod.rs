//! What turns gradients into better weights, one file each.

mod adamw;
mod sgd;

use std::collections::BTreeMap;

use anyhow::Result;
use candle_core::Tensor;

use crate::choices::choices;
use crate::kind::Complaint;
use crate::weights::Parameter;

/// The gradient of each parameter, by name.
pub(crate) type Gradients = BTreeMap<String, Tensor>;

/// The parameters of an optimizer.
pub(crate) trait OptimizerConfig {
    /// Makes the optimizer of these parameters.
    fn build(&self, parameters: Vec<Parameter>) -> Result<Box<dyn Optimizer>>;

    /// Returns the learning rate that the schedule multiplies.
    fn rate(&self) -> f64;

    /// Returns what is wrong with the parameters, named from the family on, e.g. `sgd.nesterov`.
    fn check(&self) -> Vec<Complaint> {
        Vec::new()
    }
}

/// An optimizer with its running state.
pub(crate) trait Optimizer: Send {
    /// Changes every parameter by its gradient at this learning rate.
    ///
    /// # Errors
    ///
    /// When a parameter has no gradient, or one of another shape.
    fn step(&mut self, gradients: &Gradients, rate: f64) -> Result<()>;

    /// Returns what a later [`Self::restore`] needs to go on bit for bit.
    fn state(&self) -> Result<BTreeMap<String, Tensor>>;

    /// Takes up a state that [`Self::state`] gave.
    ///
    /// # Errors
    ///
    /// When it is the state of other parameters.
    fn restore(&mut self, state: BTreeMap<String, Tensor>) -> Result<()>;
}

choices! {
    /// What turns gradients into better weights.
    pub(crate) enum AnyOptimizer: OptimizerConfig {
        /// Stochastic gradient descent with momentum.
        Sgd(sgd::Sgd),
        /// Adam with decoupled weight decay.
        Adamw(adamw::Adamw),
    }
}
