//! Rows found through pointers, times a packed matrix.

use std::ops::Range;

use rayon::prelude::*;

use super::factor::Factor;
use super::kernels::{Kernels, ProductTile};
use super::packed::Packed;

/// Where the rows of the left matrix lie: each is `taps` runs of `depth` numbers.
///
/// # Safety
///
/// Every pointer that `locate` writes must be good for reading `depth` numbers for as long as the
/// sources live.
#[expect(unsafe_code, reason = "a promise about pointers")]
pub(in crate::ops) unsafe trait Sources<N>: Sync {
    /// Runs of a row.
    fn taps(&self) -> usize;
    /// Numbers of a run.
    fn depth(&self) -> usize;
    /// Rows in all.
    fn rows(&self) -> usize;
    /// Writes where some runs of some rows start: `table[(tap - taps.start) * rows.len() + row -
    /// rows.start]`.
    fn locate(&self, rows: Range<usize>, taps: Range<usize>, table: &mut [*const N]);
}

/// Where the rows of the result lie.
///
/// # Safety
///
/// Every pointer that `locate` writes must be good for writing `columns` numbers for as long as
/// the targets live; those of different rows must not overlap.
#[expect(unsafe_code, reason = "a promise about pointers")]
pub(in crate::ops) unsafe trait Targets<N>: Sync {
    /// Numbers of a row.
    fn columns(&self) -> usize;
    /// Rows in all.
    fn rows(&self) -> usize;
    /// Writes where some rows start.
    fn locate(&self, rows: Range<usize>, table: &mut [*mut N]);
}

/// How many numbers of a panel are used before the next rows come: they stay in the L2 cache.
const PANEL: usize = 64 * 1024;
/// Tiles of rows in one task, and panels.
const TILES: usize = 8;
const PANELS: usize = 8;

/// Multiplies every row by the packed matrix, into the targets.
///
/// # Panics
///
/// When lengths differ, or runs have no multiple of [`Factor::TOGETHER`] numbers.
#[expect(unsafe_code, reason = "the inner loops read and write through pointers")]
pub(in crate::ops) fn product<N: Factor>(
    kernels: &Kernels,
    left: &impl Sources<N>,
    right: &Packed<N>,
    result: &impl Targets<N>,
) {
    let (taps, depth, rows) = (left.taps(), left.depth(), left.rows());
    assert_eq!(taps * depth, right.lines, "the inner lengths of a product differ");
    assert_eq!((rows, right.columns), (result.rows(), result.columns()), "the result differs");
    let width = kernels.width;
    let panels = right.columns.div_ceil(width);
    assert!(depth.is_multiple_of(N::TOGETHER), "a run of {depth} numbers cannot be multiplied");
    let together = if N::TOGETHER == 1 {
        let most = (PANEL / (depth * width).max(1)).clamp(1, taps.max(1));
        taps.div_ceil(taps.div_ceil(most).max(1)).max(1)
    } else {
        // what is rounded cannot be added to
        taps
    };
    let block = kernels.most_rows() * TILES;
    let groups = panels.div_ceil(PANELS);
    (0..rows.div_ceil(block) * groups).into_par_iter().for_each(|task| {
        let first = task / groups * block;
        let range = first..(first + block).min(rows);
        let count = range.len();
        let mut sources = vec![std::ptr::null(); taps * count];
        left.locate(range.clone(), 0..taps, &mut sources);
        let mut targets = vec![std::ptr::null_mut(); count];
        result.locate(range, &mut targets);
        let group = task % groups * PANELS;
        for tap in (0..taps).step_by(together.max(1)) {
            let piece = Piece {
                taps: together.min(taps - tap),
                depth,
                sources: &sources[tap * count..],
                targets: &targets,
                line: tap * depth,
                panels: group..(group + PANELS).min(panels),
                accumulate: tap > 0,
                last: tap + together >= taps,
            };
            // SAFETY: sources and targets are good by their traits' promise for `depth` and
            // `columns` numbers, which are those of `right`.
            unsafe { piece.multiply(kernels, right) }
        }
    });
}

/// Multiplies rows by some lines of a packed matrix: `[count][depth]` into `[count][columns]`.
#[expect(unsafe_code, reason = "the inner loops read and write through pointers")]
pub(in crate::ops) fn product_of_lines(
    kernels: &Kernels,
    left: &[f32],
    depth: usize,
    right: &Packed<f32>,
    line: usize,
    result: &mut [f32],
) {
    assert!(line + depth <= right.lines, "lines up to {} of {}", line + depth, right.lines);
    assert_eq!(left.len() / depth, result.len() / right.columns, "as many rows on both sides");
    let sources: Vec<_> = left.chunks_exact(depth).map(<[f32]>::as_ptr).collect();
    let targets: Vec<_> = result.chunks_exact_mut(right.columns).map(<[f32]>::as_mut_ptr).collect();
    let panels = 0..right.columns.div_ceil(kernels.width);
    let (sources, targets) = (&sources[..], &targets[..]);
    let (accumulate, last) = (false, true);
    let piece = Piece { taps: 1, depth, sources, targets, line, panels, accumulate, last };
    // SAFETY: sources and targets are whole rows of slices, as many of each.
    unsafe { piece.multiply(kernels, right) }
}

/// A few rows by a few panels.
struct Piece<'a, N> {
    taps: usize,
    depth: usize,
    /// `[taps][rows]`, of which there are as many as targets.
    sources: &'a [*const N],
    targets: &'a [*mut N],
    /// The first line of the packed matrix.
    line: usize,
    panels: Range<usize>,
    /// Whether to add to what the targets hold.
    accumulate: bool,
    /// Whether nothing more is added.
    last: bool,
}

impl<N: Factor> Piece<'_, N> {
    /// # Safety
    ///
    /// Every source must be good for reading `depth` numbers, and every target for writing the
    /// columns of the packed matrix.
    #[expect(unsafe_code, reason = "the inner loops read and write through pointers")]
    unsafe fn multiply(&self, kernels: &Kernels, right: &Packed<N>) {
        let (width, count) = (kernels.width, self.targets.len());
        for panel in self.panels.clone() {
            let lines = &right.numbers[(panel * right.lines + self.line) * width..]
                [..self.taps * self.depth * width];
            for tile in tiles(count, kernels.most_rows()) {
                let column = panel * width;
                let description = ProductTile {
                    taps: self.taps,
                    depth: self.depth / N::TOGETHER,
                    sources: self.sources[tile.start..].as_ptr(),
                    pitch: count,
                    panel: lines.as_ptr(),
                    targets: self.targets[tile.start..].as_ptr(),
                    column,
                    columns: width.min(right.columns - column),
                    start: match &right.bias {
                        Some(bias) if !self.accumulate => bias[column..][..width].as_ptr(),
                        _ => std::ptr::null(),
                    },
                    accumulate: self.accumulate,
                    limits: right.limits.filter(|_| self.last),
                };
                // SAFETY: `Kernels` exist only for instructions that are there; the panel holds
                // all lines of its taps; sources and targets by this function's contract.
                unsafe { N::loops(kernels).product[tile.len() - 1](&description) }
            }
        }
    }
}

/// Cuts rows into as few tiles as possible, of nearly one size.
pub(in crate::ops) fn tiles(rows: usize, most: usize) -> impl Iterator<Item = Range<usize>> {
    let count = rows.div_ceil(most);
    (0..count).map(move |tile| rows * tile / count..rows * (tile + 1) / count)
}
