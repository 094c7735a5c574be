//! The threshold of highest expected accuracy when the scores of correct and of unknown probes are
//! each normally distributed.

use serde::{Deserialize, Serialize};

use super::normal::cumulative;
use super::threshold_search::{Outcome, Probe};

/// A normal distribution and how many probes it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Scores {
    /// How many probes.
    pub(crate) count: usize,
    /// Their mean score; 0 without a probe.
    pub(crate) mean: f64,
    /// The square root of the unbiased variance of their scores; 0 below two probes.
    pub(crate) deviation: f64,
}

/// The distributions of the scores of correct and of unknown probes.
///
/// Probes whose nearest identity is a wrong one play no part: they are errors at every threshold. So the
/// optimum is where the density of *correct* probes, not of all probes of known people, meets that of
/// the unknown.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct GaussianRule {
    /// Probes whose nearest identity is the right one.
    pub(crate) correct: Scores,
    /// Probes of nobody known.
    pub(crate) unknown: Scores,
}

impl Scores {
    fn fit(scores: impl Iterator<Item = f64> + Clone) -> Self {
        let count = scores.clone().count();
        let mean = scores.clone().sum::<f64>() / count.max(1) as f64;
        let squares: f64 = scores.map(|score| (score - mean) * (score - mean)).sum();
        let deviation = if count < 2 { 0.0 } else { (squares / (count - 1) as f64).sqrt() };
        Self { count, mean, deviation }
    }

    /// Returns how many of the probes are expected below a threshold.
    fn below(&self, threshold: f64, deviation: f64) -> f64 {
        self.count as f64 * cumulative((threshold - self.mean) / deviation)
    }
}

impl GaussianRule {
    /// Fits both distributions.
    pub(crate) fn fit(probes: impl Iterator<Item = Probe> + Clone) -> Self {
        let of = |outcome: Outcome| {
            let probes = probes.clone().filter(move |probe| probe.outcome == outcome);
            Scores::fit(probes.map(|probe| probe.score))
        };
        Self { correct: of(Outcome::Correct), unknown: of(Outcome::Unknown) }
    }

    /// Returns the threshold of the highest expected accuracy: minus infinity where it is best never to
    /// reject, infinity where always.
    ///
    /// The expected count of right answers, `n (1 - Φ((t - μ) / σ)) + m Φ((t - ν) / τ)`, is stationary
    /// where the weighted densities are equal, which is a quadratic equation in `t`. Its roots and the
    /// two infinities are compared; of equal ones the lowest is taken. A distribution of fewer than
    /// two probes, or of equal scores, borrows the pooled deviation.
    pub(crate) fn threshold(&self) -> f64 {
        let Self { correct, unknown } = self;
        if unknown.count == 0 {
            return f64::NEG_INFINITY;
        }
        if correct.count == 0 {
            return f64::INFINITY;
        }
        let Some((sigma, tau)) = self.deviations() else {
            // Nothing spreads: a threshold either parts the two points or cannot help.
            return if unknown.mean < correct.mean {
                unknown.mean + (correct.mean - unknown.mean) / 2.0
            } else if correct.count >= unknown.count {
                f64::NEG_INFINITY
            } else {
                f64::INFINITY
            };
        };
        // Measured from the unknown mean in units of sigma, for accuracy where the scores lie close.
        let (mean, tau) = ((correct.mean - unknown.mean) / sigma, tau / sigma);
        // ln(n) - (z - mean)² / 2 = ln(m) - ln(tau) - z² / (2 tau²)
        let odds = (correct.count as f64 / unknown.count as f64 * tau).ln();
        let roots = roots(0.5 / (tau * tau) - 0.5, mean, odds - 0.5 * mean * mean);
        let candidates = roots.into_iter().flatten().map(|z| unknown.mean + z * sigma);
        let tau = tau * sigma;
        let expected = |threshold: f64| {
            correct.count as f64 - correct.below(threshold, sigma) + unknown.below(threshold, tau)
        };
        let mut best = (f64::NEG_INFINITY, correct.count as f64);
        for threshold in candidates.chain([f64::INFINITY]) {
            let right =
                if threshold.is_finite() { expected(threshold) } else { unknown.count as f64 };
            if right > best.1 || (right == best.1 && threshold < best.0) {
                best = (threshold, right);
            }
        }
        best.0
    }

