//! Sums of outer products: the gradient of a matrix by which rows were multiplied.

use rayon::prelude::*;

use super::kernels::{Kernels, OuterTile};
use super::product::{Sources, tiles};
use crate::ops::add::accumulate;
use crate::ops::floats::Floats;

/// How a sum over many rows is cut, from lengths alone: partial sums are added in this order
/// whatever the number of threads.
struct Cut {
    /// Rows that one partial sum takes.
    chunk: usize,
    /// How many partial sums there are.
    chunks: usize,
}

/// Rows at a time: their right side stays in the cache while all of the left passes by.
const BLOCK: usize = 512;
/// Panels of columns in one task.
const PANELS: usize = 8;

impl Cut {
    /// Cuts a sum over `rows` into a matrix of `size` numbers.
    fn new(rows: usize, size: usize) -> Self {
        // enough tasks for a large machine, no more memory than 16 MiB, no partial sum so short
        // that adding it up costs more than a few percent
        let chunks = ((4 << 20) / size.max(1)).min(rows / 1024).clamp(1, 16);
        let chunk = rows.div_ceil(chunks).next_multiple_of(BLOCK);
        Self { chunk, chunks: rows.div_ceil(chunk).max(1) }
    }
}

/// Pointers to disjoint parts of one matrix, which tasks write.
#[derive(Clone, Copy)]
struct Target(*mut f32);

#[expect(unsafe_code, reason = "tasks write disjoint parts")]
// SAFETY: every task writes lines and columns of its own, see `outer`.
unsafe impl Sync for Target {}

impl Target {
    fn at(&self, offset: usize) -> *mut f32 {
        self.0.wrapping_add(offset)
    }
}

/// Returns the matrix `[taps * depth][columns]` of Σ over rows of left number × right number,
/// where `right` is `[rows][columns]`.
#[expect(unsafe_code, reason = "the inner loops read and write through pointers")]
pub(in crate::ops) fn outer(
    kernels: &Kernels,
    left: &impl Sources,
    right: &[f32],
    columns: usize,
) -> Floats {
    let (taps, depth, rows) = (left.taps(), left.depth(), left.rows());
    assert_eq!(right.len(), rows * columns, "both sides of a sum need as many rows");
    let size = taps * depth * columns;
    let cut = Cut::new(rows, size);
    let mut sums = Floats::zeros(size * cut.chunks);
    let target = Target(sums.as_mut_ptr());
    let width = kernels.width;
    let panels = columns.div_ceil(width);
    let groups = panels.div_ceil(PANELS);
    (0..cut.chunks * taps * groups).into_par_iter().for_each(|task| {
        let (chunk, tap, group) = (task / groups / taps, task / groups % taps, task % groups);
        let end = ((chunk + 1) * cut.chunk).min(rows);
        let mut table = vec![std::ptr::null(); BLOCK];
        for first in (chunk * cut.chunk..end).step_by(BLOCK) {
            let count = BLOCK.min(end - first);
            left.locate(first..first + count, tap..tap + 1, &mut table[..count]);
            for panel in group * PANELS..((group + 1) * PANELS).min(panels) {
                let column = panel * width;
                for tile in tiles(depth, kernels.outer.len()) {
                    let line = chunk * taps * depth + tap * depth + tile.start;
                    let description = OuterTile {
                        count,
                        left: table.as_ptr(),
                        offset: tile.start,
                        right: right[first * columns + column..].as_ptr(),
                        right_pitch: columns,
                        target: target.at(line * columns + column),
                        target_pitch: columns,
                        columns: width.min(columns - column),
                    };
                    // SAFETY: `Kernels` exist only for instructions that are there; the left is
                    // good by its trait's promise, the right has its length checked above, and
                    // the lines and columns of the target belong to this task alone.
                    unsafe { kernels.outer[tile.len() - 1](&description) }
                }
            }
        }
    });
    let (sum, others) = sums.split_at_mut(size);
    for other in others.chunks_exact(size.max(1)) {
        accumulate(sum, other);
    }
    sums.truncate(size);
    sums
}
