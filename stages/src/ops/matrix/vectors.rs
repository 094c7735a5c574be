//! What an inner loop does with one or two vectors, of which only some columns may be there.

use super::form::{Form, Stored};
use super::simd::Simd;

/// Reads one or two vectors, of which only some columns are there.
///
/// # Safety
///
/// The instructions of `S` must be there, and the pointer good for `columns` numbers.
#[inline(always)]
#[expect(unsafe_code, reason = "the innermost loop reads through pointers")]
pub(super) unsafe fn vectors<S: Simd, const VECTORS: usize>(
    from: *const f32,
    columns: usize,
) -> [S; VECTORS] {
    // SAFETY: no more than the columns that are there is read.
    unsafe {
        let mut vectors = [S::zero(); VECTORS];
        if VECTORS == 2 {
            vectors[0] = S::load(from);
        }
        let last = (VECTORS - 1) * S::LANES;
        vectors[VECTORS - 1] = if columns == VECTORS * S::LANES {
            S::load(from.add(last))
        } else {
            S::load_first(from.add(last), columns - last)
        };
        vectors
    }
}

/// Adds one lane times each vector.
///
/// # Safety
///
/// The instructions of `S` must be there.
#[inline(always)]
#[expect(unsafe_code, reason = "vector instructions need a processor that has them")]
pub(super) unsafe fn add_scaled<S: Simd, F: Form<S>, const VECTORS: usize>(
    sums: &mut [S; VECTORS],
    scale: S,
    vectors: &[S; VECTORS],
) {
    // SAFETY: handed on.
    unsafe {
        sums[0] = F::add_products(scale, vectors[0], sums[0]);
        if VECTORS == 2 {
            sums[1] = F::add_products(scale, vectors[1], sums[1]);
        }
    }
}

/// # Safety
///
/// The target must be good for `columns` numbers.
#[inline(always)]
#[expect(unsafe_code, reason = "the innermost loop writes through pointers")]
pub(super) unsafe fn put<S: Simd, N: Stored<S>, const VECTORS: usize>(
    sums: [S; VECTORS],
    target: *mut N,
    columns: usize,
    accumulate: bool,
) {
    for (vector, mut sum) in sums.into_iter().enumerate() {
        let left = columns.saturating_sub(vector * S::LANES);
        // SAFETY: no more than the columns that are left is read or written.
        unsafe {
            let target = target.wrapping_add(vector * S::LANES);
            if left >= S::LANES {
                if accumulate {
                    sum = sum.add(N::load(target));
                }
                N::store(sum, target);
            } else {
                if accumulate {
                    sum = sum.add(N::load_first(target, left));
                }
                N::store_first(sum, target, left);
            }
        }
    }
}
