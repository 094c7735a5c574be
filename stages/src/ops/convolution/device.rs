//! Convolution on any device: on a GPU channel by channel by kernels of our own, pixel by pixel as a matrix product,
//! else by cuDNN; elsewhere composed of tensor operations.

use anyhow::Result;
#[cfg(any(feature = "cuda", test))]
use candle_core::DType;
use candle_core::Tensor;

use super::composed;
use super::geometry::Geometry;
#[cfg(feature = "cuda")]
use super::library;
#[cfg(any(feature = "cuda", test))]
use super::{patches, pointwise};
#[cfg(any(feature = "cuda", test))]
use crate::ops::gpu;
use crate::ops::rectifier::{Rectifier, rectified};
#[cfg(any(feature = "cuda", test))]
use crate::ops::rounded::Rounded;
use crate::weights::Parameter;

/// A weight [outputs, inputs of a group, rows, columns].
#[derive(Clone, Copy)]
pub(super) struct Weight<'a> {
    /// Its numbers, f32.
    pub(super) numbers: &'a Tensor,
    /// Where its copy in bf16 is kept.
    #[cfg(any(feature = "cuda", test))]
    rounded: &'a Rounded,
}

#[cfg(any(feature = "cuda", test))]
impl Weight<'_> {
    /// Lays it out on a GPU as products read it beside NHWC, in a type: [out, rows * columns * in].
    pub(super) fn turned(&self, geometry: &Geometry, dtype: DType) -> Result<Tensor> {
        let length = geometry.taps() * geometry.inputs / geometry.groups;
        let made = || gpu::turned(geometry, self.numbers, dtype, length);
        match dtype {
            // what the optimizer keeps current
            DType::BF16 => self.rounded.of(made),
            _ => made(),
        }
    }
}

impl<'a> From<&'a Parameter> for Weight<'a> {
    fn from(parameter: &'a Parameter) -> Self {
        Self {
            numbers: &parameter.variable,
            #[cfg(any(feature = "cuda", test))]
            rounded: &parameter.rounded,
        }
    }
}

/// Convolves, adds bias and residual, and rectifies.
pub(super) fn forward(
    geometry: &Geometry,
    x: &Tensor,
    weight: Weight<'_>,
    bias: Option<&Tensor>,
    residual: Option<&Tensor>,
    rectifier: Rectifier,
) -> Result<Tensor> {
    #[cfg(any(feature = "cuda", test))]
    if gpu::takes(x) {
        let (y, bias) = if geometry.is_depthwise() {
            (gpu::depthwise(geometry, x, weight.numbers, bias)?, None)
        } else {
            (plain(geometry, x, weight)?, bias)
        };
        if bias.is_none() && residual.is_none() && rectifier == Rectifier::None {
            return Ok(y);
        }
        return gpu::finish(&y, bias, residual, rectifier);
    }
    let mut y = plain(geometry, x, weight)?;
    if let Some(bias) = bias {
        y = y.broadcast_add(&bias.to_dtype(y.dtype())?)?;
    }
    if let Some(residual) = residual {
        y = (y + residual)?;
    }
    rectified(&y, rectifier)
}

fn plain(geometry: &Geometry, x: &Tensor, weight: Weight<'_>) -> Result<Tensor> {
    #[cfg(any(feature = "cuda", test))]
    if gpu::takes(x) {
        if pointwise::is_product(geometry) {
            return pointwise::forward(geometry, x, weight);
        }
        if let Some(y) = patches::forward(geometry, x, weight.numbers)? {
            return Ok(y);
        }
    }
    #[cfg(feature = "cuda")]
    if x.device().is_cuda()
        && let Some(y) = library::forward(geometry, x, weight)?
    {
        return Ok(y);
    }
    composed::forward(geometry, x, weight.numbers)
}

/// Returns the gradient by the pixels that a convolution saw, where it has strides and a window of one.
#[cfg(any(feature = "cuda", test))]
pub(super) fn seen(
    geometry: &Geometry,
    gradient: &Tensor,
    weight: Weight<'_>,
) -> Result<Option<gpu::Seen>> {
    let some = pointwise::is_product(geometry) && !geometry.is_pointwise() && gpu::takes(gradient);
    some.then(|| pointwise::seen_gradient(geometry, gradient, weight)).transpose()
}

/// Returns the gradient by the images, where it is not that by the pixels [`seen`] alone.
pub(super) fn input_gradient(
    geometry: &Geometry,
    gradient: &Tensor,
    weight: Weight<'_>,
) -> Result<Tensor> {
    #[cfg(any(feature = "cuda", test))]
    if geometry.is_depthwise() && gpu::takes(gradient) {
        return gpu::depthwise_gradient(geometry, gradient, gpu::Direction::Images(weight.numbers));
    }
    #[cfg(any(feature = "cuda", test))]
    if geometry.is_pointwise() && gpu::takes(gradient) {
        return pointwise::input_gradient(geometry, gradient, weight);
    }
    #[cfg(feature = "cuda")]
    if gradient.device().is_cuda()
        && let Some(back) = library::input_gradient(geometry, gradient, weight)?
    {
        return Ok(back);
    }
    composed::input_gradient(geometry, gradient, weight.numbers)
}

pub(super) fn weight_gradient(
    geometry: &Geometry,
    x: &Tensor,
    gradient: &Tensor,
) -> Result<Tensor> {
    #[cfg(any(feature = "cuda", test))]
    if geometry.is_depthwise() && gpu::takes(gradient) {
        return gpu::depthwise_gradient(geometry, gradient, gpu::Direction::Weight(x));
    }
    #[cfg(any(feature = "cuda", test))]
    if pointwise::is_product(geometry) && gpu::takes(gradient) {
        return pointwise::weight_gradient(geometry, x, gradient);
    }
    #[cfg(feature = "cuda")]
    if gradient.device().is_cuda()
        && let Some(sums) = library::weight_gradient(geometry, x, gradient)?
    {
        return Ok(sums);
    }
    composed::weight_gradient(geometry, x, gradient)
}
