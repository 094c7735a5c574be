//! The inner loops of convolution channel by channel, over blocks of channels as wide as a panel.

use super::factor::Factor;
use super::form::Stored;
use super::kernels::Kernels;
use super::simd::Simd;
use super::vectors::{put, vectors};

/// Neighbouring pixels of a result, each a sum over taps of a pixel of the source times a line of
/// weights, channel by channel.
#[derive(Clone, Copy)]
pub(in crate::ops) struct StencilTile<N> {
    /// Where the taps of the first pixel are counted from; a pixel there is as wide as a panel.
    pub(in crate::ops) source: *const f32,
    /// Numbers from one pixel's place to the next one's.
    pub(in crate::ops) step: usize,
    /// How many taps there are, and how far from the place each lies.
    pub(in crate::ops) taps: usize,
    pub(in crate::ops) offsets: *const usize,
    /// `[taps][panel width]`.
    pub(in crate::ops) weights: *const f32,
    /// What the sums start from, as wide as the panel.
    pub(in crate::ops) start: *const f32,
    /// The lowest and the highest that a result may be.
    pub(in crate::ops) limits: Option<[f32; 2]>,
    /// The first pixel of the result, the distance to the next, and its channels.
    pub(in crate::ops) target: *mut N,
    pub(in crate::ops) pitch: usize,
    pub(in crate::ops) columns: usize,
}

/// Lines of weights to which are added, for each tap, the pixels of a gradient times those of the
/// source that it was computed from.
#[derive(Clone, Copy)]
pub(in crate::ops) struct StencilSumTile {
    /// Where the taps of the first pixel are counted from; a pixel there is as wide as a panel.
    pub(in crate::ops) source: *const f32,
    /// Numbers from one pixel's place to the next one's, and from one row's to the next one's.
    pub(in crate::ops) step: usize,
    pub(in crate::ops) row_step: usize,
    /// How far from the place each tap lies.
    pub(in crate::ops) offsets: *const usize,
    /// Rows and columns of the gradient, which lie one after the other.
    pub(in crate::ops) size: [usize; 2],
    /// The gradient's first pixel, the distance to the next, and its channels.
    pub(in crate::ops) gradient: *const f32,
    pub(in crate::ops) pitch: usize,
    pub(in crate::ops) columns: usize,
    /// `[taps][panel width]`.
    pub(in crate::ops) target: *mut f32,
}

/// Pixels of which some channels are copied to where a pixel is as wide as a panel, as f32.
#[derive(Clone, Copy)]
pub(in crate::ops) struct GatherTile<N> {
    pub(in crate::ops) count: usize,
    pub(in crate::ops) source: *const N,
    pub(in crate::ops) pitch: usize,
    pub(in crate::ops) columns: usize,
    pub(in crate::ops) target: *mut f32,
}

impl Kernels {
    /// Computes as many neighbouring pixels as this says, up to [`Kernels::most_rows`].
    ///
    /// # Safety
    ///
    /// Source, weights and start must be good for whole panels, and each pixel of the target for
    /// its columns.
    #[expect(unsafe_code, reason = "the inner loops read and write through pointers")]
    pub(in crate::ops) unsafe fn stencil<N: Factor>(&self, pixels: usize, tile: &StencilTile<N>) {
        // SAFETY: `Kernels` exist only for instructions that are there; the rest is handed on.
        unsafe { N::loops(self).stencil[pixels - 1](tile) }
    }

    /// Adds up as many taps as this says, up to [`Kernels::most_rows`].
    ///
    /// # Safety
    ///
    /// Source and target must be good for whole panels, and each pixel of the gradient for its
    /// columns.
    #[expect(unsafe_code, reason = "the inner loops read and write through pointers")]
    pub(in crate::ops) unsafe fn stencil_sum(&self, taps: usize, tile: &StencilSumTile) {
        // SAFETY: as above.
        unsafe { self.stencil_sum[taps - 1](tile) }
    }

    /// Copies pixels.
    ///
    /// # Safety
    ///
    /// Each pixel of the source must be good for its columns, and the target for whole panels.
    #[expect(unsafe_code, reason = "the inner loops read and write through pointers")]
    pub(in crate::ops) unsafe fn gather<N: Factor>(&self, tile: &GatherTile<N>) {
        // SAFETY: as above.
        unsafe { (N::loops(self).gather)(tile) }
    }
}

/// # Safety
///
/// As [`Kernels::stencil`], and the instructions of `S` must be there.
#[inline(always)]
#[expect(unsafe_code, reason = "the innermost loop reads through pointers")]
pub(super) unsafe fn stencil<S: Simd, N: Stored<S>, const PIXELS: usize>(tile: &StencilTile<N>) {
    if tile.columns > S::LANES {
        // SAFETY: handed on.
        unsafe { stencil_of::<S, N, PIXELS, 2>(tile) }
    } else {
        // SAFETY: handed on.
        unsafe { stencil_of::<S, N, PIXELS, 1>(tile) }
    }
}

