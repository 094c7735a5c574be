//! The exact search for the threshold below which a probe is called unknown.

pub(crate) use super::score_order::sort;

/// What a probe's nearest known identity is to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The right one: accepting is right.
    Correct,
    /// Another, though the right one is known: neither accepting nor rejecting is right.
    Wrong,
    /// The probe is of nobody known: rejecting is right.
    Unknown,
}

/// The similarity of a probe to its nearest known identity, and what that identity is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Probe {
    /// Finite; the higher, the more alike.
    pub(crate) score: f64,
    /// What accepting it would be.
    pub(crate) outcome: Outcome,
}

impl Probe {
    /// Returns whether the answer at this threshold is right; a score at the threshold is accepted.
    pub(crate) fn is_right(self, threshold: f64) -> bool {
        match self.outcome {
            Outcome::Correct => self.score >= threshold,
            Outcome::Wrong => false,
            Outcome::Unknown => self.score < threshold,
        }
    }
}

/// A threshold and how many answers are right at it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Step {
    /// Minus infinity, the middle between two neighbouring scores, or infinity.
    pub(crate) threshold: f64,
    /// How many answers are right.
    pub(crate) right: usize,
}

/// Returns every threshold that tells probes apart, in rising order, and its count of right answers.
///
/// One sweep over sorted probes: at minus infinity all are accepted; each probe passed adds one when it
/// is unknown and takes one away when it is correct. Equal scores are passed together.
pub(crate) fn steps(sorted: impl Iterator<Item = Probe> + Clone) -> impl Iterator<Item = Step> {
    let accepted = sorted.clone().filter(|probe| probe.outcome == Outcome::Correct).count();
    let mut probes = sorted.peekable();
    let mut next = Some(Step { threshold: f64::NEG_INFINITY, right: accepted });
    std::iter::from_fn(move || {
        let step = next?;
        let mut right = step.right;
        let score = probes.peek().map(|probe| probe.score);
        while let Some(probe) = probes.next_if(|probe| Some(probe.score) == score) {
            match probe.outcome {
                Outcome::Correct => right -= 1,
                Outcome::Wrong => {}
                Outcome::Unknown => right += 1,
            }
        }
        let above = probes.peek().map(|probe| probe.score);
        next = score.map(|score| Step {
            threshold: above.map_or(f64::INFINITY, |above| between(score, above)),
            right,
        });
        Some(step)
    })
}

/// Returns a threshold that accepts `above` and rejects `below`: the middle, where floats have one.
fn between(below: f64, above: f64) -> f64 {
    let middle = below + (above - below) / 2.0;
    if middle > below { middle } else { above }
}

/// The thresholds with the most right answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Best {
    /// How many answers are right at them.
    pub(crate) right: usize,
    /// The lower median of them: as far from the ends of the plateau as can be told.
    pub(crate) threshold: f64,
    /// The lowest of them.
    pub(crate) lowest: f64,
    /// The highest of them.
    pub(crate) highest: f64,
    /// How many there are.
    pub(crate) count: usize,
}

