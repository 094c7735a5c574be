//! How a threshold is made from labelled probes.

use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::metric::gaussian_rule::GaussianRule;
use crate::metric::threshold_search::{Probe, best};

/// How the threshold is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Rule {
    /// The scores of correct and of unknown probes are each taken as normally distributed, and the
    /// expected accuracy is maximal. Loses less on new images than `maximum` does.
    #[default]
    Parametric,
    /// The most right answers on the given images; of equally good thresholds the lower median.
    Maximum,
    /// A given threshold.
    Fixed(Fixed),
}

/// A given threshold.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Fixed {
    /// Scores below it are rejected: a cosine, or a distance negated.
    pub(crate) value: f64,
}

impl Rule {
    /// Chooses a threshold for probes in order of score; infinite where it is best to accept or to reject
    /// all.
    pub(crate) fn choose(self, sorted: impl Iterator<Item = Probe> + Clone) -> f64 {
        match self {
            Self::Parametric => GaussianRule::fit(sorted).threshold(),
            Self::Maximum => best(sorted).threshold,
            Self::Fixed(Fixed { value }) => value,
        }
    }

    /// Returns for each probe whether the threshold chosen from all the others is right about it.
    pub(crate) fn leave_one_out(self, sorted: &[Probe]) -> Vec<bool> {
        let judge = |left_out: usize| {
            let others = sorted[..left_out].iter().chain(&sorted[left_out + 1..]).copied();
            sorted[left_out].is_right(self.choose(others))
        };
        (0..sorted.len()).into_par_iter().map(judge).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::{Fixed, Rule};
    use crate::metric::threshold_search::{Outcome, Probe, sort};
    use crate::rng::Random;

    #[derive(serde::Deserialize)]
    struct Holder {
        rule: Rule,
    }

    #[test]
    fn rules_are_written_as_words_or_a_table() {
        let read = |text: &str| toml::from_str::<Holder>(text).map(|holder| holder.rule);
        assert_eq!(read("rule = \"maximum\"").unwrap(), Rule::Maximum);
        assert_eq!(read("rule = \"parametric\"").unwrap(), Rule::Parametric);
        let fixed = read("rule.fixed = { value = 0.3 }").unwrap();
        assert_eq!(fixed, Rule::Fixed(Fixed { value: 0.3 }));
        assert!(read("rule.fixed = { val = 0.3 }").is_err() && read("rule = \"max\"").is_err());
    }

    /// Draws probes as a net of middling strength gives them: most correct, some wrong, 1 in 9 unknown.
    fn drawn(round: u64, count: usize) -> Vec<Probe> {
        let mut random = Random::new(11, "probes", &[round]);
        let mut probes: Vec<Probe> = (0..count)
            .map(|_| {
                let (mean, outcome) = if random.chance(1.0 / 9.0) {
                    (0.35, Outcome::Unknown)
                } else if random.chance(0.2) {
                    (0.38, Outcome::Wrong)
                } else {
                    (0.58, Outcome::Correct)
                };
                Probe { score: mean + 0.1 * random.normal(), outcome }
            })
            .collect();
        sort(&mut probes);
        probes
    }

    fn accuracy(probes: &[Probe], threshold: f64) -> f64 {
        let right = probes.iter().filter(|probe| probe.is_right(threshold)).count();
        right as f64 / probes.len() as f64
    }

    /// What the documentation promises: on new probes the parametric rule loses less than the maximum,
    /// and the leave-one-out accuracy is honest where the maximum on the given probes flatters.
    #[test]
    fn the_default_generalizes_and_its_figure_is_honest() {
        let fresh = drawn(1_000_000, 40_000);
        let rounds = 150;
        let mut sums = [0.0; 4];
        for round in 0..rounds {
            let given = drawn(round, 360);
            let parametric = Rule::Parametric.choose(given.iter().copied());
            let maximum = Rule::Maximum.choose(given.iter().copied());
            let judged = Rule::Parametric.leave_one_out(&given);
            sums[0] += accuracy(&fresh, parametric);
            sums[1] += accuracy(&fresh, maximum);
            sums[2] += judged.iter().filter(|&&right| right).count() as f64 / 360.0;
            sums[3] += accuracy(&given, maximum);
        }
        let [parametric, maximum, honest, flattering] = sums.map(|sum| sum / rounds as f64);
        assert!(parametric > maximum + 0.001, "{parametric} {maximum}");
        assert!((honest - parametric).abs() < 0.004, "{honest} {parametric}");
        assert!(flattering > maximum + 0.005, "{flattering} {maximum}");
    }

    proptest! {
        #[test]
        fn leaving_one_out_is_choosing_without_it(
            of in vec((0_u8..8, 0_u8..3), 1..12), fixed in any::<bool>(), maximum in any::<bool>()
        ) {
            let outcome = |kind| [Outcome::Correct, Outcome::Wrong, Outcome::Unknown][usize::from(kind)];
            let mut probes: Vec<Probe> = of
                .iter()
                .map(|&(score, kind)| Probe { score: f64::from(score), outcome: outcome(kind) })
                .collect();
            sort(&mut probes);
            let rule = match (fixed, maximum) {
                (true, _) => Rule::Fixed(Fixed { value: 3.5 }),
                (_, true) => Rule::Maximum,
                _ => Rule::Parametric,
            };
            let found = rule.leave_one_out(&probes);
            for (position, right) in found.into_iter().enumerate() {
                let mut others = probes.clone();
                let one = others.remove(position);
                prop_assert_eq!(right, one.is_right(rule.choose(others.into_iter())));
            }
        }
    }
}
