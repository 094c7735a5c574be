//! How far a figure may move with the sample it was computed on (Efron 1979).

use crate::rng::Random;

/// The part of resampled figures that an interval holds.
const COVERAGE: f64 = 0.95;

/// Returns the positions of one resample: as many as there are, drawn with replacement.
pub(crate) fn resample(seed: u64, round: u64, count: usize) -> Vec<usize> {
    let mut random = Random::new(seed, "bootstrap", &[round]);
    (0..count).map(|_| random.below(count as u64) as usize).collect()
}

/// Returns the percentile interval of resampled figures, which may be infinite; none of no figures.
///
/// The ends are figures themselves: `numpy.quantile` with the methods `lower` and `higher`.
pub(crate) fn interval(mut figures: Vec<f64>) -> Option<[f64; 2]> {
    figures.sort_by(f64::total_cmp);
    let last = figures.len().checked_sub(1)?;
    let tail = (1.0 - COVERAGE) / 2.0;
    let low = (tail * last as f64).floor() as usize;
    Some([figures[low], figures[last - low]])
}

#[cfg(test)]
mod tests {
    use super::{interval, resample};

    #[test]
    fn resamples_differ_by_round_and_seed_alone() {
        let first = resample(1, 0, 50);
        assert_eq!(first, resample(1, 0, 50));
        assert!(first != resample(1, 1, 50) && first != resample(2, 0, 50));
        assert!(first.iter().all(|&position| position < 50));
        assert!(resample(1, 0, 0).is_empty());
    }

    #[test]
    fn the_interval_covers_the_middle() {
        let shuffled: Vec<f64> = (0..=1000).map(|i| f64::from((i * 5) % 1001)).collect();
        assert_eq!(interval(shuffled), Some([25.0, 975.0]));
        assert_eq!(interval(vec![]), None);
        assert_eq!(interval(vec![f64::NEG_INFINITY, 3.0]), Some([f64::NEG_INFINITY, 3.0]));
    }

    /// The mean of n values has a standard error of σ/√n, and the interval spans 2 · 1.96 of it.
    #[test]
    fn the_interval_of_a_mean_has_the_known_width() {
        let values: Vec<f64> = (0..200).map(|i| f64::from(i % 2)).collect();
        let mean = |round| {
            let drawn = resample(3, round, values.len());
            drawn.iter().map(|&i| values[i]).sum::<f64>() / values.len() as f64
        };
        let [low, high] = interval((0..4000).map(mean).collect()).unwrap();
        let expected = 2.0 * 1.96 * 0.5 / (200.0_f64).sqrt();
        assert!((high - low - expected).abs() < 0.01, "{low} {high} {expected}");
    }
}
