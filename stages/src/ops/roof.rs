//! What the loops here are measured by: the registers' own speed, and a plain product of two matrices.

use std::hint::black_box;

use super::floats::Floats;
use super::matrix::{Kernels, Lines, LinesMut, Packed, product};

/// Multiplies and adds in registers alone, on every thread; returns how many floating-point operations that
/// was.
pub(crate) fn multiply_adds(rounds: usize) -> u64 {
    let kernels = Kernels::best();
    let all = rayon::broadcast(|_| kernels.multiply_add(black_box(rounds)));
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
    use super::{SquareProduct, multiply_adds};
    use crate::ops::instructions::Instructions;
    use crate::ops::matrix::Kernels;

    #[test]
    fn operations_are_counted_and_done() {
        let [once, twice] = [1000, 2000].map(multiply_adds);
        assert!(once > 0 && twice == 2 * once, "{once} {twice}");
        for &instructions in Instructions::available() {
            let (sum, operations) = Kernels::of(instructions).multiply_add(3);
            // x → 0.999 x + 0.001 three times, of 0 to 11
            let expected: f32 = (0..12).map(|x| 0.999_f32.powi(3) * (x as f32 - 1.0) + 1.0).sum();
            assert!((sum - expected).abs() < 1e-3, "{sum} {expected}");
            assert!(operations.is_multiple_of(2 * 12 * 3) && operations >= 288, "{operations}");
        }
    }

    #[test]
    fn squares_are_multiplied() {
        let product = SquareProduct::new(2, vec![1.0, 2.0, 3.0, 4.0], vec![5.0, 6.0, 7.0, 8.0]);
        assert_eq!(product.run(), 3.0 * 6.0 + 4.0 * 8.0);
    }
}
