//! Convolution by 3x3 with stride 1 in 2.25 times fewer multiplications: Winograd's F(2x2, 3x3).
//!
//! Tiles of 4x4 pixels are transformed, multiplied place by place by transformed weights (sixteen
//! matrix products), and transformed back into 2x2 pixels. Its rounding is that of the direct sum;
//! larger tiles would save more and lose digits.

use rayon::prelude::*;

use super::geometry::Geometry;
use super::host::Finish;
use crate::ops::floats::Floats;
use crate::ops::matrix::{Kernels, Packed, join_pixels, product_of_lines, spread_pixels};

/// From as many channels on both sides the products outweigh the transforms.
const CHANNELS: usize = 16;
/// Tiles that are multiplied together, so that transformed weights are read less often.
const TILES: usize = 56;
/// Tiles of one task, at least, in whole images.
const TASK: usize = 32;
/// The widest panel of any set of instructions.
const WIDEST: usize = 32;

/// A convolution of images by a 3x3 kernel with stride 1.
pub(super) struct Winograd {
    images: usize,
    height: usize,
    width: usize,
    inputs: usize,
    outputs: usize,
    padding: usize,
    /// Whether the kernel is turned around and its channels exchanged: the gradient by the image
    /// is a convolution of the gradient by such a kernel.
    reversed: bool,
}

impl Winograd {
    /// Returns the convolution itself, where it is of this kind.
    pub(super) fn forward(geometry: &Geometry) -> Option<Self> {
        fits(geometry).then_some(Self {
            images: geometry.images,
            height: geometry.height,
            width: geometry.width,
            inputs: geometry.inputs,
            outputs: geometry.outputs,
            padding: geometry.padding[0],
            reversed: false,
        })
    }

    /// Returns the gradient by the images, as a convolution of the gradient by the result.
    pub(super) fn backward(geometry: &Geometry) -> Option<Self> {
        fits(geometry).then_some(Self {
            images: geometry.images,
            height: geometry.rows,
            width: geometry.columns,
            inputs: geometry.outputs,
            outputs: geometry.inputs,
            padding: 2_usize.checked_sub(geometry.padding[0])?,
            reversed: true,
        })
    }

    /// Convolves images by a weight, in PyTorch's layout and not reversed.
    pub(super) fn convolve(
        &self,
        kernels: &Kernels,
        x: &[f32],
        weight: &[f32],
        finish: Finish<'_>,
    ) -> Floats {
        let packed = self.transformed(kernels, weight);
        let (rows, columns) =
            (self.height + 2 * self.padding - 2, self.width + 2 * self.padding - 2);
        let across = columns.div_ceil(2);
        let tiles = rows.div_ceil(2) * across;
        let together = (TASK / tiles).max(1);
        let (from, to) = (self.height * self.width * self.inputs, rows * columns * self.outputs);
        let mut y = Floats::stale(self.images * to);
        let zeros = vec![0.0; self.inputs];
        let tasks = y.par_chunks_mut(together * to).zip(x.par_chunks(together * from));
        tasks.for_each(|(y, x)| {
            let total = tiles * (x.len() / from);
            let most = TILES.min(total);
            let mut spread = Floats::stale(16 * most * self.inputs);
            let mut products = Floats::stale(16 * most * self.outputs);
            for first in (0..total).step_by(most) {
                let count = most.min(total - first);
                let pitch = count * self.inputs;
                let place = |tile: usize| {
                    let tile = first + tile;
                    (tile / tiles, tile % tiles / across * 2, tile % across * 2)
                };
                for tile in 0..count {
                    let (image, top, left) = place(tile);
                    let image = &x[image * from..][..from];
                    let pixels = std::array::from_fn(|index| {
                        let row = (top + index / 4).wrapping_sub(self.padding);
                        let column = (left + index % 4).wrapping_sub(self.padding);
                        if row < self.height && column < self.width {
                            &image[(row * self.width + column) * self.inputs..][..self.inputs]
                        } else {
                            &zeros
                        }
                    });
                    spread_pixels(kernels, pixels, &mut spread[tile * self.inputs..], pitch);
                }
                for index in 0..16 {
                    product_of_lines(
                        kernels,
                        &spread[index * pitch..][..pitch],
                        self.inputs,
                        &packed,
                        index * self.inputs,
                        &mut products[index * count * self.outputs..][..count * self.outputs],
                    );
                }
                for tile in 0..count {
                    let (image, top, left) = place(tile);
                    let places = std::array::from_fn(|index| {
                        let (row, column) = (top + index / 2, left + index % 2);
                        (row < rows && column < columns)
                            .then(|| image * to + (row * columns + column) * self.outputs)
                    });
                    let source = &products[tile * self.outputs..];
                    let (pitch, columns) = (count * self.outputs, self.outputs);
                    let Finish { bias, limits } = finish;
                    join_pixels(kernels, source, pitch, columns, y, places, bias, limits);
                }
            }
        });
        y
    }

    /// Returns G g Gᵀ of every 3x3 kernel g, packed: line `index * inputs + input`.
    fn transformed(&self, kernels: &Kernels, weight: &[f32]) -> Packed<f32> {
        let (inputs, outputs) = (self.inputs, self.outputs);
        let width = kernels.width();
        Packed::new(kernels, 16 * inputs, outputs, |first, count, panel| {
            let mut g = [[0.0; WIDEST]; 9];
            for input in 0..inputs {
                for output in first..first + count {
                    let start = if self.reversed {
                        input * outputs + output
                    } else {
                        output * inputs + input
                    };
                    for (tap, value) in weight[start * 9..][..9].iter().enumerate() {
                        g[if self.reversed { 8 - tap } else { tap }][output - first] = *value;
                    }
                }
                let mut half = [[0.0; WIDEST]; 12];
                for column in 0..3 {
                    let three = [g[column], g[column + 3], g[column + 6]];
                    for (row, value) in widen(&three).into_iter().enumerate() {
                        half[row * 3 + column] = value;
                    }
                }
                for row in 0..4 {
                    let three = [half[row * 3], half[row * 3 + 1], half[row * 3 + 2]];
                    for (column, value) in widen(&three).into_iter().enumerate() {
                        let line = (row * 4 + column) * inputs + input;
                        panel[line * width..][..count].copy_from_slice(&value[..count]);
                    }
                }
            }
        })
    }
}

/// Multiplies three vectors by G.
fn widen([a, b, c]: &[[f32; WIDEST]; 3]) -> [[f32; WIDEST]; 4] {
    let middle = |sign: f32| -> [f32; WIDEST] {
        std::array::from_fn(|lane| 0.5 * (a[lane] + c[lane] + sign * b[lane]))
    };
    [*a, middle(1.0), middle(-1.0), *c]
}

fn fits(geometry: &Geometry) -> bool {
    geometry.kernel == [3; 2]
        && geometry.stride == [1; 2]
        && geometry.dilation == [1; 2]
        && geometry.groups == 1
        && geometry.padding[0] == geometry.padding[1]
        && geometry.padding[0] <= 2
        && geometry.inputs >= CHANNELS
        && geometry.outputs >= CHANNELS
}
