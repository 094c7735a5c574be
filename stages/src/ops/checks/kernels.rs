//! Every set of instructions against plain loops in f64.

use super::{draw, numbers};
use half::bf16;

use crate::ops::floats::Block;
use crate::ops::instructions::Instructions;
use crate::ops::matrix::{Factor, Kernels, Lines, LinesMut, Packed, outer, product};
use crate::ops::number::converted;

#[test]
fn products_agree_on_every_set_of_instructions() {
    check::<f32>(0.0);
    check::<bf16>(1.01 / 256.0);
}

/// Compares products whose results are stored with this rounding.
fn check<N: Factor>(stored: f64) {
    for (rows, lines, columns) in
        [(1, 1_usize, 1), (3, 5, 7), (15, 33, 16), (29, 64, 31), (130, 70, 33), (57, 2100, 70)]
    {
        let lines = lines.next_multiple_of(N::TOGETHER);
        let rounded = |numbers: Vec<f32>| converted::<f32, N>(&converted::<N, f32>(&numbers));
        let left = rounded(numbers(&draw("left", &[rows, lines])));
        let right = rounded(numbers(&draw("right", &[lines, columns])));
        let mut expected = vec![0_f64; rows * columns];
        for row in 0..rows {
            for line in 0..lines {
                for column in 0..columns {
                    expected[row * columns + column] += f64::from(left[row * lines + line])
                        * f64::from(right[line * columns + column]);
                }
            }
        }
        let near = |actual: &[f32], what: &str, stored: f64| {
            for (a, e) in actual.iter().zip(&expected) {
                let tolerance = 1e-5 * (lines as f64).sqrt() + stored * e.abs();
                assert!((f64::from(*a) - e).abs() < tolerance, "{what}: {a}, not {e}");
            }
        };
        let mut turned = vec![0.0; right.len()];
        let mut left_turned = vec![0.0; left.len()];
        for line in 0..lines {
            for column in 0..columns {
                turned[column * lines + line] = right[line * columns + column];
            }
            for row in 0..rows {
                left_turned[line * rows + row] = left[row * lines + line];
            }
        }
        for &instructions in Instructions::available() {
            let what = format!("{instructions:?} {rows} {lines} {columns}");
            let kernels = Kernels::of(instructions);
            for packed in [
                Packed::plain(kernels, &right, columns),
                Packed::transposed(kernels, &turned, columns),
            ] {
                let mut y = Block::stale(rows * columns);
                y.fill(N::narrow(f32::NAN));
                let (left, target) = (converted::<N, f32>(&left), LinesMut::new(&mut y, columns));
                product(kernels, &Lines::new(&left, lines), &packed, &target);
                near(&converted::<f32, N>(&y), &what, stored);
            }
            let [left, right] = [&left_turned[..], &right].map(converted::<N, f32>);
            let (left, right) = (Lines::new(&left, rows), Lines::new(&right, columns));
            near(&outer(kernels, &left, &right), &what, 0.0);
        }
    }
}
