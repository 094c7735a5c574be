//! Weights of convolutions laid out on a GPU as products read them, and back.

use anyhow::Result;
use candle_core::{DType, Tensor};

use super::launch::{Argument, Argument::Count, address, filled, launch, name_of};
use crate::ops::convolution::Geometry;

/// Returns the sizes that both kernels are told, for rows of so many numbers.
fn sizes(geometry: &Geometry, length: usize) -> [Argument; 4] {
    let inputs = geometry.inputs / geometry.groups;
    [geometry.outputs, inputs, geometry.taps(), length].map(Count)
}

/// Returns how many numbers of a weight belong to one result.
fn numbers_of_one(geometry: &Geometry) -> usize {
    geometry.taps() * geometry.inputs / geometry.groups
}

/// Returns a weight [out, in of a group, rows, columns] as rows [out, length] of a type: tap by tap the inputs, then
/// zeros.
///
/// # Errors
///
/// When the driver refuses it.
pub(in crate::ops) fn turned(
    geometry: &Geometry,
    weight: &Tensor,
    dtype: DType,
    length: usize,
) -> Result<Tensor> {
    let weight = weight.detach().to_dtype(DType::F32)?.contiguous()?;
    let shape = (geometry.outputs, length);
    if geometry.taps() == 1 && length == numbers_of_one(geometry) && dtype == DType::F32 {
        return Ok(weight.reshape(shape)?);
    }
    let rows = filled(weight.device(), dtype, shape)?;
    let [a, b, c, d] = sizes(geometry, length);
    let arguments = [a, b, c, d, address(&weight)?, address(&rows)?];
    launch(weight.device(), &name_of("turned", dtype)?, rows.elem_count(), &arguments)?;
    Ok(rows)
}

/// Returns a weight [channels, 1, rows, columns] tap by tap, [taps, channels], f32.
///
/// # Errors
///
/// When the driver refuses it.
pub(super) fn by_taps(geometry: &Geometry, weight: &Tensor) -> Result<Tensor> {
    let weight = weight.detach().to_dtype(DType::F32)?.contiguous()?;
    let taps = filled(weight.device(), DType::F32, (geometry.taps(), geometry.outputs))?;
    exchange("turned", geometry, &weight, &taps)?;
    Ok(taps)
}

/// Returns what [`by_taps`] was given, f32.
///
/// # Errors
///
/// When the driver refuses it.
pub(super) fn from_taps(geometry: &Geometry, taps: &Tensor) -> Result<Tensor> {
    let [down, across] = geometry.kernel;
    let weight = filled(taps.device(), DType::F32, (geometry.outputs, 1, down, across))?;
    exchange("unturned", geometry, taps, &weight)?;
    Ok(weight)
}

/// Exchanges channels and taps: to the kernels the channels are the inputs of a single output.
fn exchange(kernel: &str, geometry: &Geometry, from: &Tensor, to: &Tensor) -> Result<()> {
    let all = to.elem_count();
    let sizes = [1, geometry.outputs, geometry.taps(), all].map(Count);
    let arguments = [&sizes[..], &[address(from)?, address(to)?]].concat();
    launch(to.device(), &name_of(kernel, DType::F32)?, all, &arguments)
}

/// Returns rows of the gradient by a weight, as [`turned`] lays them out, in the shape of the weight and in f32.
///
/// # Errors
///
/// When the driver refuses it.
pub(in crate::ops) fn unturned(geometry: &Geometry, rows: &Tensor) -> Result<Tensor> {
    let rows = rows.contiguous()?;
    let length = rows.elem_count() / geometry.outputs;
    let [down, across] = geometry.kernel;
    let shape = (geometry.outputs, geometry.inputs / geometry.groups, down, across);
    let same = geometry.taps() == 1 && length == numbers_of_one(geometry);
    if same && rows.dtype() == DType::F32 {
        return Ok(rows.reshape(shape)?);
    }
    let weight = filled(rows.device(), DType::F32, shape)?;
    let [a, b, c, d] = sizes(geometry, length);
    let arguments = [a, b, c, d, address(&rows)?, address(&weight)?];
    let name = name_of("unturned", rows.dtype())?;
    launch(rows.device(), &name, weight.elem_count(), &arguments)?;
    Ok(weight)
}
