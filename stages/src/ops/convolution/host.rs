//! Convolution on the CPU as products over rows of channels, without unfolding the image.

use std::marker::PhantomData;
use std::ops::Range;

use rayon::prelude::*;

use super::geometry::Geometry;
use super::winograd::Winograd;
use crate::ops::floats::Floats;
use crate::ops::matrix::{Kernels, Lines, LinesMut, Packed, Sources, Targets, outer, product};

/// Up to as many channels a whole row of the kernel is one run: the image is copied with zeros on
/// its left and right, so that the run never leaves it.
const NARROW: usize = 8;

/// Pixels of an image, found from the pixels of a grid that moves over it in steps.
struct Field<'a> {
    image: &'a [f32],
    height: usize,
    width: usize,
    channels: usize,
    /// Images, rows and columns of the grid, and its step.
    grid: [usize; 3],
    step: usize,
    /// Where each run starts, from the grid's pixel: rows down, columns right.
    taps: Vec<(isize, isize)>,
    depth: usize,
    /// A run of zeros, for what lies outside the image.
    zeros: Vec<f32>,
}

impl<'a> Field<'a> {
    fn new(image: &'a [f32], [images, height, width, channels]: [usize; 4]) -> Self {
        assert_eq!(image.len(), images * height * width * channels, "an image of another shape");
        Self {
            image,
            height,
            width,
            channels,
            grid: [images, height, width],
            step: 1,
            taps: vec![(0, 0)],
            depth: channels,
            zeros: vec![0.0; channels],
        }
    }
}

#[expect(unsafe_code, reason = "hands out pointers into a borrowed image")]
// SAFETY: a run is either `zeros`, of `depth` numbers, or a checked slice of the image.
unsafe impl Sources for Field<'_> {
    fn taps(&self) -> usize {
        self.taps.len()
    }
    fn depth(&self) -> usize {
        self.depth
    }
    fn rows(&self) -> usize {
        self.grid.iter().product()
    }
    fn locate(&self, rows: Range<usize>, taps: Range<usize>, table: &mut [*const f32]) {
        let [_, grid_height, grid_width] = self.grid;
        let first = rows.start;
        for ((down, right), table) in self.taps[taps].iter().zip(table.chunks_exact_mut(rows.len()))
        {
            let mut x = first % grid_width;
            let mut y = first / grid_width % grid_height;
            let mut image = first / grid_width / grid_height;
            for place in table {
                let row = (y * self.step) as isize + down;
                let column = (x * self.step) as isize + right;
                let inside = (0..self.height as isize).contains(&row)
                    && (0..self.width as isize).contains(&column);
                *place = if inside {
                    let pixel = (image * self.height + row as usize) * self.width + column as usize;
                    self.image[pixel * self.channels..][..self.depth].as_ptr()
                } else {
                    self.zeros.as_ptr()
                };
                x += 1;
                if x == grid_width {
                    (x, y) = (0, y + 1);
                    if y == grid_height {
                        (y, image) = (0, image + 1);
                    }
                }
            }
        }
    }
}

/// Every `step`-th pixel of an image to write, from one of its first pixels on.
struct Phase<'a> {
    start: *mut f32,
    /// Rows and columns of the image, and channels.
    shape: [usize; 3],
    /// Images, rows and columns that are written.
    grid: [usize; 3],
    step: usize,
    first: [usize; 2],
    numbers: PhantomData<&'a mut [f32]>,
}

#[expect(unsafe_code, reason = "pixels of a borrowed image are written by different threads")]
// SAFETY: the pointer is only handed out, pixel by pixel.
unsafe impl Sync for Phase<'_> {}

