//! Convolution on the CPU as products over rows of channels, without unfolding the image.

use std::ops::Range;

use rayon::prelude::*;

use super::depthwise::Depthwise;
use super::field::{Field, Phase};
use super::geometry::Geometry;
use super::winograd::Winograd;
use crate::ops::floats::Block;
use crate::ops::matrix::{Factor, Kernels, Lines, LinesMut, Packed, Targets as _, outer, product};
use crate::ops::number::widened;

/// Up to as many channels a whole row of the kernel is one run: the image is copied with zeros on
/// its left and right, so that the run never leaves it.
const NARROW: usize = 8;

/// What is done with the numbers of a result before they are stored.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Finish<'a> {
    /// Added, one for each channel of the result.
    pub(super) bias: Option<&'a [f32]>,
    /// Then the lowest and the highest that there may be.
    pub(super) limits: Option<[f32; 2]>,
}

fn is_narrow(geometry: &Geometry) -> bool {
    geometry.inputs <= NARROW
        && geometry.taps() > 1
        && geometry.groups == 1
        && geometry.dilation[1] == 1
}

/// Returns the channels and the results of a group.
fn ranges(geometry: &Geometry, group: usize) -> [Range<usize>; 2] {
    [geometry.inputs, geometry.outputs].map(|length| {
        let length = length / geometry.groups;
        group * length..(group + 1) * length
    })
}

/// Returns the part of a weight [out, in of a group, kernel] that belongs to a group.
fn part<'a>(geometry: &Geometry, weight: &'a [f32], group: usize) -> &'a [f32] {
    let length = weight.len() / geometry.groups;
    &weight[group * length..][..length]
}

/// Returns how many numbers a run of the narrow path has: as many as a row of the kernel, and what is
/// missing to a whole lane. That is the first number of the pixel beyond, and meets a weight of 0; were it
/// infinite, the result would be no number, which the loss would soon be in any case.
fn narrow_run<N: Factor>(geometry: &Geometry) -> usize {
    (geometry.kernel[1] * geometry.inputs).next_multiple_of(N::TOGETHER)
}

