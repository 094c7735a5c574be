//! Convolution composed of tensor operations, for any device.

use anyhow::Result;
use candle_core::{DType, Tensor};

use super::geometry::Geometry;
use crate::ops::windows::{add_window, cropped, padded, window};

/// Returns the geometry of each group alone, and its place in a split of channels and results.
fn groups(geometry: &Geometry) -> impl Iterator<Item = (Geometry, usize, usize)> {
    let count = geometry.groups;
    let (inputs, outputs) = (geometry.inputs / count, geometry.outputs / count);
    let one = Geometry { inputs, outputs, groups: 1, ..*geometry };
    (0..count).map(move |group| (one, group * inputs, group * outputs))
}

/// Returns the matrix [taps * in, out] of a weight, in the type of an array.
fn matrix(geometry: &Geometry, weight: &Tensor, like: &Tensor) -> Result<Tensor> {
    let lines = geometry.taps() * geometry.inputs;
    let matrix = weight.to_dtype(like.dtype())?.permute((2, 3, 1, 0))?;
    Ok(matrix.reshape((lines, geometry.outputs))?)
}

/// Returns what one tap of a depthwise weight multiplies each channel by.
fn channel_scales(geometry: &Geometry, weight: &Tensor, tap: usize) -> Result<Tensor> {
    let scales = weight.reshape((geometry.outputs, geometry.taps()))?;
    Ok(scales.narrow(1, tap, 1)?.reshape(geometry.outputs)?)
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

pub(super) fn forward(geometry: &Geometry, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    if geometry.is_depthwise() {
        let padded = padded(geometry, x, 0.0)?;
        let weight = weight.to_dtype(x.dtype())?;
        let mut y: Option<Tensor> = None;
        for tap in 0..geometry.taps() {
            let scales = channel_scales(geometry, &weight, tap)?;
            let one = window(geometry, &padded, tap)?.broadcast_mul(&scales)?;
            y = Some(match y {
                None => one,
                Some(y) => (y + one)?,
            });
        }
        return Ok(y.unwrap_or(x.clone()));
    }
    if geometry.groups > 1 {
        let parts: Vec<Tensor> = groups(geometry)
            .map(|(one, first, result)| {
                let x = x.narrow(3, first, one.inputs)?.contiguous()?;
                forward(&one, &x, &weight.narrow(0, result, one.outputs)?)
            })
            .collect::<Result<_>>()?;
        return Ok(Tensor::cat(&parts, 3)?);
    }
    let y = unfolded(geometry, x)?.matmul(&matrix(geometry, weight, x)?)?;
    Ok(y.reshape(geometry.output().as_slice())?)
}

pub(super) fn input_gradient(
    geometry: &Geometry,
    gradient: &Tensor,
    weight: &Tensor,
) -> Result<Tensor> {
    let mut sum = None;
    if geometry.is_depthwise() {
        let weight = weight.to_dtype(gradient.dtype())?;
        for tap in 0..geometry.taps() {
            let one = gradient.broadcast_mul(&channel_scales(geometry, &weight, tap)?)?;
            sum = Some(add_window(geometry, sum, &one, tap)?);
        }
        return cropped(geometry, sum);
    }
    if geometry.groups > 1 {
        let parts: Vec<Tensor> = groups(geometry)
            .map(|(one, _, result)| {
                let gradient = gradient.narrow(3, result, one.outputs)?.contiguous()?;
                input_gradient(&one, &gradient, &weight.narrow(0, result, one.outputs)?)
            })
            .collect::<Result<_>>()?;
        return Ok(Tensor::cat(&parts, 3)?);
    }
    let matrix = matrix(geometry, weight, gradient)?.t()?.contiguous()?;
    let windows = flattened(geometry, gradient)?.matmul(&matrix)?;
    let [images, rows, columns, _] = geometry.output();
    let windows = windows.reshape((images, rows, columns, geometry.taps() * geometry.inputs))?;
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
    let [down, across] = geometry.kernel;
    if geometry.is_depthwise() {
        // f32 inside: a sum of many bf16 numbers loses them
        let (padded, gradient) = (padded(geometry, x, 0.0)?, gradient.to_dtype(DType::F32)?);
        let sums: Vec<Tensor> = (0..geometry.taps())
            .map(|tap| {
                let seen = window(geometry, &padded, tap)?.to_dtype(DType::F32)?;
                Ok((seen * &gradient)?.sum((0, 1, 2))?)
            })
            .collect::<Result<_>>()?;
        let sums = Tensor::stack(&sums, 1)?;
        return Ok(sums.reshape((geometry.outputs, 1, down, across))?);
    }
    if geometry.groups > 1 {
        let parts: Vec<Tensor> = groups(geometry)
            .map(|(one, first, result)| {
                let x = x.narrow(3, first, one.inputs)?.contiguous()?;
                let gradient = gradient.narrow(3, result, one.outputs)?.contiguous()?;
                weight_gradient(&one, &x, &gradient)
            })
            .collect::<Result<_>>()?;
        return Ok(Tensor::cat(&parts, 0)?);
    }
    let windows = unfolded(geometry, x)?.t()?.contiguous()?;
    let sums = windows.matmul(&flattened(geometry, gradient)?)?;
    let sums = sums.reshape((down, across, geometry.inputs, geometry.outputs))?;
    Ok(sums.permute((3, 2, 0, 1))?.contiguous()?)
}
