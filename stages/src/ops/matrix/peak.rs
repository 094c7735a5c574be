//! The most that a processor can multiply and add: a loop that never leaves the registers.

use super::form::Form;
use super::simd::Simd;
use crate::ops::number::Number as _;

/// Returns how many sums go on side by side, with vectors of so many lanes: more than an instruction takes
/// cycles times how many start in one, and no more than there are registers.
pub(super) const fn sums(lanes: usize) -> usize {
    if lanes == 16 { MOST } else { MOST / 2 }
}

const MOST: usize = 24;

/// Multiplies and adds `rounds` times in each lane of [`sums`] vectors.
///
/// # Safety
///
/// The instructions of `S` must be there.
#[inline(always)]
#[expect(unsafe_code, reason = "vector instructions need a processor that has them")]
pub(super) unsafe fn peak<S: Simd, F: Form<S>>(rounds: usize) -> f32 {
    // SAFETY: the instructions are there by the contract; the pointer is that of as many numbers.
    unsafe {
        // as long as a lane, or longer
        let ones = [F::Number::narrow(1.0); 2];
        let mut left = S::splat(ones.as_ptr().cast::<f32>().read_unaligned());
        let right = left;
        let mut sums: [S; MOST] = std::array::from_fn(|place| S::splat(place as f32));
        let sums = &mut sums[..self::sums(S::LANES)];
        for _ in 0..rounds {
            // what never changed could be multiplied once
            left = std::hint::black_box(left);
            for sum in &mut *sums {
                *sum = F::add_products(left, right, *sum);
            }
        }
        let all = sums.iter().fold(S::zero(), |all, sum| all.add(*sum));
        let mut first = 0.0;
        all.store_first(&raw mut first, 1);
        first
    }
}
