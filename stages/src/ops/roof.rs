//! What the loops here are measured by: the registers' own speed, and a plain product of two matrices.

use std::hint::black_box;

use half::bf16;

use super::floats::Floats;
use super::matrix::{Kernels, Lines, LinesMut, Packed, product};

/// Multiplies and adds f32s, or bf16s into f32s, in registers alone, on every thread; returns how many
/// floating-point operations that was.
pub(crate) fn multiply_adds(rounds: usize, halves: bool) -> u64 {
    let kernels = Kernels::best();
    let run = if halves { Kernels::multiply_add::<bf16> } else { Kernels::multiply_add::<f32> };
    let all = rayon::broadcast(|_| run(kernels, black_box(rounds)));
    all.into_iter().map(|(sum, operations)| (black_box(sum), operations).1).sum()
}

/// Two square matrices to multiply.
pub(crate) struct SquareProduct {
    side: usize,
    left: Vec<f32>,
    right: Vec<f32>,
}

impl SquareProduct {
    /// Takes two matrices of `side` rows and columns.
    ///
    /// # Panics
    ///
    /// When they have another size.
    pub(crate) fn new(side: usize, left: Vec<f32>, right: Vec<f32>) -> Self {
        assert_eq!([left.len(), right.len()], [side * side; 2], "two squares of {side}");
        Self { side, left, right }
    }

    /// Lays out the right one, multiplies, and returns a number of the result.
    pub(crate) fn run(&self) -> f32 {
        let kernels = Kernels::best();
        let packed = Packed::plain(kernels, &self.right, self.side);
        let mut result = Floats::stale(self.side * self.side);
        let left = Lines::new(&self.left, self.side);
        product(kernels, &left, &packed, &LinesMut::new(&mut result, self.side));
        result[self.side + 1]
    }
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::{SquareProduct, multiply_adds};
    use crate::ops::instructions::Instructions;
    use crate::ops::matrix::Kernels;

    #[test]
    fn operations_are_counted_and_done() {
        let [once, twice] = [1000, 2000].map(|rounds| multiply_adds(rounds, false));
        assert!(once > 0 && twice == 2 * once, "{once} {twice}");
        assert_eq!(multiply_adds(1000, true), 2 * once);
        for &instructions in Instructions::available() {
            let kernels = Kernels::of(instructions);
            let (sum, operations) = kernels.multiply_add::<f32>(3);
            let sums = if kernels.width() == 32 { 24.0 } else { 12.0 };
            // 0, 1, 2 and so on, each with three products more
            let numbers = sums * (sums - 1.0) / 2.0;
            assert_eq!(sum, numbers + sums * 3.0);
            assert_eq!(operations, 3 * sums as u64 * kernels.width() as u64);
            let (sum, pairs) = kernels.multiply_add::<bf16>(3);
            assert_eq!((sum, pairs), (numbers + sums * 6.0, 2 * operations));
        }
    }

    #[test]
    fn squares_are_multiplied() {
        let product = SquareProduct::new(2, vec![1.0, 2.0, 3.0, 4.0], vec![5.0, 6.0, 7.0, 8.0]);
        assert_eq!(product.run(), 3.0 * 6.0 + 4.0 * 8.0);
    }
}
