//! Sums of outer products: the gradient of a matrix by which rows were multiplied.

use rayon::prelude::*;

use super::factor::Factor;
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

/// Rows at a time: a panel of their right side stays in the cache while the left passes by.
const BLOCK: usize = 256;
/// Panels of columns in one task.
const PANELS: usize = 8;
/// Tasks of a sum, at least, where its taps allow it: those of one task share what lies on the left.
const TASKS: usize = 64;

impl Cut {
    /// Cuts a sum over `rows` into a matrix of `size` numbers.
    fn new(rows: usize, size: usize) -> Self {
        // enough tasks for a large machine, no more memory than 16 MiB, no partial sum so short
        // that adding it up costs more than a few percent
        let chunks = ((4 << 20) / size.max(1)).min(rows / 1024).clamp(1, 16);
        let chunk = rows.div_ceil(chunks).next_multiple_of(BLOCK).max(BLOCK);
        Self { chunk, chunks: rows.div_ceil(chunk).max(1) }
    }
}

/// Pointers to disjoint parts of one matrix, which tasks write.
#[derive(Clone, Copy)]
pub(in crate::ops) struct Target<N>(pub(in crate::ops) *mut N);

#[expect(unsafe_code, reason = "tasks write disjoint parts")]
// SAFETY: the pointer is only handed out; who writes through it sees to it that no two tasks write
// the same numbers.
unsafe impl<N: Send> Sync for Target<N> {}

impl<N> Target<N> {
    /// Returns where a number lies.
    pub(in crate::ops) fn at(&self, offset: usize) -> *mut N {
        self.0.wrapping_add(offset)
    }
}

/// Returns the matrix of Σ over rows of left number × right number: a line for each number of a
/// left row, a column for each of a right row.
#[expect(unsafe_code, reason = "the inner loops read and write through pointers")]
pub(in crate::ops) fn outer<N: Factor>(
    kernels: &Kernels,
    left: &impl Sources<N>,
    right: &impl Sources<N>,
) -> Floats {
    let (depth, length, rows) = (left.depth(), right.depth(), left.rows());
    assert_eq!(right.rows(), rows, "both sides of a sum need as many rows");
    let (lines, columns) = (left.taps() * depth, right.taps() * length);
    let size = lines * columns;
    let cut = Cut::new(rows, size);
    let mut sums = Floats::stale(size * cut.chunks);
    if rows == 0 {
        sums.fill(0.0);
    }
    let target = Target(sums.as_mut_ptr());
    let width = kernels.width;
    let panels = length.div_ceil(width);
    let groups = panels.div_ceil(PANELS);
    let parts = TASKS.div_ceil((cut.chunks * left.taps() * groups).max(1)).min(right.taps());
    let tasks = [cut.chunks, left.taps(), parts, groups];
    (0..tasks.iter().product()).into_par_iter().for_each(|task: usize| {
        let (group, task) = (task % groups, task / groups);
        let (part, task) = (task % parts, task / parts);
        let (left_tap, chunk) = (task % left.taps(), task / left.taps());
        let right_taps = right.taps() * part / parts..right.taps() * (part + 1) / parts;
        let end = ((chunk + 1) * cut.chunk).min(rows);
        let mut left_rows = vec![std::ptr::null(); BLOCK];
        let mut right_rows = left_rows.clone();
        let start = group * PANELS * width;
        let range = start..(start + PANELS * width).min(length);
        let mut rooms = [N::room(BLOCK * depth), N::room(BLOCK * range.len())];
        for first in (chunk * cut.chunk..end).step_by(BLOCK) {
            let rows = first..end.min(first + BLOCK);
            left.locate(rows.clone(), left_tap..left_tap + 1, &mut left_rows[..rows.len()]);
            // SAFETY: the left side is good by its trait's promise for `depth` numbers.
            let count = unsafe { N::pair(&mut left_rows[..rows.len()], 0..depth, &mut rooms[0]) };
            for tap in right_taps.clone() {
                right.locate(rows.clone(), tap..tap + 1, &mut right_rows[..rows.len()]);
                // SAFETY: the right side is good for `length` numbers.
                unsafe { N::pair(&mut right_rows[..rows.len()], range.clone(), &mut rooms[1]) };
                for offset in range.clone().step_by(width) {
                    for tile in tiles(depth, kernels.most_rows()) {
                        let line = chunk * lines + left_tap * depth + tile.start;
                        let description = OuterTile {
                            count,
                            left: left_rows.as_ptr(),
                            left_offset: tile.start * N::TOGETHER,
                            right: right_rows.as_ptr(),
                            right_offset: (offset - start) * N::TOGETHER,
                            target: target.at(line * columns + tap * length + offset),
                            pitch: columns,
                            columns: width.min(length - offset),
                            accumulate: first > chunk * cut.chunk,
                        };
                        // SAFETY: `Kernels` exist only for instructions that are there; both sides
                        // are good for what tile and panel stay within; the lines and columns of the
                        // target belong to this task alone.
                        unsafe { N::loops(kernels).outer[tile.len() - 1](&description) }
                    }
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
