//! Vectors of f32 as each set of instructions has them.

/// A vector of f32.
///
/// # Safety
///
/// Methods may only run inside functions compiled for the set of instructions they belong to, on a
/// processor that has it. Pointers must be good for the lanes they name; none need be aligned.
#[expect(unsafe_code, reason = "vector instructions need a processor that has them")]
pub(super) unsafe trait Simd: Copy {
    /// How many numbers a vector holds.
    const LANES: usize;
    unsafe fn zero() -> Self;
    unsafe fn splat(value: f32) -> Self;
    unsafe fn load(from: *const f32) -> Self;
    /// Reads the first `count` lanes and zeros; `count` up to `LANES`.
    unsafe fn load_first(from: *const f32, count: usize) -> Self;
    unsafe fn store(self, to: *mut f32);
    unsafe fn store_first(self, to: *mut f32, count: usize);
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn subtract(self, other: Self) -> Self;
    /// Returns `self * factor + sum`.
    unsafe fn multiply_add(self, factor: Self, sum: Self) -> Self;
    /// Returns the larger of each; what is not a number stays.
    unsafe fn at_least(self, lowest: Self) -> Self;
    /// Returns the smaller of each; what is not a number stays.
    unsafe fn at_most(self, highest: Self) -> Self;
}

/// Four numbers, in whatever the architecture holds them.
pub(super) type Plain = [f32; 4];

