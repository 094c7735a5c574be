//! A learning rate that falls by a factor at chosen moments.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Phase, ScheduleConfig, phase};
use crate::kind::Complaint;
use crate::number::{Fraction, Probability};

/// The rate is multiplied by `factor` once for each milestone m with step ≥ round(m · total).
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct MultiStep {
    /// Share of all steps in which the rate rises linearly to its full value.
    warm_up: Fraction,
    /// Shares of the whole run, rising, at which the rate falls.
    milestones: Vec<Fraction>,
    /// What each fall multiplies the rate by.
    factor: Probability,
}

impl Default for MultiStep {
    fn default() -> Self {
        Self {
            warm_up: Fraction::new(0.0),
            milestones: vec![Fraction::new(0.5), Fraction::new(0.75)],
            factor: Probability::new(0.1),
        }
    }
}

impl ScheduleConfig for MultiStep {
    fn factor(&self, step: u64, total: u64) -> f64 {
        if let Phase::WarmUp(factor) = phase(self.warm_up, step, total) {
            return factor;
        }
        let passed = |share: &&Fraction| step >= (share.get() * total as f64).round() as u64;
        self.milestones.iter().filter(passed).map(|_| self.factor.get()).product()
    }

    fn check(&self) -> Vec<Complaint> {
        if self.milestones.is_sorted_by(|a, b| a < b) {
            return Vec::new();
        }
        vec![Complaint {
            parameter: "multi-step.milestones".to_owned(),
            message: "milestones do not rise".to_owned(),
            help: Some("list shares of the run from early to late, e.g. [0.5, 0.75]".to_owned()),
        }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn falls_at_the_milestones() {
        // torch.optim.lr_scheduler.MultiStepLR(rate 1, milestones=[4, 6], gamma=0.1) over 8 steps
        let schedule = MultiStep::default();
        let factors: Vec<f64> = (0..8).map(|step| schedule.factor(step, 8)).collect();
        let expected = [1.0, 1.0, 1.0, 1.0, 0.1, 0.1, 0.01, 0.01];
        assert!(factors.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-15), "{factors:?}");
    }

    #[test]
    fn milestones_must_rise() {
        let milestones = vec![Fraction::new(0.5), Fraction::new(0.5)];
        let complaints = MultiStep { milestones, ..MultiStep::default() }.check();
        assert_eq!(complaints[0].parameter, "multi-step.milestones");
        assert!(MultiStep::default().check().is_empty());
    }
}
