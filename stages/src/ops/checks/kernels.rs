//! Every set of instructions against plain loops in f64.

use super::{draw, numbers};
use half::bf16;

use crate::ops::floats::Block;
use crate::ops::instructions::Instructions;
use crate::ops::matrix::{Factor, GatherTile, Kernels, Lines, LinesMut, Packed, outer, product};
use crate::ops::number::{Number as _, converted};

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

/// Sums that no product has rounded, stored as bf16 at every width, and read again.
#[test]
#[expect(unsafe_code, reason = "an inner loop reads and writes through pointers")]
fn bf16_is_stored_and_read_alike_on_every_set_of_instructions() {
    let mut sums = vec![0.0, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, f32::NAN];
    sums.push(f32::from_bits(u32::MAX));
    for high in [0x3f80, 0x3f81, 0xbf80, 0x7f7f, 0x0080, 0xff7f] {
        sums.extend(
            [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff].map(|low| f32::from_bits((high << 16) | low)),
        );
    }
    let expected: Vec<bf16> = sums.iter().map(|sum| bf16::narrow(*sum)).collect();
    let same = |one: bf16, other: bf16| {
        one.to_bits() == other.to_bits() || (one.is_nan() && other.is_nan())
    };
    for &instructions in Instructions::available() {
        let kernels = Kernels::of(instructions);
        for columns in 1..=sums.len() {
            let nothing = Packed::new(kernels, 2, columns, |_, _, panel| panel.fill(0.0));
            let packed = nothing.finished(kernels, Some(&sums[..columns]), None);
            let mut stored = vec![bf16::ONE; 3 * columns];
            product(
                kernels,
                &Lines::new(&[bf16::ZERO; 6], 2),
                &packed,
                &LinesMut::new(&mut stored, columns),
            );
            for (place, stored) in stored.iter().enumerate() {
                let expected = expected[place % columns];
                assert!(same(*stored, expected), "{instructions:?}: {stored}, not {expected}");
            }
        }
        let width = kernels.width();
        for columns in 1..=width {
            let mut read = vec![1.0; width];
            let tile = GatherTile {
                count: 1,
                source: expected.as_ptr(),
                pitch: 0,
                columns,
                target: read.as_mut_ptr(),
            };
            // SAFETY: there are more numbers than a panel is wide, which the target is.
            unsafe { kernels.gather(&tile) }
            for (read, stored) in read.iter().zip(&expected[..columns]) {
                assert!(same(bf16::narrow(*read), *stored), "{instructions:?}: {read}, {stored}");
                assert!(read.is_nan() || read.to_bits() == stored.wide().to_bits());
            }
        }
    }
}
