//! The inner loops, compiled for every set of instructions and size of tile.

use super::peak;
use super::simd::Simd;
use super::stencil::{GatherTile, StencilSumTile, StencilTile};
use super::transforms::{JoinTile, SpreadTile};
use crate::ops::instructions::Instructions;

/// One tile of a product: `rows` sources, each of `taps` runs of `depth` numbers, by the columns
/// of one panel.
#[derive(Clone, Copy)]
pub(super) struct ProductTile {
    pub(super) taps: usize,
    pub(super) depth: usize,
    /// `[taps][pitch]`, of which this tile takes the first `rows` of each line: where runs start.
    pub(super) sources: *const *const f32,
    pub(super) pitch: usize,
    /// `[taps * depth][panel width]`.
    pub(super) panel: *const f32,
    /// Where each row of the result starts.
    pub(super) targets: *const *mut f32,
    /// The panel's first column in the result, and how many it has there.
    pub(super) column: usize,
    pub(super) columns: usize,
    /// What the sums start from, as wide as the panel; null for zeros.
    pub(super) start: *const f32,
    /// Whether to add to what the result holds.
    pub(super) accumulate: bool,
    /// The lowest and the highest that a result may be.
    pub(super) limits: Option<[f32; 2]>,
}

/// One tile of a sum of outer products: over `count` rows, some numbers of each left row by some
/// of the right row, added to the result.
#[derive(Clone, Copy)]
pub(super) struct OuterTile {
    pub(super) count: usize,
    /// Where the rows start, and the first number of each that is used.
    pub(super) left: *const *const f32,
    pub(super) left_offset: usize,
    pub(super) right: *const *const f32,
    pub(super) right_offset: usize,
    /// The result's first number, the distance to its next row, and its columns.
    pub(super) target: *mut f32,
    pub(super) pitch: usize,
    pub(super) columns: usize,
}

/// The loops of one set of instructions. `rows` of a tile is the place in the table, plus one.
pub(in crate::ops) struct Kernels {
    /// The columns of a panel: two vectors.
    pub(super) width: usize,
    pub(super) product: &'static [unsafe fn(&ProductTile)],
    pub(super) outer: &'static [unsafe fn(&OuterTile)],
    pub(super) spread: unsafe fn(&SpreadTile),
    pub(super) join: unsafe fn(&JoinTile),
    pub(super) stencil: &'static [unsafe fn(&StencilTile)],
    pub(super) stencil_sum: &'static [unsafe fn(&StencilSumTile)],
    pub(super) gather: unsafe fn(&GatherTile),
    peak: unsafe fn(usize) -> f32,
}

impl Kernels {
    /// Returns the loops for a set that this processor has.
    pub(in crate::ops) fn of(instructions: Instructions) -> &'static Self {
        match instructions {
            Instructions::Portable => &PORTABLE,
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => &AVX2,
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512 => &AVX512,
        }
    }

    /// Returns the best loops for this processor.
    pub(in crate::ops) fn best() -> &'static Self {
        Self::of(Instructions::best())
    }

    /// Returns the columns of a panel.
    pub(in crate::ops) fn width(&self) -> usize {
        self.width
    }

    /// Multiplies and adds so often in registers; returns a sum, and how many operations that was.
    #[expect(unsafe_code, reason = "calls a loop that was compiled for these instructions")]
    pub(in crate::ops) fn multiply_add(&self, rounds: usize) -> (f32, u64) {
        let operations = 2 * peak::SUMS * (self.width / 2) * rounds;
        // SAFETY: `Kernels` exist only for instructions that are there.
        (unsafe { (self.peak)(rounds) }, operations as u64)
    }

    /// Returns the most rows of a tile.
    pub(in crate::ops) fn most_rows(&self) -> usize {
        self.product.len()
    }
}

/// # Safety
///
/// The instructions of `S` must be there, every source good for `depth` numbers, the panel for
/// `taps * depth` lines, every target for the columns it names.
#[inline(always)]
#[expect(unsafe_code, reason = "the innermost loop reads through pointers")]
unsafe fn product<S: Simd, const ROWS: usize>(tile: &ProductTile) {
    if tile.columns > S::LANES {
        // SAFETY: handed on.
        unsafe { product_of::<S, ROWS, 2>(tile) }
    } else {
        // SAFETY: handed on.
        unsafe { product_of::<S, ROWS, 1>(tile) }
    }
}

