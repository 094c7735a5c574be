//! Patches of images with few channels, unfolded on a GPU.

use anyhow::Result;
use candle_core::Tensor;

use super::depthwise::sizes_and_window;
use super::launch::{Argument::Count, address, filled, launch, name_of};
use crate::ops::convolution::Geometry;

/// Numbers of a patch that a thread writes.
const PART: usize = 8;

/// Returns how many numbers a patch has with the zeros at its end, which make whole parts of it.
pub(in crate::ops) fn patch_length(geometry: &Geometry) -> usize {
    (geometry.taps() * geometry.inputs).next_multiple_of(PART)
}

/// Returns what the window sees at each of its places, [N, rows, columns, length of a patch]: tap by tap the
/// channels, with zeros outside of the image and at the end.
///
/// # Errors
///
/// When the driver refuses it, or there are more numbers than a kernel counts.
pub(in crate::ops) fn patches(geometry: &Geometry, x: &Tensor) -> Result<Tensor> {
    let (x, length) = (x.contiguous()?, patch_length(geometry));
    let shape = (geometry.images, geometry.rows, geometry.columns, length);
    let unfolded = filled(x.device(), x.dtype(), shape)?;
    let mut arguments = sizes_and_window(geometry);
    arguments.extend([Count(length), address(&x)?, address(&unfolded)?]);
    let threads = unfolded.elem_count() / PART;
    launch(x.device(), &name_of("patches", x.dtype())?, threads, &arguments)?;
    Ok(unfolded)
}