    /// Returns both deviations, none of them 0; none where all scores of both are equal.
    fn deviations(&self) -> Option<(f64, f64)> {
        let Self { correct, unknown } = self;
        let freedom = |scores: &Scores| scores.count.saturating_sub(1) as f64;
        let squares = |scores: &Scores| freedom(scores) * scores.deviation * scores.deviation;
        let pooled = ((squares(correct) + squares(unknown))
            / (freedom(correct) + freedom(unknown)).max(1.0))
        .sqrt();
        let own = |scores: &Scores| if scores.deviation > 0.0 { scores.deviation } else { pooled };
        (pooled > 0.0).then(|| (own(correct), own(unknown)))
    }
}

/// Returns the real roots of `a z² + b z + c`, in the form that loses no digits to cancellation.
fn roots(a: f64, b: f64, c: f64) -> [Option<f64>; 2] {
    let discriminant = b * b - 4.0 * a * c;
    if discriminant < 0.0 {
        return [None, None];
    }
    let half = -0.5 * (b + discriminant.sqrt().copysign(b));
    let finite = |root: f64| root.is_finite().then_some(root);
    [finite(half / a), finite(c / half)]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{GaussianRule, Scores};
    use crate::metric::normal::cumulative;
    use crate::metric::threshold_search::{Outcome, Probe};

    fn rule(correct: (usize, f64, f64), unknown: (usize, f64, f64)) -> GaussianRule {
        let scores = |(count, mean, deviation)| Scores { count, mean, deviation };
        GaussianRule { correct: scores(correct), unknown: scores(unknown) }
    }

    fn expected(rule: &GaussianRule, threshold: f64) -> f64 {
        let below = |scores: &Scores| {
            scores.count as f64 * cumulative((threshold - scores.mean) / scores.deviation)
        };
        rule.correct.count as f64 - below(&rule.correct) + below(&rule.unknown)
    }

    #[test]
    fn equal_spread_and_counts_meet_in_the_middle() {
        let found = rule((10, 0.6, 0.1), (10, 0.2, 0.1)).threshold();
        assert!((found - 0.4).abs() < 1e-12, "{found}");
    }

    #[test]
    fn degenerate_cases_have_an_answer() {
        let (low, high) = (f64::NEG_INFINITY, f64::INFINITY);
        assert_eq!(rule((0, 0.0, 0.0), (0, 0.0, 0.0)).threshold(), low);
        assert_eq!(rule((9, 0.5, 0.1), (0, 0.0, 0.0)).threshold(), low);
        assert_eq!(rule((0, 0.0, 0.0), (1, 0.3, 0.0)).threshold(), high);
        assert_eq!(rule((3, 0.5, 0.0), (2, 0.3, 0.0)).threshold(), 0.4);
        assert_eq!(rule((3, 0.3, 0.0), (2, 0.3, 0.0)).threshold(), low);
        assert_eq!(rule((2, 0.3, 0.0), (3, 0.5, 0.0)).threshold(), high);
        // The single unknown borrows the spread of the others.
        let single = rule((10, 0.6, 0.1), (1, 0.2, 0.0)).threshold();
        assert_eq!(single, rule((10, 0.6, 0.1), (1, 0.2, 0.1)).threshold());
        assert!(single > 0.2 && single < 0.4, "{single}");
        // Rejecting can only lose where the few unknown lie among the many correct.
        assert_eq!(rule((300, 0.5, 0.1), (10, 0.5, 0.1)).threshold(), low);
    }

    #[test]
    fn the_fit_is_the_unbiased_one() {
        let of = |score, outcome| Probe { score, outcome };
        let probes = [
            of(1.0, Outcome::Correct),
            of(2.0, Outcome::Correct),
            of(4.0, Outcome::Correct),
            of(9.0, Outcome::Wrong),
            of(0.5, Outcome::Unknown),
        ];
        let fit = GaussianRule::fit(probes.iter().copied());
        assert_eq!(fit.correct.count, 3);
        assert!((fit.correct.mean - 7.0 / 3.0).abs() < 1e-15);
        assert!((fit.correct.deviation - (7.0_f64 / 3.0).sqrt()).abs() < 1e-15);
        assert_eq!(fit.unknown, Scores { count: 1, mean: 0.5, deviation: 0.0 });
    }

    proptest! {
        /// No threshold of a fine grid is expected to do better.
        #[test]
        fn it_is_the_best(
            n in 1_usize..400, m in 1_usize..100,
            mean in -1.0..1.0_f64, other in -1.0..1.0_f64,
            sigma in 0.01..0.5_f64, tau in 0.01..0.5_f64,
        ) {
            let rule = rule((n, mean, sigma), (m, other, tau));
            let found = expected(&rule, rule.threshold());
            for step in -3000..3000 {
                let there = expected(&rule, f64::from(step) / 1000.0);
                prop_assert!(there <= found + 1e-9, "{} at {step}, {found}", there);
            }
        }
    }
}
