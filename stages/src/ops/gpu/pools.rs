//! Poolings on a GPU.

use anyhow::Result;
use candle_core::{DType, Tensor};

use super::depthwise::sizes;
use super::launch::{Argument::Count, address, filled, launch, name_of};
use super::operators::like;
use super::tiles::name_at_once;
use crate::ops::convolution::Geometry;
use crate::ops::value::Array;

/// Returns the largest numbers of each window, and at which of its places each was found.
///
/// # Errors
///
/// When the driver refuses it.
pub(in crate::ops) fn max_pool(geometry: &Geometry, x: &Tensor) -> Result<(Tensor, Tensor)> {
    let x = x.contiguous()?;
    let y = filled(x.device(), x.dtype(), &geometry.output())?;
    let places = filled(x.device(), DType::U8, &geometry.output())?;
    let mut arguments = sizes(geometry);
    arguments.extend([
        Count(geometry.kernel[0]),
        Count(geometry.stride[0]),
        address(&x)?,
        address(&places)?,
        address(&y)?,
    ]);
    let arrays = [Some(&x), Some(&places), Some(&y)];
    let (name, at_once) = name_at_once("max_pool", geometry.inputs, &arrays)?;
    launch(x.device(), &name, y.elem_count() / at_once, &arguments)?;
    Ok((y, places))
}

/// Returns the gradient by the images, given that by the result and the places.
///
/// # Errors
///
/// When the driver refuses it.
pub(in crate::ops) fn max_pool_gradient(
    geometry: &Geometry,
    gradient: Array,
    places: &Tensor,
) -> Result<Tensor> {
    let gradient = like(gradient, None)?;
    let back = filled(gradient.device(), gradient.dtype(), &geometry.input())?;
    let mut arguments = sizes(geometry);
    arguments.extend([
        Count(geometry.kernel[0]),
        Count(geometry.stride[0]),
        address(&gradient)?,
        address(places)?,
        address(&back)?,
    ]);
    let arrays = [Some(&gradient), Some(places), Some(&back)];
    let (name, at_once) = name_at_once("max_pool_back", geometry.inputs, &arrays)?;
    launch(gradient.device(), &name, back.elem_count() / at_once, &arguments)?;
    Ok(back)
}

/// Returns the mean of each channel of each image of [N, H, W, C] over its pixels.
///
/// # Errors
///
/// When the driver refuses it.
pub(in crate::ops) fn average_pool(
    x: &Tensor,
    [images, height, width, channels]: [usize; 4],
) -> Result<Tensor> {
    let x = x.contiguous()?;
    let y = filled(x.device(), x.dtype(), (images, channels))?;
    let arguments =
        [Count(images), Count(height * width), Count(channels), address(&x)?, address(&y)?];
    launch(x.device(), &name_of("average_pool", x.dtype())?, images * channels, &arguments)?;
    Ok(y)
}

/// Spreads the gradient by the means over the pixels.
///
/// # Errors
///
/// When the driver refuses it.
pub(in crate::ops) fn average_pool_gradient(
    gradient: Array,
    lengths: [usize; 4],
) -> Result<Tensor> {
    let [images, height, width, channels] = lengths;
    let gradient = like(gradient, None)?;
    let back = filled(gradient.device(), gradient.dtype(), &lengths)?;
    let arguments = [
        Count(images),
        Count(height * width),
        Count(channels),
        address(&gradient)?,
        address(&back)?,
    ];
    let name = name_of("average_pool_back", gradient.dtype())?;
    launch(gradient.device(), &name, back.elem_count(), &arguments)?;
    Ok(back)
}
