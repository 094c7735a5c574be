//! The inner loops, compiled for every set of instructions and size of tile.

use half::bf16;

use super::factor::Factor;
use super::form::{Form, Stored as _};
use super::peak;
use super::simd::Simd;
use super::stencil::{GatherTile, StencilSumTile, StencilTile};
use super::transforms::{JoinTile, SpreadTile};
use super::vectors::{add_scaled, put, vectors};
use crate::ops::instructions::Instructions;

/// One tile of a product: `rows` sources, each of `taps` runs of `depth` lanes, by the columns
/// of one panel. A lane is one f32, or two bf16.
#[derive(Clone, Copy)]
pub(super) struct ProductTile<N> {
    pub(super) taps: usize,
    pub(super) depth: usize,
    /// `[taps][pitch]`, of which this tile takes the first `rows` of each line: where runs start.
    pub(super) sources: *const *const N,
    pub(super) pitch: usize,
    /// `[taps * depth][panel width]` lanes.
    pub(super) panel: *const N,
    /// Where each row of the result starts.
    pub(super) targets: *const *mut N,
    /// The panel's first column in the result, and how many it has there.
    pub(super) column: usize,
    pub(super) columns: usize,
    /// What the sums start from, as wide as the panel; null for zeros.
    pub(super) start: *const f32,
    /// Whether to add to what the result holds, which only f32 can.
    pub(super) accumulate: bool,
    /// The lowest and the highest that a result may be.
    pub(super) limits: Option<[f32; 2]>,
}

/// One tile of a sum of outer products: over `count` rows, some lanes of each left row by some
/// of the right row. Two bf16 in a lane are of two rows.
#[derive(Clone, Copy)]
pub(super) struct OuterTile<N> {
    pub(super) count: usize,
    /// Where the rows start, and the first number of each that is used.
    pub(super) left: *const *const N,
    pub(super) left_offset: usize,
    pub(super) right: *const *const N,
    pub(super) right_offset: usize,
    /// The result's first number, the distance to its next row, and its columns.
    pub(super) target: *mut f32,
    pub(super) pitch: usize,
    pub(super) columns: usize,
    /// Whether to add to what the result holds.
    pub(super) accumulate: bool,
}

/// The loops of one set of instructions. `rows` of a tile is the place in the table, plus one.
pub(in crate::ops) struct Kernels {
    /// The columns of a panel: two vectors.
    pub(super) width: usize,
    pub(super) singles: Loops<f32>,
    pub(super) pairs: Loops<bf16>,
    /// Whether one instruction multiplies pairs of bf16.
    dots: bool,
    pub(super) spread: unsafe fn(&SpreadTile),
    pub(super) join: unsafe fn(&JoinTile),
    pub(super) stencil_sum: &'static [unsafe fn(&StencilSumTile)],
}

/// Those that read or write arrays of one kind of numbers.
#[derive(Clone, Copy)]
pub(in crate::ops) struct Loops<N: 'static> {
    pub(super) product: &'static [unsafe fn(&ProductTile<N>)],
    pub(super) outer: &'static [unsafe fn(&OuterTile<N>)],
    pub(super) stencil: &'static [unsafe fn(&StencilTile<N>)],
    pub(super) gather: unsafe fn(&GatherTile<N>),
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
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512Bf16 => &AVX512_BF16,
        }
    }

    /// Returns the best loops for this processor.
    pub(in crate::ops) fn best() -> &'static Self {
        Self::of(Instructions::best())
    }

    /// Returns whether products of bf16 are faster than those of f32.
    pub(in crate::ops) fn prefers_halves(&self) -> bool {
        self.dots
    }

    /// Returns the columns of a panel.
    pub(in crate::ops) fn width(&self) -> usize {
        self.width
    }

    /// Multiplies and adds so often in registers; returns a sum, and how many operations that was.
    #[expect(unsafe_code, reason = "calls a loop that was compiled for these instructions")]
    pub(in crate::ops) fn multiply_add<N: Factor>(&self, rounds: usize) -> (f32, u64) {
        let lanes = self.width / 2;
        let operations = 2 * N::TOGETHER * peak::sums(lanes) * lanes * rounds;
        // SAFETY: `Kernels` exist only for instructions that are there.
        (unsafe { (N::loops(self).peak)(rounds) }, operations as u64)
    }

    /// Returns the most rows of a tile.
    pub(in crate::ops) fn most_rows(&self) -> usize {
        self.singles.product.len()
    }
}

