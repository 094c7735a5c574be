//! How the learning rate changes over a run, one file each.

mod constant;
mod cosine;
mod multi_step;
mod step;

use crate::choices::choices;
use crate::kind::Complaint;
use crate::number::Fraction;

/// The parameters of a schedule.
pub(crate) trait ScheduleConfig {
    /// Returns what the learning rate of step `step` of `total` (0 ≤ step < total) is multiplied by.
    fn factor(&self, step: u64, total: u64) -> f64;

    /// Returns what is wrong with the parameters, named from the family on, e.g. `cosine.floor`.
    fn check(&self) -> Vec<Complaint> {
        Vec::new()
    }
}

choices! {
    /// How the learning rate changes over a run.
    pub(crate) enum AnySchedule: ScheduleConfig {
        /// The same rate throughout.
        Constant(constant::Constant),
        /// Down along half a cosine.
        Cosine(cosine::Cosine),
        /// Down by a factor at regular intervals.
        Step(step::Step),
        /// Down by a factor at chosen moments.
        MultiStep(multi_step::MultiStep),
    }
}

/// Where a run is.
enum Phase {
    /// In the warm-up, at this factor.
    WarmUp(f64),
    /// After it, with `done` of `total` steps behind; done < total.
    Main { done: u64, total: u64 },
}

/// Splits a run into the linear warm-up and the rest.
///
/// With w = round(share · total) steps of warm-up, step i < w has the factor (i + 1) / (w + 1): equal
/// rises from the first step to the full rate at step w.
fn phase(warm_up: Fraction, step: u64, total: u64) -> Phase {
    let warm_up = (warm_up.get() * total as f64).round() as u64;
    if step < warm_up {
        Phase::WarmUp((step + 1) as f64 / (warm_up + 1) as f64)
    } else {
        Phase::Main { done: step - warm_up, total: (total - warm_up).max(1) }
    }
}
