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

vectorized! {
    fn add_to_within(sum: &mut [f32], other: &[f32], lowest: f32, highest: f32) {
        for (sum, other) in sum.iter_mut().zip(other) {
            let both = *sum + other;
            // what is not a number is neither, and stays
            let both = if both < lowest { lowest } else { both };
            *sum = if both > highest { highest } else { both };
        }
    }
}

/// Adds one slice to another and holds the sums within limits.
pub(super) fn accumulate_within(sum: &mut [f32], other: &[f32], limits: Option<[f32; 2]>) {
    let Some([lowest, highest]) = limits else { return accumulate(sum, other) };
    sum.par_chunks_mut(CHUNK)
        .zip(other.par_chunks(CHUNK))
        .for_each(|(sum, other)| add_to_within(sum, other, lowest, highest));
}
