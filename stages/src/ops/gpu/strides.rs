//! Every so many-th pixel of images on a GPU, and the way back.

use anyhow::{Result, ensure};
use candle_core::Tensor;

use super::depthwise::sizes;
use super::launch::{Argument, Argument::Count, address, filled, launch};
use super::tiles::name_at_once;
use crate::ops::convolution::Geometry;

/// Returns the pixels [N, rows, columns, C] that a window of one pixel without padding sees.
///
/// # Errors
///
/// When the driver refuses it.
pub(in crate::ops) fn gathered(geometry: &Geometry, x: &Tensor) -> Result<Tensor> {
    let x = x.contiguous()?;
    let [images, rows, columns, _] = geometry.output();
    let y = filled(x.device(), x.dtype(), (images, rows, columns, geometry.inputs))?;
    let (name, at_once) = name_at_once("gather", geometry.inputs, &[Some(&x), Some(&y)])?;
    let mut arguments = with_strides(geometry);
    arguments.extend([address(&x)?, address(&y)?]);
    launch(x.device(), &name, y.elem_count() / at_once, &arguments)?;
    Ok(y)
}

/// Returns the gradient [N, H, W, C] by the images, given that by the pixels seen, and adds `other` to it.
///
/// # Errors
///
/// When the driver refuses it.
pub(in crate::ops) fn spread(
    geometry: &Geometry,
    gradient: &Tensor,
    other: Option<&Tensor>,
) -> Result<Tensor> {
    let gradient = gradient.contiguous()?;
    if let Some(other) = other {
        ensure!(
            other.dtype() == gradient.dtype() && other.dims() == geometry.input(),
            "{:?} {:?} is added to a gradient {:?} {:?}",
            other.dtype(),
            other.dims(),
            gradient.dtype(),
            geometry.input()
        );
    }
    let back = filled(gradient.device(), gradient.dtype(), &geometry.input())?;
    let arrays = [Some(&gradient), other, Some(&back)];
    let (name, at_once) = name_at_once("spread", geometry.inputs, &arrays)?;
    let mut arguments = with_strides(geometry);
    arguments.extend([
        address(&gradient)?,
        Argument::Flag(other.is_some()),
        address(other.unwrap_or(&gradient))?,
        address(&back)?,
    ]);
    launch(gradient.device(), &name, back.elem_count() / at_once, &arguments)?;
    Ok(back)
}

fn with_strides(geometry: &Geometry) -> Vec<Argument> {
    sizes(geometry).into_iter().chain(geometry.stride.map(Count)).collect()
}