/// # Safety
///
/// The instructions of `S` must be there, every source good for `depth` lanes, the panel for
/// `taps * depth` lines of lanes, every target for the columns it names.
#[inline(always)]
#[expect(unsafe_code, reason = "the innermost loop reads through pointers")]
unsafe fn product<S: Simd, F: Form<S>, const ROWS: usize>(tile: &ProductTile<F::Number>) {
    if tile.columns > S::LANES {
        // SAFETY: handed on.
        unsafe { product_of::<S, F, ROWS, 2>(tile) }
    } else {
        // SAFETY: handed on.
        unsafe { product_of::<S, F, ROWS, 1>(tile) }
    }
}

/// # Safety
///
/// As [`product`].
#[inline(always)]
#[expect(unsafe_code, reason = "the innermost loop reads through pointers")]
unsafe fn product_of<S: Simd, F: Form<S>, const ROWS: usize, const VECTORS: usize>(
    tile: &ProductTile<F::Number>,
) {
    // SAFETY: the contract gives every pointer the numbers that these loops read and write.
    unsafe {
        let start = if tile.start.is_null() {
            [S::zero(); VECTORS]
        } else {
            vectors::<S, VECTORS>(tile.start, VECTORS * S::LANES)
        };
        let mut sums = [start; ROWS];
        let mut line = tile.panel.cast::<f32>();
        for tap in 0..tile.taps {
            let runs = tile.sources.add(tap * tile.pitch).cast::<[*const f32; ROWS]>().read();
            for k in 0..tile.depth {
                let right = vectors::<S, VECTORS>(line, VECTORS * S::LANES);
                for (run, sums) in runs.iter().zip(&mut sums) {
                    let left = S::splat(run.add(k).read_unaligned());
                    add_scaled::<S, F, VECTORS>(sums, left, &right);
                }
                line = line.add(2 * S::LANES);
            }
        }
        let targets = tile.targets.cast::<[*mut F::Number; ROWS]>().read();
        if let Some(limits) = tile.limits {
            let [lowest, highest] = limits.map(|limit| S::splat(limit));
            for (sums, target) in sums.into_iter().zip(targets) {
                let mut held = sums;
                if tile.accumulate {
                    for (vector, held) in held.iter_mut().enumerate() {
                        let left = tile.columns.saturating_sub(vector * S::LANES);
                        let before = target.wrapping_add(tile.column + vector * S::LANES);
                        *held = held.add(F::Number::load_first(before, left.min(S::LANES)));
                    }
                }
                let held = held.map(|sum| sum.at_least(lowest).at_most(highest));
                put::<S, F::Number, VECTORS>(held, target.add(tile.column), tile.columns, false);
            }
            return;
        }
        for (sums, target) in sums.into_iter().zip(targets) {
            let target = target.add(tile.column);
            put::<S, F::Number, VECTORS>(sums, target, tile.columns, tile.accumulate);
        }
    }
}

/// # Safety
///
/// As [`outer_of`].
#[inline(always)]
#[expect(unsafe_code, reason = "the innermost loop reads through pointers")]
unsafe fn outer<S: Simd, F: Form<S>, const ROWS: usize>(tile: &OuterTile<F::Number>) {
    // SAFETY: handed on; each case reads only the columns there are.
    unsafe {
        if tile.columns == 2 * S::LANES {
            outer_of::<S, F, ROWS, 2, true>(tile);
        } else if tile.columns > S::LANES {
            outer_of::<S, F, ROWS, 2, false>(tile);
        } else if tile.columns == S::LANES {
            outer_of::<S, F, ROWS, 1, true>(tile);
        } else {
            outer_of::<S, F, ROWS, 1, false>(tile);
        }
    }
}

/// # Safety
///
/// The instructions of `S` must be there, every left row good for `ROWS` lanes from its offset on,
/// every right row for `columns` from its own, and every row of the target for `columns`.
#[inline(always)]
#[expect(unsafe_code, reason = "the innermost loop reads through pointers")]
unsafe fn outer_of<
    S: Simd,
    F: Form<S>,
    const ROWS: usize,
    const VECTORS: usize,
    const FULL: bool,
>(
    tile: &OuterTile<F::Number>,
) {
    // SAFETY: the contract gives every pointer the numbers that these loops read and write.
    unsafe {
        let mut sums = [[S::zero(); VECTORS]; ROWS];
        let columns = if FULL { VECTORS * S::LANES } else { tile.columns };
        for m in 0..tile.count {
            let left = tile.left.add(m).read().add(tile.left_offset).cast::<f32>();
            let right = tile.right.add(m).read().add(tile.right_offset).cast::<f32>();
            let right = vectors::<S, VECTORS>(right, columns);
            for (row, sums) in sums.iter_mut().enumerate() {
                let left = S::splat(left.add(row).read_unaligned());
                add_scaled::<S, F, VECTORS>(sums, left, &right);
            }
        }
        for (row, sums) in sums.into_iter().enumerate() {
            let target = tile.target.add(row * tile.pitch);
            put::<S, f32, VECTORS>(sums, target, tile.columns, tile.accumulate);
        }
    }
}

