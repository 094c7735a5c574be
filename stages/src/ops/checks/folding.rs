//! In inference a batch norm is folded into the convolution before it, and the result is the same to rounding.

use super::{Path, batch_norm, close, draw, leaf, parameter};
use crate::ops::{self, Moves, Rectifier, Tape};

#[test]
fn a_folded_batch_norm_is_the_one_after_the_convolution() {
    let plain = Moves::new;
    let cases = [
        ([2, 5, 7, 9], [6, 9, 1, 1], plain(1, 0)),
        ([2, 9, 10, 17], [18, 17, 3, 3], plain(1, 1)),
        ([1, 9, 10, 3], [4, 3, 7, 7], plain(2, 3)),
        ([2, 6, 5, 20], [20, 1, 3, 3], plain(2, 1).grouped(20)),
        ([1, 6, 5, 6], [9, 2, 3, 3], plain(1, 1).grouped(3)),
    ];
    for (shape, [outputs, inputs, rows, columns], moves) in cases {
        let weight = parameter("w", &draw("w", &[outputs, inputs, rows, columns]));
        let [gamma, beta, mean] = ["gamma", "beta", "mean"].map(|name| draw(name, &[outputs]));
        let variance = draw("variance", &[outputs]).sqr().unwrap().affine(3.0, 0.1).unwrap();
        let norm = batch_norm(&gamma, &beta, &mean, &variance);
        for path in [Path::Kernels, Path::Composed] {
            let tape = &mut Tape::inference();
            let x = leaf(tape, "x", &draw("x", &shape), path);
            let y = ops::convolution(tape, &x, &weight, None, moves).unwrap();
            let residual = leaf(tape, "residual", &draw("residual", y.dims()), path);
            for rectifier in [Rectifier::None, Rectifier::Relu, Rectifier::Relu6] {
                for residual in [None, Some(&residual)] {
                    let apart = ops::batch_norm(tape, &y, &norm, residual, rectifier).unwrap();
                    let folded =
                        ops::convolution_norm(tape, &x, &weight, moves, &norm, residual, rectifier);
                    let what = format!("{shape:?}, {moves:?}, {path:?}, {rectifier:?}");
                    close(&what, folded.unwrap().tensor(), apart.tensor(), 1e-5);
                }
            }
        }
    }
}
