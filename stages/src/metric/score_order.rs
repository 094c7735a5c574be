//! Probes in order of score: parted at memory speed into ranges that fit a cache, which are then sorted.

use rayon::prelude::*;

use super::threshold_search::Probe;

/// Fewer are sorted as they are.
const FEW: usize = 1 << 14;
/// Probes in a range, about; they fit the cache of one core.
const TOGETHER: usize = 2048;
/// Ranges at most: so many places are written to in turn without missing pages.
const MOST_RANGES: usize = 4096;
/// Probes that one thread parts at a time.
const SHARE: usize = 1 << 18;

/// Puts probes in order of score; equal ones stay in order.
pub(crate) fn sort(probes: &mut [Probe]) {
    let ends = |a: [f64; 2], b: [f64; 2]| [a[0].min(b[0]), a[1].max(b[1])];
    let none = || [f64::INFINITY, f64::NEG_INFINITY];
    let [lowest, highest] = probes.par_iter().map(|one| [one.score; 2]).reduce(none, ends);
    let ranges = (probes.len() / TOGETHER).min(MOST_RANGES);
    let scale = (ranges as f64 - 0.5) / (highest - lowest);
    if probes.len() < FEW || !scale.is_normal() {
        return sort_range(probes);
    }
    // Differences and products keep the order, so no range holds a score above one of the next.
    let range = |probe: &Probe| (((probe.score - lowest) * scale) as usize).min(ranges - 1);
    let parted: Vec<Parted> =
        probes.par_chunks(SHARE).map(|share| Parted::of(share, ranges, range)).collect();
    let mut rest = probes;
    let mut places = Vec::with_capacity(ranges);
    for range in 0..ranges {
        let length = parted.iter().map(|parted| parted.range(range).len()).sum();
        let (place, after) = rest.split_at_mut(length);
        places.push(place);
        rest = after;
    }
    places.into_par_iter().enumerate().for_each(|(range, place)| {
        let mut start = 0;
        for part in parted.iter().map(|parted| parted.range(range)) {
            place[start..start + part.len()].copy_from_slice(part);
            start += part.len();
        }
        sort_range(place);
    });
}

fn sort_range(probes: &mut [Probe]) {
    let order = |a: &Probe, b: &Probe| a.score.total_cmp(&b.score);
    if probes.len() < FEW { probes.sort_by(order) } else { probes.par_sort_by(order) }
}

/// Probes range by range, within a range as they came.
struct Parted {
    probes: Vec<Probe>,
    /// Where each range starts, and the end of the last.
    starts: Vec<usize>,
}

impl Parted {
    fn of(share: &[Probe], ranges: usize, range: impl Fn(&Probe) -> usize) -> Self {
        let mut starts = vec![0; ranges + 1];
        for probe in share {
            starts[range(probe) + 1] += 1;
        }
        for range in 0..ranges {
            starts[range + 1] += starts[range];
        }
        let (mut next, mut probes) = (starts.clone(), share.to_vec());
        for probe in share {
            let next = &mut next[range(probe)];
            probes[*next] = *probe;
            *next += 1;
        }
        Self { probes, starts }
    }

    fn range(&self, range: usize) -> &[Probe] {
        &self.probes[self.starts[range]..self.starts[range + 1]]
    }
}

#[cfg(test)]
mod tests {
    use super::{FEW, SHARE, sort};
    use crate::metric::threshold_search::{Outcome, Probe};
    use crate::rng::Random;

    #[track_caller]
    fn check(scores: impl Iterator<Item = f64>) {
        // The outcome tells equal scores apart: they must stay in order.
        let outcomes = [Outcome::Correct, Outcome::Unknown, Outcome::Wrong, Outcome::Unknown];
        let probes = scores.zip(outcomes.into_iter().cycle());
        let mut probes: Vec<Probe> =
            probes.map(|(score, outcome)| Probe { score, outcome }).collect();
        let mut expected = probes.clone();
        expected.sort_by(|a, b| a.score.total_cmp(&b.score));
        sort(&mut probes);
        assert!(probes == expected);
    }

    #[test]
    fn the_order_is_that_of_a_stable_sort() {
        let mut random = Random::new(1, "scores", &[]);
        for count in [0, 1, FEW - 1, FEW, SHARE + 12_345] {
            check((0..count).map(|_| random.normal()));
        }
        check((0..2 * FEW).map(|_| random.below(50) as f64 / 50.0 - 0.5));
        check((0..2 * FEW).map(|at| if at % 2 == 0 { 0.0 } else { -0.0 }));
        // One far from the others, one farther than a difference can say, and such as differ by the last bit.
        check((0..2 * FEW).map(|at| if at == 9 { 1e200 } else { random.normal() }));
        check((0..2 * FEW).map(|at| if at % 2 == 0 { f64::MAX } else { f64::MIN }));
        check((0..2 * FEW).map(|at| f64::from_bits(1.0_f64.to_bits() + at as u64 * 7919 % 1000)));
    }
}
