//! Convolution composed of tensor operations, for any device.

use anyhow::Result;
use candle_core::{Tensor, Var};

use super::geometry::Geometry;
use crate::ops::windows::{add_window, cropped, padded, window};

/// Returns the matrix [taps * in, out] of a weight, in the type of an array.
fn matrix(geometry: &Geometry, weight: &Var, like: &Tensor) -> Result<Tensor> {
    let lines = geometry.taps() * geometry.inputs;
    let matrix = weight.to_dtype(like.dtype())?.permute((2, 3, 1, 0))?;
    Ok(matrix.reshape((lines, geometry.outputs))?)
}

/// Returns all windows of the images as rows: [N * rows * columns, taps * in].
fn unfolded(geometry: &Geometry, x: &Tensor) -> Result<Tensor> {
    let x = padded(geometry, x, 0.0)?;
    let windows: Vec<Tensor> =
        (0..geometry.taps()).map(|tap| window(geometry, &x, tap)).collect::<Result<_>>()?;
    let rows = geometry.images * geometry.rows * geometry.columns;
    Ok(Tensor::cat(&windows, 3)?.reshape((rows, geometry.taps() * geometry.inputs))?)
}

/// Returns the gradient of the result as a matrix [N * rows * columns, out].
fn flattened(geometry: &Geometry, gradient: &Tensor) -> Result<Tensor> {
    Ok(gradient.contiguous()?.reshape(((), geometry.outputs))?)
}

pub(super) fn forward(geometry: &Geometry, x: &Tensor, weight: &Var) -> Result<Tensor> {
    let y = unfolded(geometry, x)?.matmul(&matrix(geometry, weight, x)?)?;
    Ok(y.reshape(geometry.output().as_slice())?)
}

pub(super) fn input_gradient(
    geometry: &Geometry,
    gradient: &Tensor,
    weight: &Var,
) -> Result<Tensor> {
    let matrix = matrix(geometry, weight, gradient)?.t()?.contiguous()?;
    let windows = flattened(geometry, gradient)?.matmul(&matrix)?;
    let [images, rows, columns, _] = geometry.output();
    let windows = windows.reshape((images, rows, columns, geometry.taps() * geometry.inputs))?;
    let mut sum = None;
    for tap in 0..geometry.taps() {
        let one = windows.narrow(3, tap * geometry.inputs, geometry.inputs)?.contiguous()?;
        sum = Some(add_window(geometry, sum, &one, tap)?);
    }
    cropped(geometry, sum)
}

pub(super) fn weight_gradient(
    geometry: &Geometry,
    x: &Tensor,
    gradient: &Tensor,
) -> Result<Tensor> {
    let windows = unfolded(geometry, x)?.t()?.contiguous()?;
    let sums = windows.matmul(&flattened(geometry, gradient)?)?;
    let kernel = geometry.kernel;
    let sums = sums.reshape((kernel, kernel, geometry.inputs, geometry.outputs))?;
    Ok(sums.permute((3, 2, 0, 1))?.contiguous()?)
}