impl<'a> Phase<'a> {
    fn new(image: &'a mut [f32], shape: [usize; 4], step: usize, first: [usize; 2]) -> Self {
        let [images, height, width, channels] = shape;
        assert_eq!(image.len(), images * height * width * channels, "an image of another shape");
        let count = |length: usize, first: usize| length.saturating_sub(first).div_ceil(step);
        Self {
            start: image.as_mut_ptr(),
            shape: [height, width, channels],
            grid: [images, count(height, first[0]), count(width, first[1])],
            step,
            first,
            numbers: PhantomData,
        }
    }
}

#[expect(unsafe_code, reason = "hands out pointers into a borrowed image")]
// SAFETY: `grid` counts only pixels inside the image, each once; the image is mutably borrowed as
// long as this lives.
unsafe impl Targets for Phase<'_> {
    fn columns(&self) -> usize {
        self.shape[2]
    }
    fn rows(&self) -> usize {
        self.grid.iter().product()
    }
    fn locate(&self, rows: Range<usize>, table: &mut [*mut f32]) {
        assert!(rows.end <= self.rows(), "pixel {} of {}", rows.end, self.rows());
        let [height, width, channels] = self.shape;
        for (place, row) in table.iter_mut().zip(rows) {
            let x = row % self.grid[2] * self.step + self.first[1];
            let y = row / self.grid[2] % self.grid[1] * self.step + self.first[0];
            let image = row / self.grid[2] / self.grid[1];
            *place = self.start.wrapping_add(((image * height + y) * width + x) * channels);
        }
    }
}

fn is_narrow(geometry: &Geometry) -> bool {
    geometry.inputs <= NARROW && geometry.kernel > 1
}

