//! Every kind of convolution on every set of instructions against plain loops in f64.

use half::bf16;
use proptest::prelude::*;

use super::geometry::{Geometry, Moves};
use super::host::{Finish, forward, input_gradient, weight_gradient};
use crate::ops::instructions::Instructions;
use crate::ops::matrix::{Factor, Kernels};
use crate::ops::number::converted;
use crate::rng::Random;

/// Walks over every product of a convolution: places in images, weight and result.
fn products(geometry: &Geometry, mut visit: impl FnMut(usize, usize, usize)) {
    let Geometry { images, height, width, stride, padding, rows, columns, .. } = *geometry;
    let [inputs, outputs] = [geometry.inputs, geometry.outputs].map(|n| n / geometry.groups);
    for place in 0..images * rows * columns * geometry.taps() {
        let (pixel, tap) = (place / geometry.taps(), place % geometry.taps());
        let (row, column) = (pixel / columns % rows, pixel % columns);
        let image = pixel / columns / rows;
        let [down, right] = geometry.tap(tap);
        let y = (row * stride[0] + down).wrapping_sub(padding[0]);
        let x = (column * stride[1] + right).wrapping_sub(padding[1]);
        if y >= height || x >= width {
            continue;
        }
        for output in 0..geometry.outputs {
            for input in 0..inputs {
                let channel = output / outputs * inputs + input;
                let from = ((image * height + y) * width + x) * geometry.inputs + channel;
                let weight = (output * inputs + input) * geometry.taps() + tap;
                visit(from, weight, pixel * geometry.outputs + output);
            }
        }
    }
}

fn draw(purpose: &str, count: usize) -> Vec<f32> {
    let mut random = Random::new(3, purpose, &[]);
    (0..count).map(|_| random.normal() as f32).collect()
}

/// Returns the largest of some numbers, without their signs.
fn largest(numbers: &[f64]) -> f64 {
    numbers.iter().fold(1e-3, |most: f64, number| most.max(number.abs()))
}

/// Returns the first number that differs by more than the rounding of sums of this size, and then of what
/// is stored, explains.
fn wrong<N: Factor>(actual: &[N], expected: &[f64], largest: f64) -> Option<String> {
    let stored = if N::TOGETHER == 1 { 0.0 } else { 1.0 / 256.0 };
    let off = |a: f32, e: f64| (f64::from(a) - e).abs() >= 3e-6 * largest + 1.01 * stored * e.abs();
    let bad = |(a, e): (&N, &f64)| off(a.wide(), *e) || !a.wide().is_finite();
    let place = actual.iter().zip(expected).position(bad)?;
    Some(format!("number {place} is {:?}, not {}", actual[place], expected[place]))
}

/// Compares result and gradients on every set of instructions with the plain sums.
fn check<N: Factor>(geometry: &Geometry) -> Result<(), String> {
    let rounded = |purpose: &str, count: usize| converted::<N, f32>(&draw(purpose, count));
    let x = rounded("x", geometry.input().iter().product());
    let w = rounded("w", geometry.outputs * geometry.inputs / geometry.groups * geometry.taps());
    let w = converted::<f32, N>(&w);
    let g = rounded("g", geometry.output().iter().product());
    let bias = draw("bias", geometry.outputs);
    let mut expected = [vec![0_f64; g.len()], vec![0_f64; x.len()], vec![0_f64; w.len()]];
    products(geometry, |from, weight, to| {
        let [a, b, c] = [x[from].wide(), w[weight], g[to].wide()].map(f64::from);
        expected[0][to] += a * b;
        expected[1][from] += b * c;
        expected[2][weight] += a * c;
    });
    let shifted = |limits: [f64; 2]| -> Vec<f64> {
        let shift = |(at, y): (usize, &f64)| {
            (y + f64::from(bias[at % geometry.outputs])).clamp(limits[0], limits[1])
        };
        expected[0].iter().enumerate().map(shift).collect()
    };
    let (plain, held) = (shifted([f64::NEG_INFINITY, f64::INFINITY]), shifted([-0.5, 1.5]));
    for &instructions in Instructions::available() {
        let kernels = Kernels::of(instructions);
        let run =
            |bias, limits| forward(kernels, geometry, &x, &w, Finish { bias, limits }).to_vec();
        let results = [
            (run(None, None), &expected[0], largest(&plain)),
            (run(Some(&bias), None), &plain, largest(&plain)),
            (run(Some(&bias), Some([-0.5, 1.5])), &held, largest(&plain)),
            (
                input_gradient(kernels, geometry, &g, &w).to_vec(),
                &expected[1],
                largest(&expected[1]),
            ),
        ];
        for (which, (actual, expected, largest)) in results.iter().enumerate() {
            if let Some(wrong) = wrong(actual, expected, *largest) {
                return Err(format!("{instructions:?}, {geometry:?}, result {which}: {wrong}"));
            }
        }
        let sums = weight_gradient(kernels, geometry, &x, &g);
        if let Some(wrong) = wrong(&sums, &expected[2], largest(&expected[2])) {
            return Err(format!("{instructions:?}, {geometry:?}, by weight: {wrong}"));
        }
    }
    Ok(())
}

