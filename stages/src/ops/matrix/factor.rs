//! What products of matrices multiply: f32, or bf16, whose products are added up in f32.

use std::ops::Range;

use half::bf16;

use super::kernels::{Kernels, Loops};
use crate::ops::floats::{Block, Floats};
use crate::ops::instructions::vectorized;
use crate::ops::number::Number;

/// A number of which there are products.
pub(in crate::ops) trait Factor: Number {
    /// How many are multiplied at once: a run of numbers has a multiple of so many.
    const TOGETHER: usize;
    /// Returns the loops for such numbers.
    fn loops(kernels: &Kernels) -> &Loops<Self>;
    /// Writes lines of this width as products read them; `fill` is given f32s to write, in their order.
    fn laid(lines: &mut [Self], width: usize, fill: impl FnOnce(&mut [f32]));
    /// Returns room for [`Self::pair`] to lay out so many numbers.
    fn room(numbers: usize) -> Block<Self>;
    /// Turns a range of rows into rows of lanes: where they start is written over where rows started.
    /// Returns how many there are.
    ///
    /// # Safety
    ///
    /// Each row must be good for reading the range.
    #[expect(unsafe_code, reason = "rows are found through pointers")]
    unsafe fn pair(rows: &mut [*const Self], range: Range<usize>, room: &mut [Self]) -> usize;
}

impl Factor for f32 {
    const TOGETHER: usize = 1;
    fn loops(kernels: &Kernels) -> &Loops<Self> {
        &kernels.singles
    }
    fn laid(lines: &mut [Self], _: usize, fill: impl FnOnce(&mut [f32])) {
        fill(lines);
    }
    fn room(_: usize) -> Block<Self> {
        Block::stale(0)
    }
    #[expect(unsafe_code, reason = "rows are found through pointers")]
    unsafe fn pair(rows: &mut [*const Self], range: Range<usize>, _: &mut [Self]) -> usize {
        for row in &mut *rows {
            // SAFETY: within the row, by the contract.
            *row = unsafe { row.add(range.start) };
        }
        rows.len()
    }
}

impl Factor for bf16 {
    const TOGETHER: usize = 2;
    fn loops(kernels: &Kernels) -> &Loops<Self> {
        &kernels.pairs
    }
    fn laid(lines: &mut [Self], width: usize, fill: impl FnOnce(&mut [f32])) {
        let mut floats = Floats::stale(lines.len());
        fill(&mut floats);
        for (pair, floats) in lines.chunks_exact_mut(2 * width).zip(floats.chunks_exact(2 * width))
        {
            let (first, second) = floats.split_at(width);
            round_pairs(pair, first, second);
        }
    }
    fn room(numbers: usize) -> Block<Self> {
        Block::stale(numbers)
    }
    #[expect(unsafe_code, reason = "rows are found through pointers")]
    unsafe fn pair(rows: &mut [*const Self], range: Range<usize>, room: &mut [Self]) -> usize {
        let (count, length) = (rows.len(), range.len());
        assert!(room.len() >= count.next_multiple_of(2) * length, "no room for {count} rows");
        // SAFETY: within a row, by the contract.
        let row =
            |row: *const Self| unsafe { std::slice::from_raw_parts(row.add(range.start), length) };
        let last = vec![Self::ZERO; if count.is_multiple_of(2) { 0 } else { length }];
        for (place, lanes) in room.chunks_exact_mut(2 * length).take(count.div_ceil(2)).enumerate()
        {
            let (first, second) = (2 * place, 2 * place + 1);
            let second = if second < count { row(rows[second]) } else { &last };
            pair_up(lanes, row(rows[first]), second);
            // both rows have been read
            rows[place] = lanes.as_ptr();
        }
        count.div_ceil(2)
    }
}

vectorized! {
    /// Writes the numbers of two lines in turn.
    fn pair_up(pairs: &mut [bf16], first: &[bf16], second: &[bf16]) {
        for ((pair, first), second) in pairs.as_chunks_mut().0.iter_mut().zip(first).zip(second) {
            *pair = [*first, *second];
        }
    }
}

vectorized! {
    /// Writes the nearest of two lines in turn.
    fn round_pairs(pairs: &mut [bf16], first: &[f32], second: &[f32]) {
        for ((pair, first), second) in pairs.as_chunks_mut().0.iter_mut().zip(first).zip(second) {
            *pair = [bf16::narrow(*first), bf16::narrow(*second)];
        }
    }
}
