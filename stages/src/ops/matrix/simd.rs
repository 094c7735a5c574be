//! Vectors of f32 as each set of instructions has them.

use half::bf16;

use crate::ops::number::Number as _;

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
    /// Reads bf16s as f32s.
    unsafe fn load_halves(from: *const bf16) -> Self;
    /// Reads the first `count` bf16s and zeros.
    unsafe fn load_first_halves(from: *const bf16, count: usize) -> Self;
    /// Writes the nearest bf16s.
    unsafe fn store_halves(self, to: *mut bf16);
    unsafe fn store_first_halves(self, to: *mut bf16, count: usize);
    /// Takes each lane for two bf16s, and returns that of its lower bits.
    unsafe fn low_halves(self) -> Self;
    /// Returns the other.
    unsafe fn high_halves(self) -> Self;
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
            *value = unsafe { from.add(lane).read_unaligned() };
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
            unsafe { to.add(lane).write_unaligned(*value) }
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
    #[inline(always)]
    unsafe fn load_halves(from: *const bf16) -> Self {
        // SAFETY: good for four numbers by the contract.
        unsafe { Self::load_first_halves(from, 4) }
    }
    #[inline(always)]
    unsafe fn load_first_halves(from: *const bf16, count: usize) -> Self {
        let mut lanes = [0.0; 4];
        for (lane, value) in lanes.iter_mut().take(count).enumerate() {
            // SAFETY: good for `count` numbers by the contract.
            *value = unsafe { from.add(lane).read().wide() };
        }
        lanes
    }
    #[inline(always)]
    unsafe fn store_halves(self, to: *mut bf16) {
        // SAFETY: good for four numbers by the contract.
        unsafe { self.store_first_halves(to, 4) }
    }
    #[inline(always)]
    unsafe fn store_first_halves(self, to: *mut bf16, count: usize) {
        for (lane, value) in self.iter().take(count).enumerate() {
            // SAFETY: good for `count` numbers by the contract.
            unsafe { to.add(lane).write(bf16::narrow(*value)) }
        }
    }
    #[inline(always)]
    unsafe fn low_halves(self) -> Self {
        self.map(|lane| f32::from_bits(lane.to_bits() << 16))
    }
    #[inline(always)]
    unsafe fn high_halves(self) -> Self {
        self.map(|lane| f32::from_bits(lane.to_bits() & 0xffff_0000))
    }
}
