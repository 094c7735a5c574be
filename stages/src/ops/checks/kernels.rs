//! Every set of instructions against plain loops in f64.

use super::{draw, numbers};
use crate::ops::floats::Floats;
use crate::ops::instructions::Instructions;
use crate::ops::matrix::{Kernels, Lines, LinesMut, Packed, outer, product};

#[test]
fn products_agree_on_every_set_of_instructions() {
    for (rows, lines, columns) in
        [(1, 1, 1), (3, 5, 7), (15, 33, 16), (29, 64, 31), (130, 70, 33), (57, 2100, 70)]
    {
        let left = numbers(&draw("left", &[rows, lines]));
        let right = numbers(&draw("right", &[lines, columns]));
        let mut expected = vec![0_f64; rows * columns];
        for row in 0..rows {
            for line in 0..lines {
                for column in 0..columns {
                    expected[row * columns + column] += f64::from(left[row * lines + line])
                        * f64::from(right[line * columns + column]);
                }
            }
        }
        let near = |actual: &[f32], what: &str| {
            for (a, e) in actual.iter().zip(&expected) {
                let tolerance = 1e-5 * (lines as f64).sqrt();
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
                let mut y = Floats::stale(rows * columns);
                y.fill(f32::NAN);
                let target = LinesMut::new(&mut y, columns);
                product(kernels, &Lines::new(&left, lines), &packed, &target);
                near(&y, &what);
            }
            let (left, right) = (Lines::new(&left_turned, rows), Lines::new(&right, columns));
            near(&outer(kernels, &left, &right), &what);
        }
    }
}
