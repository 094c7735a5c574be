//! Convolution pixel by pixel on a GPU: a plain matrix product.
//!
//! cuDNN would ask cuBLAS for the same product, and take several times as long to do so as the product itself does
//! where images are small.

use anyhow::Result;
use candle_core::Tensor;

use super::device::Weight;
use super::geometry::Geometry;
use crate::ops::gpu::{self, Seen};

/// Returns whether a convolution is a product of rows, those of every pixel or of some.
pub(super) fn is_product(geometry: &Geometry) -> bool {
    geometry.kernel == [1; 2] && geometry.padding == [0; 2] && geometry.groups == 1
}

/// Convolves.
pub(super) fn forward(geometry: &Geometry, x: &Tensor, weight: Weight<'_>) -> Result<Tensor> {
    forward_by(geometry, x, &weight.turned(geometry, x.dtype())?)
}

/// As [`forward`], by a weight [out, in] in the type of the images.
pub(super) fn forward_by(geometry: &Geometry, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let y = seen(geometry, x)?.matmul(&weight.t()?)?;
    Ok(y.reshape(&geometry.output())?)
}

/// Returns the gradient by the images, all of whose pixels were convolved.
pub(super) fn input_gradient(
    geometry: &Geometry,
    gradient: &Tensor,
    weight: Weight<'_>,
) -> Result<Tensor> {
    Ok(by_pixels(geometry, gradient, weight)?.reshape(&geometry.input())?)
}

/// Returns the gradient by the images of which some pixels were convolved.
pub(super) fn seen_gradient(
    geometry: &Geometry,
    gradient: &Tensor,
    weight: Weight<'_>,
) -> Result<Seen> {
    Ok(Seen::new(geometry, by_pixels(geometry, gradient, weight)?))
}

/// Returns the gradient by the pixels that were convolved, [pixels, channels].
fn by_pixels(geometry: &Geometry, gradient: &Tensor, weight: Weight<'_>) -> Result<Tensor> {
    let weight = weight.turned(geometry, gradient.dtype())?;
    Ok(rows(gradient, geometry.outputs)?.matmul(&weight)?)
}

/// Returns the gradient by the weight, in its shape and f32.
pub(super) fn weight_gradient(
    geometry: &Geometry,
    x: &Tensor,
    gradient: &Tensor,
) -> Result<Tensor> {
    let gradient = rows(gradient, geometry.outputs)?;
    let sums = gradient.t()?.matmul(&seen(geometry, x)?)?;
    gpu::unturned(geometry, &sums)
}

/// Returns the pixels that are convolved, [pixels, channels].
fn seen(geometry: &Geometry, x: &Tensor) -> Result<Tensor> {
    if geometry.is_pointwise() {
        return rows(x, geometry.inputs);
    }
    rows(&gpu::gathered(geometry, x)?, geometry.inputs)
}

/// Returns an array as [pixels, channels].
fn rows(x: &Tensor, channels: usize) -> Result<Tensor> {
    Ok(x.contiguous()?.reshape(((), channels))?)
}
