//! The sum of two slices, by which gradients that meet are joined.

use rayon::prelude::*;

use super::instructions::vectorized;

/// How many numbers one task of an element-wise loop takes; fixed, so that nothing depends on
/// the number of threads.
pub(super) const CHUNK: usize = 16 * 1024;

vectorized! {
    fn add_to(sum: &mut [f32], other: &[f32]) {
        for (sum, other) in sum.iter_mut().zip(other) {
            *sum += other;
        }
    }
}

/// Adds one slice to another.
pub(super) fn accumulate(sum: &mut [f32], other: &[f32]) {
    sum.par_chunks_mut(CHUNK)
        .zip(other.par_chunks(CHUNK))
        .for_each(|(sum, other)| add_to(sum, other));
}