#[expect(unsafe_code, reason = "the trait's contract: pointers good for the lanes they name")]
// SAFETY: plain Rust, which every processor runs; pointers by the trait's contract.
unsafe impl Simd for Plain {
    const LANES: usize = 4;
    #[inline(always)]
    unsafe fn zero() -> Self {
        [0.0; 4]
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        [value; 4]
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: good for four numbers by the contract.
        unsafe { from.cast::<Self>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize) -> Self {
        let mut lanes = [0.0; 4];
        for (lane, value) in lanes.iter_mut().take(count).enumerate() {
            // SAFETY: good for `count` numbers by the contract.
            *value = unsafe { from.add(lane).read() };
        }
        lanes
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: good for four numbers by the contract.
        unsafe { to.cast::<Self>().write_unaligned(self) }
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, count: usize) {
        for (lane, value) in self.iter().take(count).enumerate() {
            // SAFETY: good for `count` numbers by the contract.
            unsafe { to.add(lane).write(*value) }
        }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        std::array::from_fn(|lane| self[lane] + other[lane])
    }
    #[inline(always)]
    unsafe fn subtract(self, other: Self) -> Self {
        std::array::from_fn(|lane| self[lane] - other[lane])
    }
    #[inline(always)]
    unsafe fn multiply_add(self, factor: Self, sum: Self) -> Self {
        // not fused: without the instruction that is a call for every number
        std::array::from_fn(|lane| self[lane] * factor[lane] + sum[lane])
    }
    #[inline(always)]
    unsafe fn at_least(self, lowest: Self) -> Self {
        std::array::from_fn(|at| if self[at] < lowest[at] { lowest[at] } else { self[at] })
    }
    #[inline(always)]
    unsafe fn at_most(self, highest: Self) -> Self {
        std::array::from_fn(|at| if self[at] > highest[at] { highest[at] } else { self[at] })
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::Simd;

    #[inline(always)]
    #[expect(unsafe_code, reason = "vector instructions need a processor that has them")]
    unsafe fn first_of_8(count: usize) -> __m256i {
        const ORDER: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
        // SAFETY: eight of the sixteen, from 8 - count on, with count up to 8.
        unsafe { _mm256_loadu_si256(ORDER.as_ptr().add(8 - count.min(8)).cast()) }
    }

    #[expect(unsafe_code, reason = "the trait's contract: AVX2 and FMA, and good pointers")]
    // SAFETY: every method is the instruction it names, under the trait's contract.
    unsafe impl Simd for __m256 {
        const LANES: usize = 8;
        #[inline(always)]
        unsafe fn zero() -> Self {
            // SAFETY: AVX2 by the contract.
            unsafe { _mm256_setzero_ps() }
        }
        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            // SAFETY: AVX2 by the contract.
            unsafe { _mm256_set1_ps(value) }
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            // SAFETY: good for eight numbers by the contract.
            unsafe { _mm256_loadu_ps(from) }
        }
        #[inline(always)]
        unsafe fn load_first(from: *const f32, count: usize) -> Self {
            // SAFETY: masked lanes are not read.
            unsafe { _mm256_maskload_ps(from, first_of_8(count)) }
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: good for eight numbers by the contract.
            unsafe { _mm256_storeu_ps(to, self) }
        }
        #[inline(always)]
        unsafe fn store_first(self, to: *mut f32, count: usize) {
            // SAFETY: masked lanes are not written.
            unsafe { _mm256_maskstore_ps(to, first_of_8(count), self) }
        }
        #[inline(always)]
        unsafe fn add(self, other: Self) -> Self {
            // SAFETY: AVX2 by the contract.
            unsafe { _mm256_add_ps(self, other) }
        }
        #[inline(always)]
        unsafe fn subtract(self, other: Self) -> Self {
            // SAFETY: AVX2 by the contract.
            unsafe { _mm256_sub_ps(self, other) }
        }
        #[inline(always)]
        unsafe fn multiply_add(self, factor: Self, sum: Self) -> Self {
            // SAFETY: FMA by the contract.
            unsafe { _mm256_fmadd_ps(self, factor, sum) }
        }
        #[inline(always)]
        unsafe fn at_least(self, lowest: Self) -> Self {
            // SAFETY: AVX2 by the contract; of two of which one is no number it gives the second.
            unsafe { _mm256_max_ps(lowest, self) }
        }
        #[inline(always)]
        unsafe fn at_most(self, highest: Self) -> Self {
            // SAFETY: as above.
            unsafe { _mm256_min_ps(highest, self) }
        }
    }

    const fn first_of_16(count: usize) -> __mmask16 {
        if count >= 16 { 0xffff } else { (1 << count) - 1 }
    }

    #[expect(unsafe_code, reason = "the trait's contract: AVX-512, and good pointers")]
    // SAFETY: every method is the instruction it names, under the trait's contract.
    unsafe impl Simd for __m512 {
        const LANES: usize = 16;
        #[inline(always)]
        unsafe fn zero() -> Self {
            // SAFETY: AVX-512 by the contract.
            unsafe { _mm512_setzero_ps() }
        }
        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            // SAFETY: AVX-512 by the contract.
            unsafe { _mm512_set1_ps(value) }
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            // SAFETY: good for sixteen numbers by the contract.
            unsafe { _mm512_loadu_ps(from) }
        }
        #[inline(always)]
        unsafe fn load_first(from: *const f32, count: usize) -> Self {
            // SAFETY: masked lanes are not read.
            unsafe { _mm512_maskz_loadu_ps(first_of_16(count), from) }
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: good for sixteen numbers by the contract.
            unsafe { _mm512_storeu_ps(to, self) }
        }
        #[inline(always)]
        unsafe fn store_first(self, to: *mut f32, count: usize) {
            // SAFETY: masked lanes are not written.
            unsafe { _mm512_mask_storeu_ps(to, first_of_16(count), self) }
        }
        #[inline(always)]
        unsafe fn add(self, other: Self) -> Self {
            // SAFETY: AVX-512 by the contract.
            unsafe { _mm512_add_ps(self, other) }
        }
        #[inline(always)]
        unsafe fn subtract(self, other: Self) -> Self {
            // SAFETY: AVX-512 by the contract.
            unsafe { _mm512_sub_ps(self, other) }
        }
        #[inline(always)]
        unsafe fn multiply_add(self, factor: Self, sum: Self) -> Self {
            // SAFETY: AVX-512 by the contract.
            unsafe { _mm512_fmadd_ps(self, factor, sum) }
        }
        #[inline(always)]
        unsafe fn at_least(self, lowest: Self) -> Self {
            // SAFETY: AVX-512 by the contract; of two of which one is no number it gives the second.
            unsafe { _mm512_max_ps(lowest, self) }
        }
        #[inline(always)]
        unsafe fn at_most(self, highest: Self) -> Self {
            // SAFETY: as above.
            unsafe { _mm512_min_ps(highest, self) }
        }
    }
}
