//! A learning rate that falls along half a cosine (Loshchilov and Hutter 2017, without restarts).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Phase, ScheduleConfig, phase};
use crate::number::{Fraction, Probability};

/// With p the share of the steps after the warm-up that are done, the factor is
/// floor + (1 − floor) · (1 + cos πp) / 2.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Cosine {
    /// Share of all steps in which the rate rises linearly to its full value.
    warm_up: Fraction,
    /// Share of the full rate that it falls to.
    floor: Probability,
}

impl Default for Cosine {
    fn default() -> Self {
        Self { warm_up: Fraction::new(0.05), floor: Probability::new(0.0) }
    }
}

impl ScheduleConfig for Cosine {
    fn factor(&self, step: u64, total: u64) -> f64 {
        match phase(self.warm_up, step, total) {
            Phase::WarmUp(factor) => factor,
            Phase::Main { done, total } => {
                let angle = std::f64::consts::PI * (done as f64 / total as f64);
                let floor = self.floor.get();
                floor + (1.0 - floor) * 0.5 * (1.0 + angle.cos())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(warm_up: f64, floor: f64, expected: &[f64]) {
        let cosine = Cosine { warm_up: Fraction::new(warm_up), floor: Probability::new(floor) };
        let total = expected.len() as u64;
        for (step, expected) in expected.iter().enumerate() {
            let factor = cosine.factor(step as u64, total);
            assert!((factor - expected).abs() < 1e-12, "step {step}: {factor}, not {expected}");
        }
    }

    #[test]
    fn agrees_with_torch() {
        // torch.optim.lr_scheduler.CosineAnnealingLR(rate 1, T_max=4, eta_min=0.1)
        check(0.0, 0.1, &[1.0, 0.868_198_051_533_946_3, 0.55, 0.231_801_948_466_053_64]);
    }

    #[test]
    fn warm_up_meets_the_cosine_at_the_full_rate() {
        check(0.5, 0.0, &[1.0 / 3.0, 2.0 / 3.0, 1.0, 0.5]);
        check(0.9, 0.0, &[0.5]);
    }
}
