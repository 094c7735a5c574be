//! Row-major matrices as sources and targets of products.

use std::marker::PhantomData;
use std::ops::Range;

use super::product::{Sources, Targets};

/// The rows of a row-major matrix.
pub(in crate::ops) struct Lines<'a, N> {
    numbers: &'a [N],
    /// Numbers of a whole row.
    pitch: usize,
    /// Those of each row that are read.
    range: Range<usize>,
}

/// The rows of a row-major matrix to write.
pub(in crate::ops) struct LinesMut<'a, N> {
    start: *mut N,
    length: usize,
    rows: usize,
    numbers: PhantomData<&'a mut [N]>,
}

impl<'a, N> Lines<'a, N> {
    /// Views numbers as rows of this length.
    pub(in crate::ops) fn new(numbers: &'a [N], length: usize) -> Self {
        Self::part(numbers, length, 0..length)
    }

    /// Views numbers as rows of this pitch, of which a range is read.
    pub(in crate::ops) fn part(numbers: &'a [N], pitch: usize, range: Range<usize>) -> Self {
        assert!(pitch > 0 && numbers.len().is_multiple_of(pitch), "rows of {pitch} do not fit");
        assert!(range.end <= pitch, "number {} of rows of {pitch}", range.end);
        Self { numbers, pitch, range }
    }
}

impl<'a, N> LinesMut<'a, N> {
    /// Views numbers as rows of this length.
    pub(in crate::ops) fn new(numbers: &'a mut [N], length: usize) -> Self {
        assert!(length > 0 && numbers.len().is_multiple_of(length), "rows of {length} do not fit");
        let rows = numbers.len() / length;
        Self { start: numbers.as_mut_ptr(), length, rows, numbers: PhantomData }
    }
}

#[expect(unsafe_code, reason = "hands out pointers to whole rows of a borrowed slice")]
// SAFETY: each pointer starts the range of a row of the slice, borrowed as long as this lives.
unsafe impl<N: Sync> Sources<N> for Lines<'_, N> {
    fn taps(&self) -> usize {
        1
    }
    fn depth(&self) -> usize {
        self.range.len()
    }
    fn rows(&self) -> usize {
        self.numbers.len() / self.pitch
    }
    fn locate(&self, rows: Range<usize>, _taps: Range<usize>, table: &mut [*const N]) {
        for (place, row) in table.iter_mut().zip(rows) {
            *place = self.numbers[row * self.pitch..][self.range.clone()].as_ptr();
        }
    }
}

#[expect(unsafe_code, reason = "rows of a borrowed slice are written by different threads")]
// SAFETY: the pointer is only handed out, row by row.
unsafe impl<N: Send> Sync for LinesMut<'_, N> {}

#[expect(unsafe_code, reason = "hands out pointers to whole rows of a borrowed slice")]
// SAFETY: each pointer starts a row of its own of the slice, mutably borrowed as long as this lives.
unsafe impl<N: Send> Targets<N> for LinesMut<'_, N> {
    fn columns(&self) -> usize {
        self.length
    }
    fn rows(&self) -> usize {
        self.rows
    }
    fn locate(&self, rows: Range<usize>, table: &mut [*mut N]) {
        assert!(rows.end <= self.rows, "row {} of {}", rows.end, self.rows);
        for (place, row) in table.iter_mut().zip(rows) {
            *place = self.start.wrapping_add(row * self.length);
        }
    }
}
