//! Vectors of f32 as AVX2 and AVX-512 have them.

use std::arch::x86_64::*;

use half::bf16;

use super::simd::Simd;

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
    #[inline(always)]
    unsafe fn load_halves(from: *const bf16) -> Self {
        // SAFETY: good for eight numbers by the contract.
        unsafe {
            let halves = _mm_loadu_si128(from.cast());
            _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16))
        }
    }
    #[inline(always)]
    unsafe fn load_first_halves(from: *const bf16, count: usize) -> Self {
        let mut halves = [bf16::ZERO; 8];
        for (lane, half) in halves.iter_mut().take(count).enumerate() {
            // SAFETY: good for `count` numbers by the contract.
            *half = unsafe { from.add(lane).read() };
        }
        // SAFETY: eight numbers.
        unsafe { Self::load_halves(halves.as_ptr()) }
    }
    #[inline(always)]
    unsafe fn store_halves(self, to: *mut bf16) {
        // SAFETY: AVX2 by the contract; good for eight numbers. Lanes are packed within each half of the
        // vector, so its second and third quarters are exchanged.
        unsafe {
            let bits = _mm256_castps_si256(self);
            let high = _mm256_srli_epi32(bits, 16);
            let odd = _mm256_and_si256(high, _mm256_set1_epi32(1));
            let to_nearest = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff));
            let nearest = _mm256_srli_epi32(_mm256_add_epi32(bits, to_nearest), 16);
            let none = _mm256_castps_si256(_mm256_cmp_ps(self, self, _CMP_UNORD_Q));
            let quiet = _mm256_or_si256(high, _mm256_set1_epi32(0x40));
            let halves = _mm256_blendv_epi8(nearest, quiet, none);
            let packed = _mm256_packus_epi32(halves, halves);
            let ordered = _mm256_permute4x64_epi64(packed, 0b00_00_10_00);
            _mm_storeu_si128(to.cast(), _mm256_castsi256_si128(ordered));
        }
    }
    #[inline(always)]
    unsafe fn store_first_halves(self, to: *mut bf16, count: usize) {
        let mut halves = [bf16::ZERO; 8];
        // SAFETY: eight numbers, of which those that there is room for are copied.
        unsafe {
            self.store_halves(halves.as_mut_ptr());
            to.copy_from_nonoverlapping(halves.as_ptr(), count.min(8));
        }
    }
    #[inline(always)]
    unsafe fn low_halves(self) -> Self {
        // SAFETY: AVX2 by the contract.
        unsafe { _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(self), 16)) }
    }
    #[inline(always)]
    unsafe fn high_halves(self) -> Self {
        // SAFETY: AVX2 by the contract.
        unsafe {
            let high = _mm256_set1_epi32(0xffff_0000_u32 as i32);
            _mm256_castsi256_ps(_mm256_and_si256(_mm256_castps_si256(self), high))
        }
    }
}

const fn first_of_16(count: usize) -> __mmask16 {
    if count >= 16 { 0xffff } else { (1 << count) - 1 }
}

/// Returns sixteen bf16s as f32s.
#[inline(always)]
#[expect(unsafe_code, reason = "vector instructions need a processor that has them")]
unsafe fn widened(halves: __m256i) -> __m512 {
    // SAFETY: AVX-512 by the caller's contract.
    unsafe { _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16)) }
}

/// Returns the nearest bf16s; the instruction for it would take what is small to be 0.
#[inline(always)]
#[expect(unsafe_code, reason = "vector instructions need a processor that has them")]
unsafe fn narrowed(lanes: __m512) -> __m256i {
    // SAFETY: AVX-512 by the caller's contract.
    unsafe {
        let bits = _mm512_castps_si512(lanes);
        let high = _mm512_srli_epi32(bits, 16);
        let odd = _mm512_and_si512(high, _mm512_set1_epi32(1));
        let to_nearest = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
        let nearest = _mm512_srli_epi32(_mm512_add_epi32(bits, to_nearest), 16);
        let none = _mm512_cmp_ps_mask(lanes, lanes, _CMP_UNORD_Q);
        let quiet = _mm512_set1_epi32(0x40);
        _mm512_cvtepi32_epi16(_mm512_mask_or_epi32(nearest, none, high, quiet))
    }
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
    #[inline(always)]
    unsafe fn load_halves(from: *const bf16) -> Self {
        // SAFETY: good for sixteen numbers by the contract.
        unsafe { widened(_mm256_loadu_si256(from.cast())) }
    }
    #[inline(always)]
    unsafe fn load_first_halves(from: *const bf16, count: usize) -> Self {
        // SAFETY: masked numbers are not read.
        unsafe { widened(_mm256_maskz_loadu_epi16(first_of_16(count), from.cast())) }
    }
    #[inline(always)]
    unsafe fn store_halves(self, to: *mut bf16) {
        // SAFETY: good for sixteen numbers by the contract.
        unsafe { _mm256_storeu_si256(to.cast(), narrowed(self)) }
    }
    #[inline(always)]
    unsafe fn store_first_halves(self, to: *mut bf16, count: usize) {
        // SAFETY: masked numbers are not written.
        unsafe { _mm256_mask_storeu_epi16(to.cast(), first_of_16(count), narrowed(self)) }
    }
    #[inline(always)]
    unsafe fn low_halves(self) -> Self {
        // SAFETY: AVX-512 by the contract.
        unsafe { _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(self), 16)) }
    }
    #[inline(always)]
    unsafe fn high_halves(self) -> Self {
        // SAFETY: AVX-512 by the contract.
        unsafe {
            let high = _mm512_set1_epi32(0xffff_0000_u32 as i32);
            _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(self), high))
        }
    }
}