/// Shows a function the places of a group of channels that a window reads.
fn with_windows<N: Factor, R>(
    geometry: &Geometry,
    x: &[N],
    group: usize,
    run: usize,
    look: impl FnOnce(&Field<'_, N>) -> R,
) -> R {
    let [down, right] = geometry.padding.map(|padding| padding as isize);
    let grid = [geometry.images, geometry.rows, geometry.columns];
    let step = geometry.stride;
    if !is_narrow(geometry) {
        let tap = |tap| {
            let [row, column] = geometry.tap(tap);
            (row as isize - down, column as isize - right)
        };
        let taps = (0..geometry.taps()).map(tap).collect();
        let [channels, _] = ranges(geometry, group);
        let field = Field::new(x, geometry.input(), channels);
        return look(&field.seen_from(grid, step, taps));
    }
    let [images, height, width, channels] = geometry.input();
    let wide = width + 2 * geometry.padding[1];
    let mut padded = Block::zeros(images * height * wide * channels + N::TOGETHER - 1);
    let inner = geometry.padding[1] * channels..(geometry.padding[1] + width) * channels;
    padded
        .par_chunks_exact_mut(wide * channels)
        .zip(x.par_chunks_exact(width * channels))
        .for_each(|(padded, row)| padded[inner.clone()].copy_from_slice(row));
    let row = |row| ((row * geometry.dilation[0]) as isize - down, 0);
    let taps = (0..geometry.kernel[0]).map(row).collect();
    let field = Field::new(&padded, [images, height, wide, channels], 0..channels);
    look(&field.seen_from(grid, step, taps).running(run))
}

/// Returns whether a plain product of such numbers is faster than Winograd's of f32s.
fn is_direct<N: Factor>(kernels: &Kernels) -> bool {
    N::TOGETHER > 1 && kernels.prefers_halves()
}

/// Returns whether runs of so many numbers can be multiplied.
fn fits<N: Factor>(run: usize) -> bool {
    run.is_multiple_of(N::TOGETHER)
}

/// Returns the convolution of `x` [N, H, W, in] by `weight` [out, in of a group, kernel].
pub(super) fn forward<N: Factor>(
    kernels: &Kernels,
    geometry: &Geometry,
    x: &[N],
    weight: &[f32],
    finish: Finish<'_>,
) -> Block<N> {
    if let Some(depthwise) = Depthwise::new(geometry) {
        return depthwise.forward(kernels, x, weight, finish);
    }
    if let Some(winograd) = Winograd::forward(geometry).filter(|_| !is_direct::<N>(kernels)) {
        let convolve = |x: &[f32]| N::nearest(winograd.convolve(kernels, x, weight, finish));
        return N::singles(x).map_or_else(|| convolve(&widened(x)), convolve);
    }
    if !is_narrow(geometry) && !fits::<N>(geometry.inputs / geometry.groups) {
        return N::nearest(forward(kernels, geometry, &widened(x), weight, finish));
    }
    let mut y = Block::stale(geometry.output().iter().product());
    for group in 0..geometry.groups {
        let [_, results] = ranges(geometry, group);
        let bias = finish.bias.map(|bias| &bias[results.clone()]);
        let packed = packed(kernels, geometry, part(geometry, weight, group));
        let packed = packed.finished(kernels, bias, finish.limits);
        if geometry.is_pointwise() && geometry.groups == 1 {
            let target = LinesMut::new(&mut y, geometry.outputs);
            product(kernels, &Lines::new(x, geometry.inputs), &packed, &target);
            continue;
        }
        with_windows(geometry, x, group, narrow_run::<N>(geometry), |windows| {
            let target = Phase::new(&mut y, geometry.output(), [1; 2], [0; 2], results);
            product(kernels, windows, &packed, &target);
        });
    }
    y
}

/// Returns a weight with all that makes one channel of the result multiplied by one number.
pub(super) fn scaled(weight: &[f32], scale: &[f32]) -> Vec<f32> {
    let length = weight.len() / scale.len();
    let mut scaled = vec![0.0; weight.len()];
    scaled.par_chunks_mut(length).zip(weight.par_chunks(length)).zip(scale).for_each(
        |((scaled, weight), scale)| {
            for (scaled, weight) in scaled.iter_mut().zip(weight) {
                *scaled = weight * scale;
            }
        },
    );
    scaled
}

/// Lays out the weight of one group: a line for each tap and input, and lines of zeros where runs are longer.
fn packed<N: Factor>(kernels: &Kernels, geometry: &Geometry, weight: &[f32]) -> Packed<N> {
    let (taps, width) = (geometry.taps(), kernels.width());
    let (inputs, outputs) = (geometry.inputs / geometry.groups, geometry.outputs / geometry.groups);
    // through a small buffer that stays in the L1 cache: a few channels of every lane at a time
    let block = (128 / taps).max(1);
    let pitch = block * taps + 1;
    let across = geometry.kernel[1];
    let run = if is_narrow(geometry) { narrow_run::<N>(geometry) } else { across * inputs };
    Packed::new(kernels, geometry.kernel[0] * run, outputs, |first, count, panel| {
        if run > across * inputs {
            panel.fill(0.0);
        }
        let mut buffer = vec![0.0; count * pitch];
        for start in (0..inputs).step_by(block) {
            let end = (start + block).min(inputs);
            for (lane, buffer) in buffer.chunks_exact_mut(pitch).enumerate() {
                let one = &weight[(first + lane) * inputs * taps..][start * taps..end * taps];
                buffer[..one.len()].copy_from_slice(one);
            }
            for tap in 0..taps {
                for input in start..end {
                    let line = tap / across * run + tap % across * inputs + input;
                    let line = &mut panel[line * width..][..count];
                    let from = buffer[(input - start) * taps + tap..].iter().step_by(pitch);
                    for (value, from) in line.iter_mut().zip(from) {
                        *value = *from;
                    }
                }
            }
        }
    })
}

/// Returns the gradient by the images, given that by the result.
///
/// With a stride, the pixels of the images fall into phases, and each is an ordinary product with
/// the places of the kernel that reach it.
pub(super) fn input_gradient<N: Factor>(
    kernels: &Kernels,
    geometry: &Geometry,
    gradient: &[N],
    weight: &[f32],
) -> Block<N> {
    if let Some(depthwise) = Depthwise::new(geometry) {
        return depthwise.input_gradient(kernels, gradient, weight);
    }
    if let Some(winograd) = Winograd::backward(geometry).filter(|_| !is_direct::<N>(kernels)) {
        let finish = Finish::default();
        let convolve = |x: &[f32]| N::nearest(winograd.convolve(kernels, x, weight, finish));
        return N::singles(gradient).map_or_else(|| convolve(&widened(gradient)), convolve);
    }
    if !fits::<N>(geometry.outputs / geometry.groups) {
        return N::nearest(input_gradient(kernels, geometry, &widened(gradient), weight));
    }
    let length = geometry.input().iter().product();
    if geometry.is_pointwise() && geometry.groups == 1 {
        let mut back = Block::stale(length);
        let packed = Packed::plain(kernels, weight, geometry.inputs);
        let target = LinesMut::new(&mut back, geometry.inputs);
        product(kernels, &Lines::new(gradient, geometry.outputs), &packed, &target);
        return back;
    }
    let taps = geometry.taps();
    let width = kernels.width();
    let all =
        |axis: usize| (0..geometry.stride[axis]).all(|p| !reach(geometry, axis, p).is_empty());
    let mut back = if all(0) && all(1) { Block::stale(length) } else { Block::zeros(length) };
    let phases = geometry.stride[0] * geometry.stride[1];
    for (group, phase) in (0..geometry.groups * phases).map(|turn| (turn / phases, turn % phases)) {
        let first = [phase / geometry.stride[1], phase % geometry.stride[1]];
        let [channels, results] = ranges(geometry, group);
        let (inputs, outputs) = (channels.len(), results.len());
        let weight = part(geometry, weight, group);
        let mut places = Vec::new();
        let mut offsets = Vec::new();
        for (down, rows) in reach(geometry, 0, first[0]) {
            for (right, columns) in reach(geometry, 1, first[1]) {
                places.push(down * geometry.kernel[1] + right);
                offsets.push((rows, columns));
            }
        }
        let target = Phase::new(&mut back, geometry.input(), geometry.stride, first, channels);
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
        let field = Field::new(gradient, geometry.output(), results);
        let field = field.seen_from(target.grid, [1; 2], offsets);
        product(kernels, &field, &packed, &target);
    }
    back
}

/// Returns the places of the kernel, along one side, that reach the pixels of a phase: each with how
/// far from the pixel's own number the result lies that it reaches it from.
pub(super) fn reach(geometry: &Geometry, axis: usize, phase: usize) -> Vec<(usize, isize)> {
    let (stride, start) = (geometry.stride[axis] as isize, phase + geometry.padding[axis]);
    let places = (0..geometry.kernel[axis]).filter_map(|place| {
        let offset = start as isize - (place * geometry.dilation[axis]) as isize;
        (offset % stride == 0).then_some((place, offset / stride))
    });
    places.collect()
}

/// Returns the gradient by the weight, [out, in of a group, kernel].
pub(super) fn weight_gradient<N: Factor>(
    kernels: &Kernels,
    geometry: &Geometry,
    x: &[N],
    gradient: &[N],
) -> Vec<f32> {
    if let Some(depthwise) = Depthwise::new(geometry) {
        return depthwise.weight_gradient(kernels, x, gradient);
    }
    let (taps, inputs) = (geometry.taps(), geometry.inputs / geometry.groups);
    let length = inputs * taps;
    if geometry.is_pointwise() && geometry.groups == 1 {
        let left = Lines::new(gradient, geometry.outputs);
        return outer(kernels, &left, &Lines::new(x, inputs)).to_vec();
    }
    let run = geometry.kernel[1] * inputs;
    let mut weight = vec![0.0; geometry.outputs * length];
    for (group, weight) in
        weight.chunks_exact_mut(geometry.outputs / geometry.groups * length).enumerate()
    {
        let [_, results] = ranges(geometry, group);
        let outputs = results.len();
        let lines = Lines::part(gradient, geometry.outputs, results);
        if is_narrow(geometry) {
            let sums =
                with_windows(geometry, x, group, run, |windows| outer(kernels, windows, &lines));
            weight.par_chunks_mut(length).enumerate().for_each(|(output, weight)| {
                for input in 0..inputs {
                    for tap in 0..taps {
                        weight[input * taps + tap] =
                            sums[(tap * inputs + input) * outputs + output];
                    }
                }
            });
        } else {
            let sums =
                with_windows(geometry, x, group, run, |windows| outer(kernels, &lines, windows));
            weight.par_chunks_mut(length).zip(sums.par_chunks(length)).for_each(
                |(weight, sums)| {
                    for (input, weight) in weight.chunks_exact_mut(taps).enumerate() {
                        for (value, tap) in weight.iter_mut().zip(sums.chunks_exact(inputs)) {
                            *value = tap[input];
                        }
                    }
                },
            );
        }
    }
    weight
}