/// Makes the loops for one kind of numbers: a module's name, the set's features, the vector, how numbers
/// become lanes, and rows of a tile.
macro_rules! loops {
    ($module:ident, $number:ty, $form:ty, $vector:ty, $(#[$feature:meta])?, $($rows:literal)+) => {
        #[expect(unsafe_code, reason = "compiled for instructions that may not be there")]
        mod $module {
            use super::{GatherTile, Loops, OuterTile, ProductTile, StencilTile};
            use crate::ops::matrix::{form, peak, stencil};

            $(#[$feature])?
            unsafe fn product<const ROWS: usize>(tile: &ProductTile<$number>) {
                // SAFETY: the caller keeps the contract, and the features are enabled here.
                unsafe { super::product::<$vector, $form, ROWS>(tile) }
            }
            $(#[$feature])?
            unsafe fn outer<const ROWS: usize>(tile: &OuterTile<$number>) {
                // SAFETY: the caller keeps the contract, and the features are enabled here.
                unsafe { super::outer::<$vector, $form, ROWS>(tile) }
            }
            $(#[$feature])?
            unsafe fn stencil<const PIXELS: usize>(tile: &StencilTile<$number>) {
                // SAFETY: the caller keeps the contract, and the features are enabled here.
                unsafe { stencil::stencil::<$vector, $number, PIXELS>(tile) }
            }
            $(#[$feature])?
            unsafe fn gather(tile: &GatherTile<$number>) {
                // SAFETY: the caller keeps the contract, and the features are enabled here.
                unsafe { stencil::gather::<$vector, $number>(tile) }
            }
            $(#[$feature])?
            unsafe fn peak(rounds: usize) -> f32 {
                // SAFETY: the features are enabled here.
                unsafe { peak::peak::<$vector, $form>(rounds) }
            }
            pub(super) const LOOPS: Loops<$number> = Loops {
                product: &[$(product::<$rows>),+],
                outer: &[$(outer::<$rows>),+],
                stencil: &[$(stencil::<$rows>),+],
                gather,
                peak,
            };
        }
    };
}
/// Makes the table of one set of instructions: its vector, features, and rows of a tile.
macro_rules! kernels {
    ($name:ident, [$module:ident, $singles:ident, $pairs:ident], $vector:ty, $(#[$feature:meta])?, $($rows:literal)+) => {
        #[expect(unsafe_code, reason = "compiled for instructions that may not be there")]
        mod $module {
            use super::{JoinTile, SpreadTile, StencilSumTile};
            use crate::ops::matrix::{stencil, transforms};
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
            pub(super) unsafe fn stencil_sum<const TAPS: usize>(tile: &StencilSumTile) {
                // SAFETY: the caller keeps the contract, and the features are enabled here.
                unsafe { stencil::stencil_sum::<$vector, TAPS>(tile) }
            }
        }
        loops!($singles, f32, form::Singles, $vector, $(#[$feature])?, $($rows)+);
        loops!($pairs, half::bf16, form::Pairs, $vector, $(#[$feature])?, $($rows)+);
        const $name: Kernels = Kernels {
            width: 2 * <$vector as Simd>::LANES,
            singles: $singles::LOOPS,
            pairs: $pairs::LOOPS,
            dots: false,
            spread: $module::spread,
            join: $module::join,
            stencil_sum: &[$($module::stencil_sum::<$rows>),+],
        };
    };
}

kernels!(PORTABLE, [portable, portable_singles, portable_pairs], crate::ops::matrix::simd::Plain, , 1 2 3 4);
#[cfg(target_arch = "x86_64")]
kernels!(
    AVX2, [avx2, avx2_singles, avx2_pairs], std::arch::x86_64::__m256,
    #[target_feature(enable = "avx2,fma")],
    1 2 3 4 5 6
);
#[cfg(target_arch = "x86_64")]
kernels!(
    AVX512, [avx512, avx512_singles, avx512_pairs], std::arch::x86_64::__m512,
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")],
    1 2 3 4 5 6 7 8 9 10 11 12 13 14
);
#[cfg(target_arch = "x86_64")]
loops!(
    avx512_dotted, half::bf16, form::Dotted, std::arch::x86_64::__m512,
    #[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")],
    1 2 3 4 5 6 7 8 9 10 11 12 13 14
);
#[cfg(target_arch = "x86_64")]
static AVX512_BF16: Kernels = Kernels { pairs: avx512_dotted::LOOPS, dots: true, ..AVX512 };
