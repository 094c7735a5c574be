//! The same learning rate throughout, after an optional warm-up.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Phase, ScheduleConfig, phase};
use crate::number::Fraction;

/// The factor is 1 after the warm-up.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Constant {
    /// Share of all steps in which the rate rises linearly to its full value.
    warm_up: Fraction,
}

impl Default for Constant {
    fn default() -> Self {
        Self { warm_up: Fraction::new(0.0) }
    }
}

impl ScheduleConfig for Constant {
    fn factor(&self, step: u64, total: u64) -> f64 {
        match phase(self.warm_up, step, total) {
            Phase::WarmUp(factor) => factor,
            Phase::Main { .. } => 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rises_in_equal_parts_and_stays() {
        let constant = Constant { warm_up: Fraction::new(0.3) };
        let factors: Vec<f64> = (0..10).map(|step| constant.factor(step, 10)).collect();
        assert_eq!(factors, [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]);
        assert_eq!(Constant::default().factor(0, 1), 1.0);
    }
}
