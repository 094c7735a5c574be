//! The most that a processor can multiply and add: a loop that never leaves the registers.

use super::simd::Simd;

/// Sums that go on side by side: more than the instruction takes cycles times how many start in one.
pub(super) const SUMS: usize = 12;

/// Multiplies and adds `rounds` times in each lane of [`SUMS`] vectors.
///
/// # Safety
///
/// The instructions of `S` must be there.
#[inline(always)]
#[expect(unsafe_code, reason = "vector instructions need a processor that has them")]
pub(super) unsafe fn peak<S: Simd>(rounds: usize) -> f32 {
    // SAFETY: the instructions are there by the contract; the pointer is that of as many numbers.
    unsafe {
        let [factor, summand] = [S::splat(0.999), S::splat(0.001)];
        let mut sums: [S; SUMS] = std::array::from_fn(|place| S::splat(place as f32));
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = sum.multiply_add(factor, summand);
            }
        }
        let all = sums.into_iter().fold(S::zero(), |all, sum| all.add(sum));
        let mut first = 0.0;
        all.store_first(&raw mut first, 1);
        first
    }
}
