//! A learning rate that falls by a factor at regular intervals.

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Phase, ScheduleConfig, phase};
use crate::number::{Fraction, Probability};

/// The run after the warm-up is cut into drops + 1 equal parts; in part k = 0, 1, … the rate is
/// multiplied by the k-th power of `factor`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Step {
    /// Share of all steps in which the rate rises linearly to its full value.
    warm_up: Fraction,
    /// How often the rate falls.
    drops: NonZeroU32,
    /// What each drop multiplies the rate by.
    factor: Probability,
}

impl Default for Step {
    fn default() -> Self {
        Self {
            warm_up: Fraction::new(0.0),
            drops: const { NonZeroU32::new(2).expect("2 is not 0") },
            factor: Probability::new(0.1),
        }
    }
}

impl ScheduleConfig for Step {
    fn factor(&self, step: u64, total: u64) -> f64 {
        match phase(self.warm_up, step, total) {
            Phase::WarmUp(factor) => factor,
            Phase::Main { done, total } => {
                let parts = u128::from(self.drops.get()) + 1;
                let passed = u128::from(done) * parts / u128::from(total);
                self.factor.get().powf(passed as f64)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn falls_at_each_third() {
        let step = Step { factor: Probability::new(0.5), ..Step::default() };
        let factors: Vec<f64> = (0..9).map(|at| step.factor(at, 9)).collect();
        assert_eq!(factors, [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25]);
    }
}