/// # Safety
///
/// As [`product`].
#[inline(always)]
#[expect(unsafe_code, reason = "the innermost loop reads through pointers")]
unsafe fn product_of<S: Simd, const ROWS: usize, const VECTORS: usize>(tile: &ProductTile) {
    // SAFETY: the contract gives every pointer the numbers that these loops read and write.
    unsafe {
        let start = if tile.start.is_null() {
            [S::zero(); VECTORS]
        } else {
            vectors::<S, VECTORS>(tile.start, VECTORS * S::LANES)
        };
        let mut sums = [start; ROWS];
        let mut line = tile.panel;
        for tap in 0..tile.taps {
            let runs = tile.sources.add(tap * tile.pitch).cast::<[*const f32; ROWS]>().read();
            for k in 0..tile.depth {
                let right = vectors::<S, VECTORS>(line, VECTORS * S::LANES);
                for (run, sums) in runs.iter().zip(&mut sums) {
                    add_scaled(sums, S::splat(run.add(k).read()), &right);
                }
                line = line.add(2 * S::LANES);
            }
        }
        let targets = tile.targets.cast::<[*mut f32; ROWS]>().read();
        if let Some(limits) = tile.limits {
            let [lowest, highest] = limits.map(|limit| S::splat(limit));
            for (sums, target) in sums.into_iter().zip(targets) {
                let mut held = sums;
                if tile.accumulate {
                    for (vector, held) in held.iter_mut().enumerate() {
                        let left = tile.columns.saturating_sub(vector * S::LANES);
                        let before = target.wrapping_add(tile.column + vector * S::LANES);
                        *held = held.add(S::load_first(before, left.min(S::LANES)));
                    }
                }
                let held = held.map(|sum| sum.at_least(lowest).at_most(highest));
                put(held, target.add(tile.column), tile.columns, false);
            }
            return;
        }
        for (sums, target) in sums.into_iter().zip(targets) {
            put(sums, target.add(tile.column), tile.columns, tile.accumulate);
        }
    }
}

/// # Safety
///
/// As [`outer_of`].
#[inline(always)]
#[expect(unsafe_code, reason = "the innermost loop reads through pointers")]
unsafe fn outer<S: Simd, const ROWS: usize>(tile: &OuterTile) {
    // SAFETY: handed on; each case reads only the columns there are.
    unsafe {
        if tile.columns == 2 * S::LANES {
            outer_of::<S, ROWS, 2, true>(tile);
        } else if tile.columns > S::LANES {
            outer_of::<S, ROWS, 2, false>(tile);
        } else if tile.columns == S::LANES {
            outer_of::<S, ROWS, 1, true>(tile);
        } else {
            outer_of::<S, ROWS, 1, false>(tile);
        }
    }
}

/// # Safety
///
/// The instructions of `S` must be there, every left row good for `ROWS` numbers from its offset on,
/// every right row for `columns` from its own, and every row of the target for `columns`.
#[inline(always)]
#[expect(unsafe_code, reason = "the innermost loop reads through pointers")]
unsafe fn outer_of<S: Simd, const ROWS: usize, const VECTORS: usize, const FULL: bool>(
    tile: &OuterTile,
) {
    // SAFETY: the contract gives every pointer the numbers that these loops read and write.
    unsafe {
        let mut sums = [[S::zero(); VECTORS]; ROWS];
        let columns = if FULL { VECTORS * S::LANES } else { tile.columns };
        for m in 0..tile.count {
            let left = tile.left.add(m).read().add(tile.left_offset);
            let right = tile.right.add(m).read().add(tile.right_offset);
            let right = vectors::<S, VECTORS>(right, columns);
            for (row, sums) in sums.iter_mut().enumerate() {
                add_scaled(sums, S::splat(left.add(row).read()), &right);
            }
        }
        for (row, sums) in sums.into_iter().enumerate() {
            put(sums, tile.target.add(row * tile.pitch), tile.columns, true);
        }
    }
}

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

/// Adds one number times each vector.
///
/// # Safety
///
/// The instructions of `S` must be there.
#[inline(always)]
#[expect(unsafe_code, reason = "vector instructions need a processor that has them")]
unsafe fn add_scaled<S: Simd, const VECTORS: usize>(
    sums: &mut [S; VECTORS],
    scale: S,
    vectors: &[S; VECTORS],
) {
    // SAFETY: handed on.
    unsafe {
        sums[0] = scale.multiply_add(vectors[0], sums[0]);
        if VECTORS == 2 {
            sums[1] = scale.multiply_add(vectors[1], sums[1]);
        }
    }
}

