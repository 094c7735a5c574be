//! Convolution pixel by pixel on a GPU: a plain matrix product.
//!
//! cuDNN would ask cuBLAS for the same product, and take several times as long to do so as the product itself does
//! where images are small.

use anyhow::Result;
use candle_core::Tensor;

use super::device::Weight;
use super::geometry::Geometry;
use crate::ops::gpu;

/// Returns whether a convolution is a product of rows.
pub(super) fn is_product(geometry: &Geometry) -> bool {
    geometry.is_pointwise() && geometry.groups == 1
}

/// Convolves.
pub(super) fn forward(geometry: &Geometry, x: &Tensor, weight: Weight<'_>) -> Result<Tensor> {
    forward_by(geometry, x, &weight.turned(geometry, x.dtype())?)
}

/// As [`forward`], by a weight [out, in] in the type of the images.
pub(super) fn forward_by(geometry: &Geometry, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let y = rows(x, geometry.inputs)?.matmul(&weight.t()?)?;
    Ok(y.reshape(&geometry.output())?)
}

/// Returns the gradient by the images.
pub(super) fn input_gradient(
    geometry: &Geometry,
    gradient: &Tensor,
    weight: Weight<'_>,
) -> Result<Tensor> {
    let weight = weight.turned(geometry, gradient.dtype())?;
    let back = rows(gradient, geometry.outputs)?.matmul(&weight)?;
    Ok(back.reshape(&geometry.input())?)
}

/// Returns the gradient by the weight, in its shape and f32.
pub(super) fn weight_gradient(
    geometry: &Geometry,
    x: &Tensor,
    gradient: &Tensor,
) -> Result<Tensor> {
    let gradient = rows(gradient, geometry.outputs)?;
    let sums = gradient.t()?.matmul(&rows(x, geometry.inputs)?)?;
    gpu::unturned(geometry, &sums)
}

/// Returns an array as [pixels, channels].
fn rows(x: &Tensor, channels: usize) -> Result<Tensor> {
    Ok(x.contiguous()?.reshape(((), channels))?)
}