/// Shows a function the places that a window reads.
fn with_windows<R>(geometry: &Geometry, x: &[f32], look: impl FnOnce(&Field<'_>) -> R) -> R {
    let padding = geometry.padding as isize;
    let kernel = geometry.kernel as isize;
    let grid = [geometry.images, geometry.rows, geometry.columns];
    if !is_narrow(geometry) {
        let taps = (0..kernel * kernel)
            .map(|tap| (tap / kernel - padding, tap % kernel - padding))
            .collect();
        let field = Field::new(x, geometry.input());
        return look(&Field { grid, step: geometry.stride, taps, ..field });
    }
    let [images, height, width, channels] = geometry.input();
    let wide = width + 2 * geometry.padding;
    let mut padded = Floats::zeros(images * height * wide * channels);
    let inner = geometry.padding * channels..(geometry.padding + width) * channels;
    padded
        .par_chunks_exact_mut(wide * channels)
        .zip(x.par_chunks_exact(width * channels))
        .for_each(|(padded, row)| padded[inner.clone()].copy_from_slice(row));
    let taps = (0..kernel).map(|row| (row - padding, 0)).collect();
    let depth = geometry.kernel * channels;
    let field = Field::new(&padded, [images, height, wide, channels]);
    look(&Field { grid, step: geometry.stride, taps, depth, zeros: vec![0.0; depth], ..field })
}

/// Returns the convolution of `x` [N, H, W, in] by `weight` [out, in, kernel, kernel].
pub(super) fn forward(kernels: &Kernels, geometry: &Geometry, x: &[f32], weight: &[f32]) -> Floats {
    if let Some(winograd) = Winograd::forward(geometry) {
        return winograd.convolve(kernels, x, weight);
    }
    let (taps, inputs) = (geometry.taps(), geometry.inputs);
    let width = kernels.width();
    // through a small buffer that stays in the L1 cache: a few channels of every lane at a time
    let block = (128 / taps).max(1);
    let pitch = block * taps + 1;
    let packed = Packed::new(kernels, taps * inputs, geometry.outputs, |first, count, panel| {
        let mut buffer = vec![0.0; count * pitch];
        for start in (0..inputs).step_by(block) {
            let end = (start + block).min(inputs);
            for (lane, buffer) in buffer.chunks_exact_mut(pitch).enumerate() {
                let one = &weight[(first + lane) * inputs * taps..][start * taps..end * taps];
                buffer[..one.len()].copy_from_slice(one);
            }
            for tap in 0..taps {
                for input in start..end {
                    let line = &mut panel[(tap * inputs + input) * width..][..count];
                    let from = buffer[(input - start) * taps + tap..].iter().step_by(pitch);
                    for (value, from) in line.iter_mut().zip(from) {
                        *value = *from;
                    }
                }
            }
        }
    });
    let mut y = Floats::stale(geometry.output().iter().product());
    with_windows(geometry, x, |windows| {
        product(kernels, windows, &packed, &LinesMut::new(&mut y, geometry.outputs));
    });
    y
}

/// Returns the gradient by the images, given that by the result.
///
/// With a stride, the pixels of the images fall into stride² phases, and each is an ordinary
/// product with the places of the kernel that reach it.
pub(super) fn input_gradient(
    kernels: &Kernels,
    geometry: &Geometry,
    gradient: &[f32],
    weight: &[f32],
) -> Floats {
    if let Some(winograd) = Winograd::backward(geometry) {
        return winograd.convolve(kernels, gradient, weight);
    }
    let [taps, inputs, outputs] = [geometry.taps(), geometry.inputs, geometry.outputs];
    let (stride, padding) = (geometry.stride, geometry.padding);
    let width = kernels.width();
    let reached = (0..stride).map(|phase| reach(geometry, phase).len()).all(|count| count > 0);
    let length = geometry.input().iter().product();
    let mut back = if reached { Floats::stale(length) } else { Floats::zeros(length) };
    for phase in 0..stride * stride {
        let first = [phase / stride, phase % stride];
        let mut places = Vec::new();
        let mut offsets = Vec::new();
        let offset = |first: usize, place: usize| {
            ((first + padding) as isize - place as isize) / stride as isize
        };
        for down in reach(geometry, first[0]) {
            for right in reach(geometry, first[1]) {
                places.push(down * geometry.kernel + right);
                offsets.push((offset(first[0], down), offset(first[1], right)));
            }
        }
        let target = Phase::new(&mut back, geometry.input(), stride, first);
        if places.is_empty() || target.rows() == 0 {
            continue;
        }
        let lines = places.len() * outputs;
        let packed = Packed::new(kernels, lines, inputs, |first, count, panel| {
            for output in 0..outputs {
                let one = &weight[(output * inputs + first) * taps..][..count * taps];
                for (line, place) in places.iter().enumerate() {
                    let line = &mut panel[(line * outputs + output) * width..][..count];
                    for (lane, value) in line.iter_mut().enumerate() {
                        *value = one[lane * taps + place];
                    }
                }
            }
        });
        let field = Field::new(gradient, geometry.output());
        let field = Field { grid: target.grid, taps: offsets, ..field };
        product(kernels, &field, &packed, &target);
    }
    back
}

/// Returns the places of the kernel, along one side, that reach the pixels of a phase.
fn reach(geometry: &Geometry, phase: usize) -> Vec<usize> {
    let first = (phase + geometry.padding) % geometry.stride;
    (first..geometry.kernel).step_by(geometry.stride).collect()
}

/// Returns the gradient by the weight, [out, in, kernel, kernel].
pub(super) fn weight_gradient(
    kernels: &Kernels,
    geometry: &Geometry,
    x: &[f32],
    gradient: &[f32],
) -> Vec<f32> {
    let (taps, inputs, outputs) = (geometry.taps(), geometry.inputs, geometry.outputs);
    let lines = Lines::new(gradient, outputs);
    let mut weight = vec![0.0; outputs * inputs * taps];
    let length = inputs * taps;
    if is_narrow(geometry) {
        let sums = with_windows(geometry, x, |windows| outer(kernels, windows, &lines));
        weight.par_chunks_mut(length).enumerate().for_each(|(output, weight)| {
            for input in 0..inputs {
                for tap in 0..taps {
                    weight[input * taps + tap] = sums[(tap * inputs + input) * outputs + output];
                }
            }
        });
    } else {
        let sums = with_windows(geometry, x, |windows| outer(kernels, &lines, windows));
        weight.par_chunks_mut(length).zip(sums.par_chunks(length)).for_each(|(weight, sums)| {
            for (input, weight) in weight.chunks_exact_mut(taps).enumerate() {
                for (value, tap) in weight.iter_mut().zip(sums.chunks_exact(inputs)) {
                    *value = tap[input];
                }
            }
        });
    }
    weight
}

#[cfg(test)]
mod tests {
    use super::{Geometry, forward, input_gradient, weight_gradient};
    use crate::ops::instructions::Instructions;
    use crate::ops::matrix::Kernels;
    use crate::rng::Random;

    /// Walks over every product of a convolution: places in images, weight and result.
    fn products(geometry: &Geometry, mut visit: impl FnMut(usize, usize, usize)) {
        let Geometry { images, height, width, inputs, outputs, kernel, .. } = *geometry;
        for place in 0..images * geometry.rows * geometry.columns * kernel * kernel {
            let (pixel, tap) = (place / (kernel * kernel), place % (kernel * kernel));
            let (row, column) =
                (pixel / geometry.columns % geometry.rows, pixel % geometry.columns);
            let image = pixel / geometry.columns / geometry.rows;
            let y = (row * geometry.stride + tap / kernel).wrapping_sub(geometry.padding);
            let x = (column * geometry.stride + tap % kernel).wrapping_sub(geometry.padding);
            if y >= height || x >= width {
                continue;
            }
            for input in 0..inputs {
                let from = ((image * height + y) * width + x) * inputs + input;
                for output in 0..outputs {
                    let weight = (output * inputs + input) * kernel * kernel + tap;
                    visit(from, weight, pixel * outputs + output);
                }
            }
        }
    }

    #[test]
    fn every_set_of_instructions_gives_the_plain_sums() {
        for (input, outputs, kernel, stride, padding) in [
            ([2, 9, 7, 33], 35, 3, 1, 1),
            ([3, 4, 5, 16], 17, 3, 1, 2),
            ([2, 7, 6, 9], 5, 3, 2, 1),
            ([2, 13, 12, 3], 20, 7, 2, 3),
            ([1, 5, 4, 40], 18, 1, 2, 0),
        ] {
            let geometry = Geometry::new(input, outputs, kernel, stride, padding).unwrap();
            let mut random = Random::new(3, "convolution", &[]);
            let mut draw =
                |count: usize| -> Vec<f32> { (0..count).map(|_| random.normal() as f32).collect() };
            let x = draw(input.iter().product());
            let w = draw(outputs * input[3] * geometry.taps());
            let g = draw(geometry.output().iter().product());
            let mut expected = [vec![0_f64; g.len()], vec![0_f64; x.len()], vec![0_f64; w.len()]];
            products(&geometry, |from, weight, to| {
                let [a, b, c] = [x[from], w[weight], g[to]].map(f64::from);
                expected[0][to] += a * b;
                expected[1][from] += b * c;
                expected[2][weight] += a * c;
            });
            for &instructions in Instructions::available() {
                let kernels = Kernels::of(instructions);
                let actual = [
                    forward(kernels, &geometry, &x, &w).to_vec(),
                    input_gradient(kernels, &geometry, &g, &w).to_vec(),
                    weight_gradient(kernels, &geometry, &x, &g),
                ];
                for (actual, expected) in actual.iter().zip(&expected) {
                    let largest = expected.iter().fold(0.0, |most: f64, e| most.max(e.abs()));
                    for (place, (a, e)) in actual.iter().zip(expected).enumerate() {
                        let near = (f64::from(*a) - e).abs() < 2e-6 * largest;
                        assert!(near, "{instructions:?} {geometry:?}: {place} is {a}, not {e}");
                    }
                }
            }
        }
    }
}