/// # Safety
///
/// The target must be good for `columns` numbers.
#[inline(always)]
#[expect(unsafe_code, reason = "the innermost loop writes through pointers")]
pub(super) unsafe fn put<S: Simd, const VECTORS: usize>(
    sums: [S; VECTORS],
    target: *mut f32,
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
                    sum = sum.add(S::load(target));
                }
                sum.store(target);
            } else {
                if accumulate {
                    sum = sum.add(S::load_first(target, left));
                }
                sum.store_first(target, left);
            }
        }
    }
}

/// Makes the table of one set of instructions: its vector, features, and rows of a tile.
macro_rules! kernels {
    ($name:ident, $module:ident, $vector:ty, $(#[$feature:meta])?, $($rows:literal)+) => {
        #[expect(unsafe_code, reason = "compiled for instructions that may not be there")]
        mod $module {
            use super::{
                GatherTile, JoinTile, OuterTile, ProductTile, SpreadTile, StencilSumTile, StencilTile,
            };
            use crate::ops::matrix::{peak, stencil, transforms};
            $(#[$feature])?
            pub(super) unsafe fn product<const ROWS: usize>(tile: &ProductTile) {
                // SAFETY: the caller keeps the contract, and the features are enabled here.
                unsafe { super::product::<$vector, ROWS>(tile) }
            }
            $(#[$feature])?
            pub(super) unsafe fn outer<const ROWS: usize>(tile: &OuterTile) {
                // SAFETY: the caller keeps the contract, and the features are enabled here.
                unsafe { super::outer::<$vector, ROWS>(tile) }
            }
            $(#[$feature])?
            pub(super) unsafe fn spread(tile: &SpreadTile) {
                // SAFETY: the caller keeps the contract, and the features are enabled here.
                unsafe { transforms::spread::<$vector>(tile) }
            }
            $(#[$feature])?
            pub(super) unsafe fn join(tile: &JoinTile) {
                // SAFETY: the caller keeps the contract, and the features are enabled here.
                unsafe { transforms::join::<$vector>(tile) }
            }
            $(#[$feature])?
            pub(super) unsafe fn stencil<const PIXELS: usize>(tile: &StencilTile) {
                // SAFETY: the caller keeps the contract, and the features are enabled here.
                unsafe { stencil::stencil::<$vector, PIXELS>(tile) }
            }
            $(#[$feature])?
            pub(super) unsafe fn stencil_sum<const TAPS: usize>(tile: &StencilSumTile) {
                // SAFETY: the caller keeps the contract, and the features are enabled here.
                unsafe { stencil::stencil_sum::<$vector, TAPS>(tile) }
            }
            $(#[$feature])?
            pub(super) unsafe fn gather(tile: &GatherTile) {
                // SAFETY: the caller keeps the contract, and the features are enabled here.
                unsafe { stencil::gather::<$vector>(tile) }
            }
            $(#[$feature])?
            pub(super) unsafe fn peak(rounds: usize) -> f32 {
                // SAFETY: the features are enabled here.
                unsafe { peak::peak::<$vector>(rounds) }
            }
        }
        static $name: Kernels = Kernels {
            width: 2 * <$vector as Simd>::LANES,
            product: &[$($module::product::<$rows>),+],
            outer: &[$($module::outer::<$rows>),+],
            spread: $module::spread,
            join: $module::join,
            stencil: &[$($module::stencil::<$rows>),+],
            stencil_sum: &[$($module::stencil_sum::<$rows>),+],
            gather: $module::gather,
            peak: $module::peak,
        };
    };
}

kernels!(PORTABLE, portable, crate::ops::matrix::simd::Plain, , 1 2 3 4);
#[cfg(target_arch = "x86_64")]
kernels!(AVX2, avx2, std::arch::x86_64::__m256, #[target_feature(enable = "avx2,fma")], 1 2 3 4 5 6);
#[cfg(target_arch = "x86_64")]
kernels!(
    AVX512, avx512, std::arch::x86_64::__m512,
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")],
    1 2 3 4 5 6 7 8 9 10 11 12 13 14
);
