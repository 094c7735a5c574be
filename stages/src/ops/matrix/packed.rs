//! The right side of a product, laid out as the inner loop reads it.

use rayon::prelude::*;

use super::factor::Factor;
use super::kernels::Kernels;
use crate::ops::floats::Block;

/// A matrix of `lines` by `columns`, in panels of a few columns: `[panel][line][width]`, the last
/// panel filled up with zeros. Of numbers that are multiplied in pairs, two lines lie in each other.
pub(in crate::ops) struct Packed<N: Factor> {
    pub(super) lines: usize,
    pub(super) columns: usize,
    pub(super) numbers: Block<N>,
    /// What each column starts from, filled up with zeros as the panels are.
    pub(super) bias: Option<Vec<f32>>,
    /// The lowest and the highest that a result may be.
    pub(super) limits: Option<[f32; 2]>,
}

impl<N: Factor> Packed<N> {
    /// Lays out a matrix panel by panel: `fill` is given the panel's first column, how many
    /// columns it has, and the `[lines][width]` numbers to write, of which the others stay 0.
    pub(in crate::ops) fn new(
        kernels: &Kernels,
        lines: usize,
        columns: usize,
        fill: impl Fn(usize, usize, &mut [f32]) + Sync,
    ) -> Self {
        let width = kernels.width;
        assert!(lines.is_multiple_of(N::TOGETHER), "{lines} lines cannot be multiplied");
        let mut numbers = Block::stale(lines * columns.div_ceil(width) * width);
        let fill = |panel: usize, floats: &mut [f32]| {
            let first = panel * width;
            let count = width.min(columns - first);
            if count < width {
                floats.fill(0.0);
            }
            fill(first, count, floats);
        };
        numbers.par_chunks_mut(lines * width).enumerate().for_each(|(panel, numbers)| {
            N::laid(numbers, width, |floats| fill(panel, floats));
        });
        Self { lines, columns, numbers, bias: None, limits: None }
    }

    /// Adds a bias to every row of the result, and then holds its numbers within limits.
    pub(in crate::ops) fn finished(
        self,
        kernels: &Kernels,
        bias: Option<&[f32]>,
        limits: Option<[f32; 2]>,
    ) -> Self {
        let bias = bias.map(|bias| {
            assert_eq!(bias.len(), self.columns, "a bias for each column");
            let mut padded = bias.to_vec();
            padded.resize(self.columns.next_multiple_of(kernels.width), 0.0);
            padded
        });
        Self { bias, limits, ..self }
    }

    /// Lays out the transpose of a row-major matrix of `columns` rows.
    pub(in crate::ops) fn transposed(kernels: &Kernels, rows: &[f32], columns: usize) -> Self {
        let lines = rows.len() / columns.max(1);
        let width = kernels.width;
        Self::new(kernels, lines, columns, |first, count, panel| {
            for block in (0..lines).step_by(64) {
                let end = (block + 64).min(lines);
                for lane in 0..count {
                    let row = &rows[(first + lane) * lines..][block..end];
                    for (value, line) in row.iter().zip(block..end) {
                        panel[line * width + lane] = *value;
                    }
                }
            }
        })
    }

    /// Lays out a row-major matrix.
    pub(in crate::ops) fn plain(kernels: &Kernels, rows: &[f32], columns: usize) -> Self {
        let lines = rows.len() / columns.max(1);
        let width = kernels.width;
        Self::new(kernels, lines, columns, |first, count, panel| {
            for (line, row) in panel.chunks_exact_mut(width).zip(rows.chunks_exact(columns)) {
                line[..count].copy_from_slice(&row[first..first + count]);
            }
        })
    }
}
