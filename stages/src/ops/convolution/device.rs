//! Convolution on any device: by cuDNN on a GPU, else composed of tensor operations.

use anyhow::Result;
use candle_core::Tensor;

use super::composed;
use super::geometry::Geometry;
#[cfg(feature = "cuda")]
use super::library;

pub(super) fn forward(geometry: &Geometry, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if x.device().is_cuda()
        && let Some(y) = library::forward(geometry, x, weight)?
    {
        return Ok(y);
    }
    composed::forward(geometry, x, weight)
}

pub(super) fn input_gradient(
    geometry: &Geometry,
    gradient: &Tensor,
    weight: &Tensor,
) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if gradient.device().is_cuda()
        && let Some(back) = library::input_gradient(geometry, gradient, weight)?
    {
        return Ok(back);
    }
    composed::input_gradient(geometry, gradient, weight)
}

pub(super) fn weight_gradient(
    geometry: &Geometry,
    x: &Tensor,
    gradient: &Tensor,
) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if gradient.device().is_cuda()
        && let Some(sums) = library::weight_gradient(geometry, x, gradient)?
    {
        return Ok(sums);
    }
    composed::weight_gradient(geometry, x, gradient)
}
