//! Convolutions as networks ask for them: weights are [out, in, rows, columns] here, and rows of [rows, columns, in] for
//! cuDNN, which wants them so beside NHWC.

use anyhow::Result;
use candle_core::{DType, Tensor};

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
    forward_by_rows(geometry, x, &turned(geometry, weight, x.dtype())?)
}

/// As [`forward`], by a weight that lies as cuDNN wants it, in the type of the images.
pub(in super::super) fn forward_by_rows(
    geometry: &Geometry,
    x: &Tensor,
    weight: &Tensor,
) -> Result<Option<Tensor>> {
    run(geometry, Direction::Forward, x, weight)
}

/// Returns the gradient by the images; nothing where cuDNN has no algorithm to be taken.
pub(in super::super) fn input_gradient(
    geometry: &Geometry,
    gradient: &Tensor,
    weight: Weight<'_>,
) -> Result<Option<Tensor>> {
    let weight = turned(geometry, weight, gradient.dtype())?;
    run(geometry, Direction::ByInput, &weight, gradient)
}

/// Returns the gradient by the weight, in its shape; nothing where cuDNN has no algorithm to be taken.
pub(in super::super) fn weight_gradient(
    geometry: &Geometry,
    x: &Tensor,
    gradient: &Tensor,
) -> Result<Option<Tensor>> {
    let rows = weight_gradient_rows(geometry, x, gradient)?;
    rows.map(|rows| gpu::unturned(geometry, &rows)).transpose()
}

/// Returns the gradient by the weight as cuDNN gives it, [out, rows, columns, in]; nothing where it has no algorithm to
/// be taken.
pub(in super::super) fn weight_gradient_rows(
    geometry: &Geometry,
    x: &Tensor,
    gradient: &Tensor,
) -> Result<Option<Tensor>> {
    run(geometry, Direction::ByWeight, x, gradient)
}

/// Lays a weight [out, in, rows, columns] out as cuDNN wants it beside NHWC: [out, rows, columns, in].
fn turned(geometry: &Geometry, weight: Weight<'_>, dtype: DType) -> Result<Tensor> {
    let length = geometry.taps() * geometry.inputs / geometry.groups;
    let made = || gpu::turned(geometry, weight.numbers, dtype, length);
    match weight.rounded {
        // what the optimizer keeps current
        Some(rounded) if dtype == DType::BF16 => rounded.of(made),
        _ => made(),
    }
}
