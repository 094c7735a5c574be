//! Every row of one matrix by every row of another, a few at a time, on the CPU.

use rayon::prelude::*;

use super::matrix::{Kernels, Packed, product_of_lines};

/// Right rows that are laid out at a time: they stay in the cache while all left rows pass.
const TOGETHER: usize = 1024;
/// Tiles of left rows in one task.
const TILES: usize = 8;

/// Multiplies every left row by every right row, of `depth` numbers, and adds the right row's bias; hands
/// the products to the left row's state, some right rows at a time, from the first to the last.
///
/// # Panics
///
/// When lengths do not fit together.
pub(crate) fn row_products<S: Send>(
    left: &[f32],
    right: &[f32],
    depth: usize,
    bias: Option<&[f32]>,
    states: &mut [S],
    each: impl Fn(&mut S, usize, &[f32]) + Sync,
) {
    assert_eq!(left.len(), states.len() * depth, "a state for each left row");
    let kernels = Kernels::best();
    let rows = TILES * kernels.most_rows();
    for (place, right) in right.chunks(TOGETHER * depth).enumerate() {
        let (first, count) = (place * TOGETHER, right.len() / depth);
        let bias = bias.map(|bias| &bias[first..first + count]);
        let packed = Packed::transposed(kernels, right, count).finished(kernels, bias, None);
        let tasks = left.par_chunks(rows * depth).zip(states.par_chunks_mut(rows));
        let memory = || vec![0.0; rows * count];
        tasks.for_each_init(memory, |memory, (left, states)| {
            let products = &mut memory[..states.len() * count];
            product_of_lines(kernels, left, depth, &packed, 0, products);
            for (state, products) in states.iter_mut().zip(products.chunks_exact(count)) {
                each(state, first, products);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::{TOGETHER, row_products};
    use crate::rng::Random;

    #[test]
    fn every_pair_comes_once_and_in_order() {
        let mut random = Random::new(5, "rows", &[]);
        for (lefts, rights, depth) in [(1, 1, 1), (130, TOGETHER + 37, 5), (7, TOGETHER, 64)] {
            let mut draw =
                |count: usize| -> Vec<f32> { (0..count).map(|_| random.normal() as f32).collect() };
            let (left, right, bias) = (draw(lefts * depth), draw(rights * depth), draw(rights));
            for bias in [None, Some(&bias[..])] {
                let mut found = vec![Vec::new(); lefts];
                row_products(&left, &right, depth, bias, &mut found, |found, first, products| {
                    assert_eq!(found.len(), first);
                    found.extend_from_slice(products);
                });
                for (row, found) in left.chunks(depth).zip(&found) {
                    assert_eq!(found.len(), rights);
                    for (at, (other, found)) in right.chunks(depth).zip(found).enumerate() {
                        let pairs = row.iter().zip(other).map(|(a, b)| f64::from(a * b));
                        let expected = pairs.sum::<f64>() + bias.map_or(0.0, |b| f64::from(b[at]));
                        assert!((expected - f64::from(*found)).abs() < 1e-4, "{expected} {found}");
                    }
                }
            }
        }
    }
}
