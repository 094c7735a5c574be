//! The few of many embeddings that may be the most alike to one: products in f32 leave out the others.
//!
//! Nothing is decided here. Every product is off by no more than a bound, so whatever is further below the
//! highest than twice that cannot be the most alike; what is left is compared in f64. The answer is that
//! of comparing all in f64, at the speed of a matrix product.

use rayon::prelude::*;

use crate::ops::row_products;

/// Embeddings of one length, rounded, to find those that may be the most alike to others.
#[derive(Debug)]
pub(super) struct Rounded {
    dimension: usize,
    /// `[embeddings, dimension]`.
    numbers: Vec<f32>,
    /// What is added to each one's products: minus half its squared length where distances count.
    bias: Option<Vec<f32>>,
    /// The length of the longest.
    longest: f64,
}

/// Those seen so far that may be the most alike.
#[derive(Debug)]
struct Shortlist {
    /// The highest product so far.
    highest: f32,
    /// How far below it a product may lie. None: everything is kept.
    margin: Option<f32>,
    kept: Vec<(usize, f32)>,
}

/// How much longer a list may be than when it was last tidied.
const SLACK: usize = 64;
/// Beyond this a product in f32 could overflow.
const LARGEST: f64 = 1e30;

impl Rounded {
    /// Rounds embeddings that are all as long as the first; most alike is of the highest product or, where
    /// `by_distance`, of the lowest distance.
    pub(super) fn new<'a>(
        embeddings: impl Iterator<Item = &'a Vec<f64>>,
        by_distance: bool,
    ) -> Self {
        let (mut numbers, mut bias, mut longest, mut dimension) = (Vec::new(), Vec::new(), 0.0, 0);
        for embedding in embeddings {
            dimension = embedding.len();
            numbers.extend(embedding.iter().map(|&x| x as f32));
            let squares: f64 = embedding.iter().map(|x| x * x).sum();
            bias.push((-squares / 2.0) as f32);
            longest = squares.sqrt().max(longest);
        }
        Self { dimension, numbers, bias: by_distance.then_some(bias), longest }
    }

    /// Returns for each probe, of the same length, where those stand that may be the most alike to it.
    pub(super) fn likely(&self, probes: &[Vec<f64>]) -> Vec<Vec<usize>> {
        let numbers: Vec<f32> =
            probes.par_iter().flat_map_iter(|probe| probe.iter().map(|&x| x as f32)).collect();
        let list = |probe: &Vec<f64>| Shortlist {
            highest: f32::NEG_INFINITY,
            margin: self.margin(probe),
            kept: Vec::new(),
        };
        let mut lists: Vec<Shortlist> = probes.par_iter().map(list).collect();
        let (depth, bias) = (self.dimension, self.bias.as_deref());
        row_products(&numbers, &self.numbers, depth, bias, &mut lists, Shortlist::take);
        lists.into_par_iter().map(Shortlist::finish).collect()
    }

    /// Returns how far apart the products of two equally alike embeddings may come out, in f32 or in f64.
    ///
    /// With u = 2⁻²⁴: rounding both sides costs 2u of Σ|xy|, n additions and as many products in any order,
    /// fused or not, n·u and a little more (Higham 2002, section 3.1), the bias one addition and one rounding
    /// of its own. Σ|xy| is at most the product of the lengths. Twice that, since both may be off, and half as
    /// much again for all that is smaller: rounding in f64 and of the margin itself, and numbers that vanish.
    fn margin(&self, probe: &[f64]) -> Option<f32> {
        let length = probe.iter().map(|x| x * x).sum::<f64>().sqrt();
        let product = length * self.longest;
        let bias = if self.bias.is_some() { self.longest * self.longest } else { 0.0 };
        let terms = self.dimension as f64 + 8.0;
        let rounding = terms * f64::from(f32::EPSILON) / 2.0 * (product + bias);
        let rounding_in_f64 = terms * f64::EPSILON * (length + self.longest).powi(2);
        let vanishing = terms * f64::from(f32::MIN_POSITIVE);
        let fits = product + bias < LARGEST && terms < 1e6;
        fits.then_some((3.0 * (rounding + rounding_in_f64 + vanishing)) as f32)
    }
}