/// Returns the best thresholds for sorted probes.
pub(crate) fn best(sorted: impl Iterator<Item = Probe> + Clone) -> Best {
    let mut right = 0;
    // The thresholds of the best plateau so far, in rising order.
    let mut plateau = Vec::new();
    for step in steps(sorted) {
        if step.right > right {
            right = step.right;
            plateau.clear();
        }
        if step.right == right {
            plateau.push(step.threshold);
        }
    }
    let count = plateau.len();
    let at = |position: usize| plateau.get(position).copied().unwrap_or(f64::NEG_INFINITY);
    let last = count.saturating_sub(1);
    Best { right, threshold: at(last / 2), lowest: at(0), highest: at(last), count }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::{Best, Outcome, Probe, Step, best, sort, steps};

    const C: Outcome = Outcome::Correct;
    const W: Outcome = Outcome::Wrong;
    const U: Outcome = Outcome::Unknown;

    fn probes(of: &[(f64, Outcome)]) -> Vec<Probe> {
        let mut probes: Vec<Probe> =
            of.iter().map(|&(score, outcome)| Probe { score, outcome }).collect();
        sort(&mut probes);
        probes
    }

    #[track_caller]
    fn check(of: &[(f64, Outcome)], expected: &[(f64, usize)], threshold: f64) {
        let probes = probes(of);
        let found: Vec<Step> = steps(probes.iter().copied()).collect();
        let expected: Vec<Step> =
            expected.iter().map(|&(threshold, right)| Step { threshold, right }).collect();
        assert_eq!(found, expected);
        assert_eq!(best(probes.iter().copied()).threshold, threshold);
    }

    const LOW: f64 = f64::NEG_INFINITY;
    const HIGH: f64 = f64::INFINITY;

    #[test]
    fn small_cases() {
        check(&[], &[(LOW, 0)], LOW);
        check(&[(0.5, C)], &[(LOW, 1), (HIGH, 0)], LOW);
        check(&[(0.5, U)], &[(LOW, 0), (HIGH, 1)], HIGH);
        check(&[(0.5, W)], &[(LOW, 0), (HIGH, 0)], LOW);
        check(&[(3.0, C), (1.0, U)], &[(LOW, 1), (2.0, 2), (HIGH, 1)], 2.0);
        check(&[(1.0, C), (3.0, U)], &[(LOW, 1), (2.0, 0), (HIGH, 1)], LOW);
    }

    #[test]
    fn equal_scores_move_together() {
        let all = [(0.5, C), (0.5, U), (0.5, C), (-0.0, U), (0.0, C)];
        check(&all, &[(LOW, 3), (0.25, 3), (HIGH, 2)], LOW);
    }

    #[test]
    fn of_a_plateau_the_lower_median_is_taken() {
        let all = [(1.0, U), (2.0, W), (3.0, W), (4.0, W), (5.0, C)];
        check(&all, &[(LOW, 1), (1.5, 2), (2.5, 2), (3.5, 2), (4.5, 2), (HIGH, 1)], 2.5);
        let found = best(probes(&all).into_iter());
        assert_eq!(found, Best { right: 2, threshold: 2.5, lowest: 1.5, highest: 4.5, count: 4 });
    }

    #[test]
    fn neighbouring_floats_are_told_apart() {
        let above = 1.0_f64.next_up();
        let found = best(probes(&[(1.0, U), (above, C)]).into_iter());
        assert_eq!((found.right, found.threshold), (2, above));
    }

    proptest! {
        /// The reference counts from scratch at every candidate.
        #[test]
        fn the_sweep_agrees_with_counting(
            of in vec(((0_u8..12), prop_oneof![Just(C), Just(W), Just(U)]), 0..40)
        ) {
            let probes = probes(
                &of.iter().map(|&(score, outcome)| (f64::from(score) / 4.0, outcome)).collect::<Vec<_>>(),
            );
            let count = |threshold: f64| probes.iter().filter(|probe| probe.is_right(threshold)).count();
            let mut scores: Vec<f64> = probes.iter().map(|probe| probe.score).collect();
            scores.dedup();
            let mut candidates = vec![LOW];
            candidates.extend(scores.windows(2).map(|pair| (pair[0] + pair[1]) / 2.0));
            if !scores.is_empty() {
                candidates.push(HIGH);
            }
            let expected: Vec<Step> =
                candidates.iter().map(|&threshold| Step { threshold, right: count(threshold) }).collect();
            let found: Vec<Step> = steps(probes.iter().copied()).collect();
            prop_assert_eq!(&found, &expected);

            let right = expected.iter().map(|step| step.right).max().unwrap();
            let plateau: Vec<f64> =
                expected.iter().filter(|step| step.right == right).map(|step| step.threshold).collect();
            let found = best(probes.iter().copied());
            prop_assert_eq!(found.right, right);
            prop_assert_eq!(found.threshold, plateau[(plateau.len() - 1) / 2]);
            prop_assert_eq!((found.lowest, found.highest), (plateau[0], plateau[plateau.len() - 1]));
            prop_assert_eq!(found.count, plateau.len());
            // No threshold at all does better, not only no candidate.
            for step in -8..60 {
                prop_assert!(count(f64::from(step) / 16.0) <= right);
            }
        }
    }
}
