//! How numbers of an array become lanes of vectors: f32 one by one, bf16 in pairs.

use half::bf16;

use super::simd::Simd;
use crate::ops::number::Number;

/// What the inner loops do with the numbers of an array.
///
/// # Safety
///
/// As for [`Simd`]: methods may only run where the instructions of `S`, and of the form, are there.
#[expect(unsafe_code, reason = "vector instructions need a processor that has them")]
pub(super) unsafe trait Form<S: Simd> {
    /// What arrays hold.
    type Number: Number;
    /// How many of them lie in one lane where they are multiplied.
    const TOGETHER: usize;
    /// Returns, in every lane, what lies there, to be multiplied.
    unsafe fn spread(from: *const Self::Number) -> S;
    /// Reads lanes to be multiplied.
    unsafe fn lanes(from: *const Self::Number) -> S;
    /// Reads the first `count` lanes, and zeros.
    unsafe fn first_lanes(from: *const Self::Number, count: usize) -> S;
    /// Returns the sum and the products of all that lies in each lane.
    unsafe fn add_products(left: S, right: S, sum: S) -> S;
    /// Reads numbers, each as f32.
    unsafe fn load(from: *const Self::Number) -> S;
    /// Reads the first `count` numbers, and zeros.
    unsafe fn load_first(from: *const Self::Number, count: usize) -> S;
    /// Writes f32s as numbers.
    unsafe fn store(sums: S, to: *mut Self::Number);
    /// Writes the first `count`.
    unsafe fn store_first(sums: S, to: *mut Self::Number, count: usize);
}

/// f32, one in a lane.
pub(super) struct Singles;

#[expect(unsafe_code, reason = "the trait's contract")]
// SAFETY: everything is handed on.
unsafe impl<S: Simd> Form<S> for Singles {
    type Number = f32;
    const TOGETHER: usize = 1;
    #[inline(always)]
    unsafe fn spread(from: *const f32) -> S {
        // SAFETY: handed on.
        unsafe { S::splat(from.read()) }
    }
    #[inline(always)]
    unsafe fn lanes(from: *const f32) -> S {
        // SAFETY: handed on.
        unsafe { S::load(from) }
    }
    #[inline(always)]
    unsafe fn first_lanes(from: *const f32, count: usize) -> S {
        // SAFETY: handed on.
        unsafe { S::load_first(from, count) }
    }
    #[inline(always)]
    unsafe fn add_products(left: S, right: S, sum: S) -> S {
        // SAFETY: handed on.
        unsafe { left.multiply_add(right, sum) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> S {
        // SAFETY: handed on.
        unsafe { S::load(from) }
    }
    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize) -> S {
        // SAFETY: handed on.
        unsafe { S::load_first(from, count) }
    }
    #[inline(always)]
    unsafe fn store(sums: S, to: *mut f32) {
        // SAFETY: handed on.
        unsafe { sums.store(to) }
    }
    #[inline(always)]
    unsafe fn store_first(sums: S, to: *mut f32, count: usize) {
        // SAFETY: handed on.
        unsafe { sums.store_first(to, count) }
    }
}

/// bf16, two in a lane, of which each is made an f32 before it is multiplied.
pub(super) struct Pairs;

#[expect(unsafe_code, reason = "the trait's contract")]
// SAFETY: two bf16 are as long as an f32, and everything else is handed on.
unsafe impl<S: Simd> Form<S> for Pairs {
    type Number = bf16;
    const TOGETHER: usize = 2;
    #[inline(always)]
    unsafe fn spread(from: *const bf16) -> S {
        // SAFETY: good for two numbers by the contract.
        unsafe { S::splat(from.cast::<f32>().read_unaligned()) }
    }
    #[inline(always)]
    unsafe fn lanes(from: *const bf16) -> S {
        // SAFETY: handed on.
        unsafe { S::load(from.cast()) }
    }
    #[inline(always)]
    unsafe fn first_lanes(from: *const bf16, count: usize) -> S {
        // SAFETY: handed on.
        unsafe { S::load_first(from.cast(), count) }
    }
    #[inline(always)]
    unsafe fn add_products(left: S, right: S, sum: S) -> S {
        // SAFETY: handed on.
        unsafe {
            let sum = left.high_halves().multiply_add(right.high_halves(), sum);
            left.low_halves().multiply_add(right.low_halves(), sum)
        }
    }
    #[inline(always)]
    unsafe fn load(from: *const bf16) -> S {
        // SAFETY: handed on.
        unsafe { S::load_halves(from) }
    }
    #[inline(always)]
    unsafe fn load_first(from: *const bf16, count: usize) -> S {
        // SAFETY: handed on.
        unsafe { S::load_first_halves(from, count) }
    }
    #[inline(always)]
    unsafe fn store(sums: S, to: *mut bf16) {
        // SAFETY: handed on.
        unsafe { sums.store_halves(to) }
    }
    #[inline(always)]
    unsafe fn store_first(sums: S, to: *mut bf16, count: usize) {
        // SAFETY: handed on.
        unsafe { sums.store_first_halves(to, count) }
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

    use super::{Dotted, Form, Pairs};

    #[expect(unsafe_code, reason = "the trait's contract: AVX512_BF16 as well")]
    // SAFETY: everything is handed on, but for an instruction that is there by the contract.
    unsafe impl Form<__m512> for Dotted {
        type Number = bf16;
        const TOGETHER: usize = 2;
        #[inline(always)]
        unsafe fn spread(from: *const bf16) -> __m512 {
            // SAFETY: handed on.
            unsafe { <Pairs as Form<__m512>>::spread(from) }
        }
        #[inline(always)]
        unsafe fn lanes(from: *const bf16) -> __m512 {
            // SAFETY: handed on.
            unsafe { <Pairs as Form<__m512>>::lanes(from) }
        }
        #[inline(always)]
        unsafe fn first_lanes(from: *const bf16, count: usize) -> __m512 {
            // SAFETY: handed on.
            unsafe { <Pairs as Form<__m512>>::first_lanes(from, count) }
        }
        #[inline(always)]
        unsafe fn add_products(left: __m512, right: __m512, sum: __m512) -> __m512 {
            // SAFETY: AVX512_BF16 by the contract; both are vectors of 64 bytes.
            unsafe {
                let pairs = |lanes: __m512| std::mem::transmute::<__m512, __m512bh>(lanes);
                _mm512_dpbf16_ps(sum, pairs(left), pairs(right))
            }
        }
        #[inline(always)]
        unsafe fn load(from: *const bf16) -> __m512 {
            // SAFETY: handed on.
            unsafe { <Pairs as Form<__m512>>::load(from) }
        }
        #[inline(always)]
        unsafe fn load_first(from: *const bf16, count: usize) -> __m512 {
            // SAFETY: handed on.
            unsafe { <Pairs as Form<__m512>>::load_first(from, count) }
        }
        #[inline(always)]
        unsafe fn store(sums: __m512, to: *mut bf16) {
            // SAFETY: handed on.
            unsafe { <Pairs as Form<__m512>>::store(sums, to) }
        }
        #[inline(always)]
        unsafe fn store_first(sums: __m512, to: *mut bf16, count: usize) {
            // SAFETY: handed on.
            unsafe { <Pairs as Form<__m512>>::store_first(sums, to, count) }
        }
    }
}