impl Shortlist {
    fn take(&mut self, first: usize, products: &[f32]) {
        let Some(margin) = self.margin else {
            self.kept.extend((first..first + products.len()).map(|place| (place, 0.0)));
            return;
        };
        let higher = |a: f32, b: &f32| if *b > a { *b } else { a };
        // Sixteen at a time, so that the compiler can use vectors.
        let (blocks, rest) = products.as_chunks::<16>();
        let mut lanes = [f32::NEG_INFINITY; 16];
        for block in blocks {
            lanes.iter_mut().zip(block).for_each(|(lane, product)| *lane = higher(*lane, product));
        }
        let here = lanes.iter().chain(rest).fold(f32::NEG_INFINITY, higher);
        if here < self.highest - margin {
            return;
        }
        self.highest = self.highest.max(here);
        let lowest = self.highest - margin;
        if self.kept.len() > SLACK {
            self.kept.retain(|&(_, product)| product >= lowest);
        }
        let places = products.iter().enumerate().filter(|&(_, &product)| product >= lowest);
        self.kept.extend(places.map(|(place, &product)| (first + place, product)));
    }

    fn finish(self) -> Vec<usize> {
        let lowest = self.margin.map_or(f32::NEG_INFINITY, |margin| self.highest - margin);
        let kept = self.kept.into_iter().filter(|&(_, product)| product >= lowest);
        kept.map(|(place, _)| place).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Rounded;
    use crate::rng::Random;

    fn drawn(count: usize, length: f64, purpose: &str) -> Vec<Vec<f64>> {
        let mut random = Random::new(3, purpose, &[]);
        (0..count).map(|_| (0..24).map(|_| length * random.normal()).collect()).collect()
    }

    fn product(a: &[f64], b: &[f64]) -> f64 {
        a.iter().zip(b).map(|(x, y)| x * y).sum()
    }

    fn closeness(a: &[f64], b: &[f64]) -> f64 {
        -a.iter().zip(b).map(|(x, y)| (x - y) * (x - y)).sum::<f64>()
    }

    /// Every place whose figure is the highest is on the list, and few others are.
    #[track_caller]
    fn check(known: &[Vec<f64>], probes: &[Vec<f64>], by_distance: bool, most: usize) {
        let rounded = Rounded::new(known.iter(), by_distance);
        let figure = if by_distance { closeness } else { product };
        for (probe, likely) in probes.iter().zip(rounded.likely(probes)) {
            let figures: Vec<f64> = known.iter().map(|one| figure(probe, one)).collect();
            let best = figures.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            for (place, figure) in figures.iter().enumerate() {
                assert!(*figure < best || likely.contains(&place), "{place} is not in {likely:?}");
            }
            assert!(likely.is_sorted() && likely.len() <= most, "{} are likely", likely.len());
        }
    }

    #[test]
    fn the_most_alike_is_likely_and_few_others_are() {
        for by_distance in [false, true] {
            for length in [1e-3, 1.0, 1e4] {
                let (known, probes) = (drawn(3000, length, "known"), drawn(40, length, "probes"));
                check(&known, &probes, by_distance, 4);
            }
        }
    }

    #[test]
    fn what_rounding_cannot_tell_apart_stays() {
        let mut known = drawn(2500, 1.0, "known");
        for place in [3, 700, 2100] {
            known[place] = known[1].clone();
            known[place][0] += 1e-12 * place as f64;
        }
        let probes: Vec<Vec<f64>> = known[..8].to_vec();
        check(&known, &probes, true, 8);
        let rounded = Rounded::new(known.iter(), true);
        assert_eq!(rounded.likely(&probes)[1], [1, 3, 700, 2100]);
    }

    #[test]
    fn numbers_too_large_or_too_small_for_products_in_f32_leave_everything() {
        for length in [1e20, 1e-35] {
            let known = drawn(1500, length, "known");
            for by_distance in [false, true] {
                check(&known, &drawn(3, length, "probes"), by_distance, 1500);
            }
        }
        let rounded = Rounded::new(drawn(1500, 1e20, "known").iter(), false);
        assert_eq!(rounded.likely(&drawn(1, 1e20, "probes"))[0].len(), 1500);
    }
}
