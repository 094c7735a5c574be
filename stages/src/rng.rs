//! Everything random, made from a seed: one stream of numbers for each purpose.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// A stream of random numbers that depends on a seed, a purpose and an index alone.
///
/// ChaCha8 by construction gives the same stream on every machine and in every version; the
/// distributions below are our own for the same reason.
#[derive(Clone, Debug)]
pub(crate) struct Random(ChaCha8Rng);

impl Random {
    /// Makes the stream of one purpose, e.g. `("augment", &[epoch, image])`.
    pub(crate) fn new(seed: u64, purpose: &str, index: &[u64]) -> Self {
        let mut state = [mix(seed), mix(seed ^ 1), mix(seed ^ 2), mix(seed ^ 3)];
        let mut absorb = |word: u64| {
            let mut carried = word;
            for lane in &mut state {
                *lane = mix(*lane ^ carried);
                carried = carried.rotate_left(17) ^ *lane;
            }
        };
        absorb(purpose.len() as u64);
        purpose.bytes().for_each(|byte| absorb(u64::from(byte)));
        absorb(index.len() as u64);
        index.iter().for_each(|&number| absorb(number));
        let mut key = [0; 32];
        for (bytes, lane) in key.chunks_exact_mut(8).zip(state) {
            bytes.copy_from_slice(&lane.to_le_bytes());
        }
        Self(ChaCha8Rng::from_seed(key))
    }

    /// Returns a number in [0, 1) of 53 random bits.
    pub(crate) fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Returns a number in [low, high).
    pub(crate) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }

    /// Returns an integer below `bound`, each as likely (Lemire 2019, by rejection).
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "no integer is below 0");
        let reject_below = bound.wrapping_neg() % bound;
        loop {
            let product = u128::from(self.0.next_u64()) * u128::from(bound);
            if product as u64 >= reject_below {
                return (product >> 64) as u64;
            }
        }
    }

    /// Returns true with this probability.
    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.uniform() < probability
    }

    /// Returns a standard normal number (Box and Muller 1958).
    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// Puts a slice in random order (Fisher and Yates).
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.below(last as u64 + 1) as usize;
            items.swap(last, other);
        }
    }
}

/// The finalizer of SplitMix64 (Steele, Lea and Flood 2014).
fn mix(word: u64) -> u64 {
    let mut z = word.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::Random;

    #[test]
    fn a_stream_is_pinned() {
        let mut random = Random::new(7, "shuffle", &[1, 2]);
        let mut order: Vec<u32> = (0..8).collect();
        random.shuffle(&mut order);
        let drawn: Vec<u64> = (0..4).map(|_| random.below(1000)).collect();
        assert_eq!(order, [5, 7, 1, 3, 6, 0, 2, 4]);
        assert_eq!(drawn, [263, 1, 547, 429]);
    }

    #[test]
    fn purposes_and_indices_are_apart() {
        let first = |purpose: &str, index: &[u64]| Random::new(1, purpose, index).uniform();
        let all = [first("a", &[]), first("b", &[]), first("a", &[0]), first("a", &[0, 0])];
        for (i, one) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|other| other != one));
        }
    }

    #[test]
    fn moments_are_right() {
        let mut random = Random::new(3, "moments", &[]);
        let n = 100_000;
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let uniform: Vec<f64> = (0..n).map(|_| random.between(-1.0, 3.0)).collect();
        let normal: Vec<f64> = (0..n).map(|_| random.normal()).collect();
        let squares: Vec<f64> = normal.iter().map(|x| x * x).collect();
        assert!((mean(&uniform) - 1.0).abs() < 0.02);
        assert!(mean(&normal).abs() < 0.02 && (mean(&squares) - 1.0).abs() < 0.03);
        let heads = (0..n).filter(|_| random.chance(0.25)).count();
        assert!((heads as f64 / f64::from(n) - 0.25).abs() < 0.01);
    }
}
