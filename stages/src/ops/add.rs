//! The sum of two values of one shape.

use anyhow::Result;
use rayon::prelude::*;

use super::instructions::vectorized;
use super::tape::Tape;
use super::value::Value;

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

/// Adds two values.
///
/// # Errors
///
/// When their shapes differ.
pub(crate) fn add(tape: &mut Tape, left: &Value, right: &Value) -> Result<Value> {
    let sum = left.array().clone().plus(right.array())?;
    let nodes = (left.node, right.node);
    Ok(tape.record(sum, move |gradient, sink| {
        sink.give(nodes.0, gradient.clone())?;
        sink.give(nodes.1, gradient)
    }))
}