#[test]
fn known_shapes_give_the_plain_sums() {
    let grouped = |stride, padding, groups| Moves::new(stride, padding).grouped(groups);
    for (input, outputs, kernel, moves) in [
        ([2, 9, 7, 33], 35, [3; 2], Moves::new(1, 1)),
        ([3, 4, 5, 16], 17, [3; 2], Moves::new(1, 2)),
        ([2, 7, 6, 9], 5, [3; 2], Moves::new(2, 1)),
        ([2, 13, 12, 3], 20, [7; 2], Moves::new(2, 3)),
        ([1, 5, 4, 40], 18, [1; 2], Moves::new(2, 0)),
        ([2, 5, 4, 40], 35, [1; 2], Moves::new(1, 0)),
        // as in MobileNet and ConvNeXt
        ([2, 17, 16, 37], 37, [3; 2], grouped(1, 1, 37)),
        ([2, 15, 18, 33], 33, [3; 2], grouped(2, 1, 33)),
        ([2, 14, 15, 20], 20, [7; 2], grouped(1, 3, 20)),
        ([3, 3, 2, 40], 40, [7; 2], grouped(1, 3, 40)),
        ([2, 9, 8, 12], 20, [3; 2], grouped(1, 1, 4)),
        // an image that a stride does not reach all over
        ([1, 7, 9, 5], 4, [2, 1], Moves { stride: [3, 2], ..Moves::new(1, 0) }),
        ([1, 7, 9, 6], 6, [2, 1], Moves { stride: [3, 2], ..grouped(1, 0, 6) }),
    ] {
        let geometry = Geometry::new(input, outputs, kernel, moves).unwrap();
        check::<f32>(&geometry).unwrap();
        check::<bf16>(&geometry).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]
    #[test]
    fn any_shape_gives_the_plain_sums(
        (images, height, width) in (1_usize..4, 1_usize..12, 1_usize..12),
        (groups, inputs, outputs) in (1_usize..6, 1_usize..20, 1_usize..20),
        depthwise in any::<bool>(),
        kernel in [1_usize..6, 1_usize..6],
        stride in [1_usize..4, 1_usize..4],
        padding in [0_usize..4, 0_usize..4],
        dilation in [1_usize..4, 1_usize..4],
    ) {
        let (groups, inputs, outputs) =
            if depthwise { (groups * inputs, 1, 1) } else { (groups, inputs, outputs) };
        let shape = [images, height, width, groups * inputs];
        let moves = Moves { stride, padding, dilation, groups };
        if let Ok(geometry) = Geometry::new(shape, groups * outputs, kernel, moves) {
            check::<f32>(&geometry).map_err(TestCaseError::fail)?;
            check::<bf16>(&geometry).map_err(TestCaseError::fail)?;
        }
    }
}
