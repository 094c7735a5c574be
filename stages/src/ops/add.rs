//! The sum of two slices, by which gradients that meet are joined.

use rayon::prelude::*;

use super::instructions::vectorized;
use super::number::Number;

/// How many numbers one task of an element-wise loop takes; fixed, so that nothing depends on
/// the number of threads.
pub(super) const CHUNK: usize = 16 * 1024;

vectorized! {
    fn add_to<N: Number>(sum: &mut [N], other: &[N]) {
        for (sum, other) in sum.iter_mut().zip(other) {
            *sum = N::narrow(sum.wide() + other.wide());
        }
    }
}

/// Adds one slice to another.
pub(super) fn accumulate<N: Number>(sum: &mut [N], other: &[N]) {
    sum.par_chunks_mut(CHUNK)
        .zip(other.par_chunks(CHUNK))
        .for_each(|(sum, other)| add_to(sum, other));
}

vectorized! {
    fn add_to_within<N: Number>(sum: &mut [N], other: &[N], lowest: f32, highest: f32) {
        for (sum, other) in sum.iter_mut().zip(other) {
            let both = sum.wide() + other.wide();
            // what is not a number is neither, and stays
            let both = if both < lowest { lowest } else { both };
            *sum = N::narrow(if both > highest { highest } else { both });
        }
    }
}

/// Adds one slice to another and holds the sums within limits.
pub(super) fn accumulate_within<N: Number>(sum: &mut [N], other: &[N], limits: Option<[f32; 2]>) {
    let Some([lowest, highest]) = limits else { return accumulate(sum, other) };
    sum.par_chunks_mut(CHUNK)
        .zip(other.par_chunks(CHUNK))
        .for_each(|(sum, other)| add_to_within(sum, other, lowest, highest));
}