/// # Safety
///
/// As [`stencil`].
#[inline(always)]
#[expect(unsafe_code, reason = "the innermost loop reads through pointers")]
unsafe fn stencil_of<S: Simd, N: Stored<S>, const PIXELS: usize, const VECTORS: usize>(
    tile: &StencilTile<N>,
) {
    // SAFETY: the contract gives every pointer the numbers that these loops read and write.
    unsafe {
        let whole = VECTORS * S::LANES;
        let mut sums = [vectors::<S, VECTORS>(tile.start, whole); PIXELS];
        let mut weights = tile.weights;
        for tap in 0..tile.taps {
            let source = tile.source.add(tile.offsets.add(tap).read());
            let weight = vectors::<S, VECTORS>(weights, whole);
            for (pixel, sums) in sums.iter_mut().enumerate() {
                let seen = vectors::<S, VECTORS>(source.add(pixel * tile.step), whole);
                for ((sum, seen), weight) in sums.iter_mut().zip(seen).zip(weight) {
                    *sum = seen.multiply_add(weight, *sum);
                }
            }
            weights = weights.add(2 * S::LANES);
        }
        if let Some([lowest, highest]) = tile.limits {
            let (lowest, highest) = (S::splat(lowest), S::splat(highest));
            for sum in sums.iter_mut().flatten() {
                *sum = sum.at_least(lowest).at_most(highest);
            }
        }
        for (pixel, sums) in sums.into_iter().enumerate() {
            let target = tile.target.add(pixel * tile.pitch);
            put::<S, N, VECTORS>(sums, target, tile.columns, false);
        }
    }
}

/// # Safety
///
/// As [`Kernels::stencil_sum`], and the instructions of `S` must be there.
#[inline(always)]
#[expect(unsafe_code, reason = "the innermost loop reads through pointers")]
pub(super) unsafe fn stencil_sum<S: Simd, const TAPS: usize>(tile: &StencilSumTile) {
    // SAFETY: handed on; each case reads only the columns there are.
    unsafe {
        if tile.columns == 2 * S::LANES {
            stencil_sum_of::<S, TAPS, 2, true>(tile);
        } else if tile.columns > S::LANES {
            stencil_sum_of::<S, TAPS, 2, false>(tile);
        } else if tile.columns == S::LANES {
            stencil_sum_of::<S, TAPS, 1, true>(tile);
        } else {
            stencil_sum_of::<S, TAPS, 1, false>(tile);
        }
    }
}

/// # Safety
///
/// As [`stencil_sum`].
#[inline(always)]
#[expect(unsafe_code, reason = "the innermost loop reads through pointers")]
unsafe fn stencil_sum_of<S: Simd, const TAPS: usize, const VECTORS: usize, const FULL: bool>(
    tile: &StencilSumTile,
) {
    // SAFETY: the contract gives every pointer the numbers that these loops read and write.
    unsafe {
        let whole = VECTORS * S::LANES;
        let columns = if FULL { whole } else { tile.columns };
        let offsets = tile.offsets.cast::<[usize; TAPS]>().read();
        let mut sums = [[S::zero(); VECTORS]; TAPS];
        let mut gradient = tile.gradient;
        for row in 0..tile.size[0] {
            let mut place = tile.source.add(row * tile.row_step);
            for _ in 0..tile.size[1] {
                let right = vectors::<S, VECTORS>(gradient, columns);
                for (sums, offset) in sums.iter_mut().zip(offsets) {
                    let seen = vectors::<S, VECTORS>(place.add(offset), whole);
                    for ((sum, seen), right) in sums.iter_mut().zip(seen).zip(right) {
                        *sum = seen.multiply_add(right, *sum);
                    }
                }
                // a step past the last pixel may lie outside, and is not read
                gradient = gradient.wrapping_add(tile.pitch);
                place = place.wrapping_add(tile.step);
            }
        }
        for (tap, sums) in sums.into_iter().enumerate() {
            put::<S, f32, VECTORS>(sums, tile.target.add(tap * 2 * S::LANES), whole, true);
        }
    }
}

/// # Safety
///
/// As [`Kernels::gather`], and the instructions of `S` must be there.
#[inline(always)]
#[expect(unsafe_code, reason = "the innermost loop reads through pointers")]
pub(super) unsafe fn gather<S: Simd, N: Stored<S>>(tile: &GatherTile<N>) {
    // SAFETY: handed on; each case reads only the columns there are.
    unsafe {
        if tile.columns == 2 * S::LANES {
            gather_of::<S, N, 2, true>(tile);
        } else if tile.columns > S::LANES {
            gather_of::<S, N, 2, false>(tile);
        } else {
            gather_of::<S, N, 1, false>(tile);
        }
    }
}

/// # Safety
///
/// As [`gather`].
#[inline(always)]
#[expect(unsafe_code, reason = "the innermost loop reads through pointers")]
unsafe fn gather_of<S: Simd, N: Stored<S>, const VECTORS: usize, const FULL: bool>(
    tile: &GatherTile<N>,
) {
    // SAFETY: the contract gives every pointer the numbers that this loop reads and writes.
    unsafe {
        let whole = VECTORS * S::LANES;
        let columns = if FULL { whole } else { tile.columns };
        for pixel in 0..tile.count {
            let source = tile.source.add(pixel * tile.pitch);
            let target = tile.target.add(pixel * 2 * S::LANES);
            for place in (0..whole).step_by(S::LANES) {
                let from = source.add(place);
                let seen = match columns - place {
                    left if left >= S::LANES => N::load(from),
                    left => N::load_first(from, left),
                };
                seen.store(target.add(place));
            }
        }
    }
}
