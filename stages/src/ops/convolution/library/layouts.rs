//! Convolutions as networks ask for them: weights are [out, in, rows, columns] here, and rows of [rows, columns, in] for
//! cuDNN.

use anyhow::Result;
use candle_core::Tensor;

use super::Direction;
use super::calls::run;
use crate::ops::convolution::device::Weight;
use crate::ops::convolution::geometry::Geometry;
use crate::ops::gpu;

/// Convolves images by a weight; nothing where cuDNN has no algorithm to be taken.
pub(in super::super) fn forward(
    geometry: &Geometry,
    x: &Tensor,
    weight: Weight<'_>,
) -> Result<Option<Tensor>> {
    run(geometry, Direction::Forward, x, &weight.turned(geometry, x.dtype())?)
}

/// Returns the gradient by the images; nothing where cuDNN has no algorithm to be taken.
pub(in super::super) fn input_gradient(
    geometry: &Geometry,
    gradient: &Tensor,
    weight: Weight<'_>,
) -> Result<Option<Tensor>> {
    let weight = weight.turned(geometry, gradient.dtype())?;
    run(geometry, Direction::ByInput, &weight, gradient)
}

/// Returns the gradient by the weight, in its shape; nothing where cuDNN has no algorithm to be taken.
pub(in super::super) fn weight_gradient(
    geometry: &Geometry,
    x: &Tensor,
    gradient: &Tensor,
) -> Result<Option<Tensor>> {
    let rows = run(geometry, Direction::ByWeight, x, gradient)?;
    rows.map(|rows| gpu::unturned(geometry, &rows)).transpose()
}
