//! What vectors do with the numbers of an array: how they are read, written and multiplied.

use half::bf16;

use super::factor::Factor;
use super::simd::Simd;

/// A number that vectors read as f32, and write.
///
/// # Safety
///
/// As for [`Simd`]: methods may only run where the instructions of `S` are there.
#[expect(unsafe_code, reason = "vector instructions need a processor that has them")]
pub(super) unsafe trait Stored<S: Simd>: Factor {
    /// Reads numbers.
    unsafe fn load(from: *const Self) -> S;
    /// Reads the first `count` numbers, and zeros.
    unsafe fn load_first(from: *const Self, count: usize) -> S;
    /// Writes the nearest numbers.
    unsafe fn store(lanes: S, to: *mut Self);
    /// Writes the first `count`.
    unsafe fn store_first(lanes: S, to: *mut Self, count: usize);
}

#[expect(unsafe_code, reason = "the trait's contract")]
// SAFETY: everything is handed on.
unsafe impl<S: Simd> Stored<S> for f32 {
    #[inline(always)]
    unsafe fn load(from: *const Self) -> S {
        // SAFETY: handed on.
        unsafe { S::load(from) }
    }
    #[inline(always)]
    unsafe fn load_first(from: *const Self, count: usize) -> S {
        // SAFETY: handed on.
        unsafe { S::load_first(from, count) }
    }
    #[inline(always)]
    unsafe fn store(lanes: S, to: *mut Self) {
        // SAFETY: handed on.
        unsafe { lanes.store(to) }
    }
    #[inline(always)]
    unsafe fn store_first(lanes: S, to: *mut Self, count: usize) {
        // SAFETY: handed on.
        unsafe { lanes.store_first(to, count) }
    }
}

#[expect(unsafe_code, reason = "the trait's contract")]
// SAFETY: everything is handed on.
unsafe impl<S: Simd> Stored<S> for bf16 {
    #[inline(always)]
    unsafe fn load(from: *const Self) -> S {
        // SAFETY: handed on.
        unsafe { S::load_halves(from) }
    }
    #[inline(always)]
    unsafe fn load_first(from: *const Self, count: usize) -> S {
        // SAFETY: handed on.
        unsafe { S::load_first_halves(from, count) }
    }
    #[inline(always)]
    unsafe fn store(lanes: S, to: *mut Self) {
        // SAFETY: handed on.
        unsafe { lanes.store_halves(to) }
    }
    #[inline(always)]
    unsafe fn store_first(lanes: S, to: *mut Self, count: usize) {
        // SAFETY: handed on.
        unsafe { lanes.store_first_halves(to, count) }
    }
}

/// How numbers are multiplied: a lane, which is as long as an f32, holds as many as [`Factor::TOGETHER`] says.
///
/// # Safety
///
/// As for [`Simd`]: methods may only run where the instructions of `S`, and of the form, are there.
#[expect(unsafe_code, reason = "vector instructions need a processor that has them")]
pub(super) unsafe trait Form<S: Simd> {
    /// What lanes hold.
    type Number: Stored<S>;
    /// Returns the sum and the products of all that lies in each lane.
    unsafe fn add_products(left: S, right: S, sum: S) -> S;
}

/// f32, one in a lane.
pub(super) struct Singles;

#[expect(unsafe_code, reason = "the trait's contract")]
// SAFETY: everything is handed on.
unsafe impl<S: Simd> Form<S> for Singles {
    type Number = f32;
    #[inline(always)]
    unsafe fn add_products(left: S, right: S, sum: S) -> S {
        // SAFETY: handed on.
        unsafe { left.multiply_add(right, sum) }
    }
}

/// bf16, two in a lane, of which each is made an f32 before it is multiplied.
pub(super) struct Pairs;

#[expect(unsafe_code, reason = "the trait's contract")]
// SAFETY: everything is handed on.
unsafe impl<S: Simd> Form<S> for Pairs {
    type Number = bf16;
    #[inline(always)]
    unsafe fn add_products(left: S, right: S, sum: S) -> S {
        // SAFETY: handed on.
        unsafe {
            let sum = left.high_halves().multiply_add(right.high_halves(), sum);
            left.low_halves().multiply_add(right.low_halves(), sum)
        }
    }
}

/// The same, multiplied and added by one instruction, which takes what is too small for a normal
/// number to be 0.
#[cfg(target_arch = "x86_64")]
pub(super) struct Dotted;

#[cfg(target_arch = "x86_64")]
mod dotted {
    use std::arch::x86_64::*;

    use half::bf16;

    use super::{Dotted, Form};

    #[expect(unsafe_code, reason = "the trait's contract: AVX512_BF16 as well")]
    // SAFETY: an instruction that is there by the contract.
    unsafe impl Form<__m512> for Dotted {
        type Number = bf16;
        #[inline(always)]
        unsafe fn add_products(left: __m512, right: __m512, sum: __m512) -> __m512 {
            // SAFETY: AVX512_BF16 by the contract; both are vectors of 64 bytes.
            unsafe {
                let pairs = |lanes: __m512| std::mem::transmute::<__m512, __m512bh>(lanes);
                _mm512_dpbf16_ps(sum, pairs(left), pairs(right))
            }
        }
    }
}
